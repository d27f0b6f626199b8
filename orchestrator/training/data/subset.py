"""Which images of a data set are used: some of its classes, and so many for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.splits import TRAIN
from orchestrator.training.problems import Problems
from orchestrator.training.seeds import derive_seed

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """The images to use.

    Attributes:
        rows: By split: which of its rows, rising.
        labels: By split: their labels, as numbers among the classes that are used.
        class_names: Names of these classes, by label.
        notes: What was left out, a sentence each.
    """

    rows: Mapping[str, Rows]
    labels: Mapping[str, Labels]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def choose_subset(labels: Mapping[str, Labels], class_names: Sequence[str], config: DataConfig) -> Subset | None:
    """Choose the images that `data.classes` and `data.max_train_images` leave; None where neither leaves any out.

    The splits are those of the whole data set: an image is in the same one whichever classes are chosen, so that a
    network that was trained on some of them has seen no test image of the others.

    Args:
        labels: Labels of all images by split, as they are divided.
        class_names: Names of all classes, by label.
        config: Which to use.

    Raises:
        ConfigError: The data set has no such classes, or a class would be without a training image; all at once.
    """
    if config.classes is None and config.max_train_images is None:
        return None
    problems = Problems()
    with problems.noting():
        _require_known(config, class_names)
    known = [name for name in class_names if config.classes is None or name in config.classes]
    with problems.noting():
        _require_one_each(config, len(known))
    problems.raise_any()
    kept = [class_names.index(name) for name in known]
    numbers = np.full(len(class_names), -1, dtype=np.int64)
    numbers[kept] = np.arange(len(kept))
    rows = {split: np.flatnonzero(numbers[found] >= 0) for split, found in labels.items()}
    notes = []
    if len(kept) < len(class_names):
        notes.append(
            f"{config.source}: {len(kept)} of {len(class_names)} classes are used (data.classes): {_shorten(known)}"
        )
    limit = config.max_train_images
    if limit is not None:
        rows[TRAIN], note = _limit(rows[TRAIN], numbers[labels[TRAIN]], known, limit, config)
        notes.append(note)
    chosen = {split: numbers[labels[split][part]] for split, part in rows.items()}
    return Subset(rows=rows, labels=chosen, class_names=tuple(known), notes=tuple(notes))


def _limit(rows: Rows, numbers: Labels, names: Sequence[str], limit: int, config: DataConfig) -> tuple[Rows, str]:
    """Keep `limit` of the training images, and say which."""
    if limit >= len(rows):
        return rows, f"{config.source}: there are {len(rows)} training images; data.max_train_images={limit} keeps all"
    kept = rows[choose_stratified(numbers[rows], limit, derive_seed(config.split_seed, "max_train_images"))]
    counts = np.bincount(numbers[kept], minlength=len(names))
    each = _shorten([f"{name} {count}" for name, count in zip(names, counts, strict=True)])
    return kept, (
        f"{config.source}: {len(kept)} of {len(rows)} training images are used (data.max_train_images={limit}, "
        f"stratified, data.split_seed={config.split_seed}): {each}"
    )


def choose_stratified(labels: Labels, count: int, seed: int) -> Rows:
    """Choose so many rows, of each label in proportion and at least one, rising. Fewer are always among more.

    Args:
        labels: By row.
        count: At least as many as there are labels.
        seed: Decides which of equal label.
    """
    rng = np.random.default_rng(seed)
    keys = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        # the place of each image in its class, in (0, 1): taking the lowest of all takes of each class in proportion
        keys[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        keys[rows[0]] = -1.0
    return np.sort(np.lexsort((np.arange(len(labels)), labels, keys))[:count])


def _require_known(config: DataConfig, class_names: Sequence[str]) -> None:
    unknown = [name for name in config.classes or () if name not in class_names]
    if not unknown:
        return
    named = []
    for name in unknown:
        close = get_close_matches(name, class_names, n=1) or get_close_matches(
            name.casefold(), [each.casefold() for each in class_names], n=1
        )
        match = next((each for each in class_names if close and each.casefold() == close[0].casefold()), None)
        named.append(f"{name!r} (did you mean {match!r}?)" if match else repr(name))
    raise ConfigError(
        f"data.classes: {config.source} has no class {', '.join(named)}; it has {_shorten(class_names)}",
        hint="`orchestrator data check` lists the classes",
    )


def _require_one_each(config: DataConfig, classes: int) -> None:
    limit = config.max_train_images
    if limit is not None and limit < classes:
        raise ConfigError(
            f"data.max_train_images is {limit}, and there are {classes} classes: some would have no training image",
            hint=f"allow at least {classes}, or take fewer classes with data.classes",
        )


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
