"""The three splits by name; a missing one is split off the training images."""

from collections.abc import Mapping
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.folders.split_names import SPLITS as SPLITS
from orchestrator.training.folders.split_names import TEST as TEST
from orchestrator.training.folders.split_names import TRAIN as TRAIN
from orchestrator.training.folders.split_names import VALIDATION as VALIDATION
from orchestrator.training.seeds import derive_seed


class Rows(Protocol):
    """Images with labels, from which some can be selected."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels by row."""

    def __len__(self) -> int: ...

    def select(self, rows: NDArray[np.int64]) -> Self:
        """Keep some rows."""


R = TypeVar("R", bound=Rows)


def name_splits(found: Mapping[str, R], config: DataConfig) -> tuple[dict[str, R], tuple[str, ...]]:
    """Split off what is missing of train, validation and test, stratified and seeded.

    Returns:
        The splits in this order, and a note for each that had to be made.

    Raises:
        ConfigError: No training split, an empty split, or a class with too few images to be split.
    """
    named = dict(found)
    if TRAIN not in named:
        raise ConfigError(f"{config.source} has no train split; it has {', '.join(found) or 'none'}")
    empty = [split for split, rows in named.items() if len(rows) == 0]
    if empty:
        raise ConfigError(
            f"{config.source}: split {' and '.join(empty)} is empty",
            hint="fill it, or leave it out: a missing validation or test split is split off the training images",
        )
    notes = []
    total = len(named[TRAIN])
    for split in (TEST, VALIDATION):
        if split not in named:
            kept, taken = split_off(named[TRAIN].labels, config, split, whole=total)
            named[split], named[TRAIN] = named[TRAIN].select(taken), named[TRAIN].select(kept)
            notes.append(
                f"{config.source} has no {split} split: {len(taken)} of {total} training images became one "
                f"(stratified, data.split_seed={config.split_seed})"
            )
    return {split: named[split] for split in SPLITS}, tuple(notes)


def split_off(
    labels: NDArray[np.int64], config: DataConfig, split: str, whole: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose `validation_fraction` of each class, at least one image of it, and leave at least one.

    Args:
        labels: Labels of what is left of the training images.
        config: Fraction and seed.
        split: What they are chosen for; each purpose has its own seed.
        whole: Training images that there were at first: the fraction is of them.

    Returns:
        Rows that stay, and rows that are taken, both rising.
    """
    rng = np.random.default_rng(derive_seed(config.split_seed, split))
    fraction = config.validation_fraction * whole / len(labels)
    taken = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise ConfigError(
                f"{config.source} has no {split} split, and class {label} has too few images to split one off",
                hint="add images, or a split of your own",
            )
        taken.append(rows[: min(max(1, round(fraction * len(rows))), len(rows) - 1)])
    chosen = np.sort(np.concatenate(taken))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
