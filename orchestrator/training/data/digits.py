"""The handwritten digits that come with scikit-learn: 1,797 real images of 8x8 pixels, no download.

Source: E. Alpaydin and C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998.
"""

import gzip
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.errors import SetupError
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.images.decoding import Pixels
from orchestrator.training.seeds import derive_seed

CLASS_NAMES = tuple(str(digit) for digit in range(10))
_FRACTIONS = (0.5, 0.25, 0.25)
"""Of each class, for training, validation and test."""
_LEVELS = 16
"""A pixel is one of 0 to 16: how much ink."""
_SIDE = 8


class DigitImages:
    """One split of the digits, grey on black, resized as any image is."""

    def __init__(self, split: str) -> None:
        """Read the images of `split`; every class is divided alike, and always in the same way."""
        levels, labels = read_digits()
        rows = _divide(labels)[split]
        self.labels: NDArray[np.int64] = labels[rows]
        self.ids = [f"digit-{row:04d}" for row in rows]
        # exact: 255 is 15.9375 for each of 16 levels, rounded to the nearest, halves to even
        self._grey = np.rint(levels[rows] * (255 / _LEVELS)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digests(self) -> list[bytes]:
        """sha256 of the pixels of each image, by row."""
        return [hashlib.sha256(image.tobytes()).digest() for image in self._grey]

    def read(self, index: int, size: int) -> Pixels:
        """Resize one image to `size` pixels square (bilinear), in three equal channels."""
        grey = Image.fromarray(self._grey[index]).resize((size, size), Image.Resampling.BILINEAR)
        return np.repeat(np.asarray(grey, dtype=np.uint8)[None], 3, axis=0)


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
