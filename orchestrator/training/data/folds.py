"""K-fold cross-validation: training and validation images together, divided so that each is validated once."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.splits import TEST, TRAIN, VALIDATION
from orchestrator.training.images.batches import Images
from orchestrator.training.images.cache import RowsOf
from orchestrator.training.images.decoding import Pixels
from orchestrator.training.seeds import derive_seed

POOL = (TRAIN, VALIDATION)
"""The splits that are put together, in this order; the test split stays as it is."""

Rows = NDArray[np.int64]
T = TypeVar("T")


class JoinedImages:
    """Some images of several splits.

    Args:
        parts: The splits.
        rows: Rows of them, counted through all parts one after the other.
    """

    def __init__(self, parts: Sequence[Images], rows: Rows) -> None:
        self._parts = tuple(parts)
        starts = np.cumsum([0, *map(len, parts)])
        self._part = np.searchsorted(starts, rows, side="right") - 1
        self._row = rows - starts[self._part]
        self.labels: NDArray[np.int64] = np.concatenate([part.labels for part in parts])[rows]

    def __len__(self) -> int:
        return len(self._row)

    @property
    def ids(self) -> list[str]:
        """What tells images apart, by row."""
        of_parts = [part.ids for part in self._parts]
        return [of_parts[part][row] for part, row in zip(self._part, self._row, strict=True)]

    def read(self, index: int, size: int) -> Pixels:
        """Read one image."""
        part: Images = self._parts[self._part[index]]
        return part.read(int(self._row[index]), size)


def take_fold(images: Mapping[str, Images], config: DataConfig, fold: int) -> tuple[dict[str, Images], dict[str, Rows]]:
    """Divide a data set for one run.

    Args:
        images: Its three splits.
        config: `data.folds` says into how many parts, `data.split_seed` how.
        fold: Which part is validated, from 0; the others train.

    Returns:
        The three splits of the run; and rows of the pool, which is train and then validation, of the first two.

    Raises:
        ConfigError: A class has too few images to be trained and validated.
    """
    parts = [images[split] for split in POOL]
    labels = np.concatenate([part.labels for part in parts])
    of = divide(labels, config.folds or 1, derive_seed(config.split_seed, "folds"))
    alone = np.flatnonzero(np.bincount(labels) == 1)
    if len(alone):
        raise ConfigError(
            f"data.folds: {len(alone)} classes of {config.source} have one image to train and validate with, the first "
            f"of them class {alone[0]}: where it is validated none is left to train with",
            hint="add images, or leave the class out with data.classes",
        )
    rows = {TRAIN: np.flatnonzero(of != fold), VALIDATION: np.flatnonzero(of == fold)}
    if not all(map(len, rows.values())):
        raise ConfigError(
            f"data.folds is {config.folds}, and {config.source} has {len(labels)} images to train and validate with",
            hint="take fewer folds",
        )
    return {**{split: JoinedImages(parts, rows[split]) for split in POOL}, TEST: images[TEST]}, rows


def take_cached(cached: Mapping[str, RowsOf], rows: Mapping[str, Rows]) -> dict[str, RowsOf]:
    """Divide the decoded images of a data set, which lie in one array, as `take_fold` divided the images."""
    pool = np.concatenate([cached[split].rows for split in POOL])
    pixels = cached[TRAIN].pixels
    return {**{split: RowsOf(pixels=pixels, rows=pool[rows[split]]) for split in POOL}, TEST: cached[TEST]}


def divide(labels: NDArray[np.int64], folds: int, seed: int) -> Rows:
    """Return the fold of each image, from 0: those of each class are dealt out in turn, in random order.

    Folds differ by one image at most, and by one of each class at most.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = np.arange(len(labels)) % folds
    return found


def note_folds(config: DataConfig, pooled: int) -> str:
    """Return what a user should hear of the division."""
    return (
        f"{config.source}: its {pooled} training and validation images are divided into {config.folds} folds "
        f"(stratified, data.split_seed={config.split_seed}); each run validates one and trains on the others"
    )
