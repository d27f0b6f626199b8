"""The handwritten digits that come with scikit-learn: 1,797 real images of 8x8 pixels, no download.

Source: E. Alpaydin and C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998.
"""

import gzip
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig
from orchestrator.errors import SetupError
from orchestrator.training.data.collection import ArrayImages, Collection
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.seeds import derive_seed

CLASS_NAMES = tuple(str(digit) for digit in range(10))
_FRACTIONS = (0.5, 0.25, 0.25)
"""Of each class, for training, validation and test."""
_LEVELS = 16
"""A pixel is one of 0 to 16: how much ink."""
_SIDE = 8


def open_digits(_: DataConfig) -> Collection:
    """Open the digits: grey on black, every class divided alike among the splits, and always in the same way.

    Raises:
        SetupError: scikit-learn is not there, or has the data no more.
    """
    levels, labels = read_digits()
    # exact: 255 is 15.9375 for each of 16 levels, rounded to the nearest, halves to even
    grey = np.rint(levels * (255 / _LEVELS)).astype(np.uint8)
    images = {
        split: ArrayImages(grey[rows], labels[rows].tolist(), [f"digit-{row:04d}" for row in rows])
        for split, rows in _divide(labels).items()
    }
    return Collection.of_arrays(images, CLASS_NAMES)


@cache
def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read what `sklearn.datasets.load_digits` reads: levels 0 to 16 ([1797, 8, 8]), and the digits.

    The file is read without the library, which takes seconds to load in each process that trains.

    Raises:
        SetupError: scikit-learn is not there, or has the data no more.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("data.source: sklearn/digits needs scikit-learn", hint="pip install scikit-learn")
    file = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",")
    except (OSError, EOFError, ValueError) as error:
        raise SetupError(
            f"data.source: the digits of scikit-learn cannot be read from {file}: {error}",
            hint="install scikit-learn again",
        ) from error
    return table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1].astype(np.int64)


def _divide(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Divide the rows among the splits: each class in the same proportions, at random but always alike."""
    rng = np.random.default_rng(derive_seed(0, "splits of sklearn/digits"))
    parts: dict[str, list[NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = np.rint(np.cumsum(_FRACTIONS)[:-1] * len(rows)).astype(int)
        for split, part in zip(SPLITS, np.split(rows, ends), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(found)) for split, found in parts.items()}
