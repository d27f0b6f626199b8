"""Data sets that need neither files nor a network: they are drawn, or come with an installed package."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.config.models import DataConfig
from orchestrator.config.sources import SOURCES
from orchestrator.errors import ConfigError
from orchestrator.records.facts import DatasetInfo
from orchestrator.storage.files import hash_parts
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.data.subset import Subset, choose_subset
from orchestrator.training.images.batches import Images
from orchestrator.training.images.decoding import Pixels


class ArrayImages:
    """One split of images that lie in memory, resized as any image is.

    Args:
        pixels: uint8, [n, height, width] grey or [n, height, width, 3] in RGB.
        labels: Number of the class of each image.
        ids: What tells images apart, by row, in all runs on the same data; None: their rows.

    Example:
        >>> import numpy as np
        >>> from orchestrator import ArrayImages
        >>> images = ArrayImages(np.zeros((2, 8, 8), dtype=np.uint8), labels=[0, 1])
        >>> len(images), images.ids, images.read(0, size=32).shape
        (2, ['image-000000', 'image-000001'], (3, 32, 32))
    """

    def __init__(self, pixels: NDArray[np.uint8], labels: Sequence[int], ids: Sequence[str] | None = None) -> None:
        self._pixels = pixels
        self.labels: NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
        self.ids = list(ids) if ids is not None else [f"image-{row:06d}" for row in range(len(self))]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digests(self) -> list[bytes]:
        """sha256 of the pixels of each image, by row."""
        return [hashlib.sha256(image.tobytes()).digest() for image in self._pixels]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and channels if there are several."""
        return self._pixels.shape[1:]

    def read(self, index: int, size: int) -> Pixels:
        """Resize one image to `size` pixels square (bilinear), in three channels."""
        image = Image.fromarray(self._pixels[index]).resize((size, size), Image.Resampling.BILINEAR)
        array = np.asarray(image, dtype=np.uint8)
        return np.repeat(array[None], 3, axis=0) if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


class _Some:
    """Some images of a split."""

    def __init__(self, images: Images, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self._images = images
        self._rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> list[str]:
        ids = self._images.ids
        return [ids[row] for row in self._rows]

    def read(self, index: int, size: int) -> Pixels:
        return self._images.read(int(self._rows[index]), size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A data set with all that it has.

    Attributes:
        images: Those of `train`, `validation` and `test`.
        class_names: By label.
        fingerprint: Hash (hex) of all that decides images, labels and splits.

    Example:
        >>> import numpy as np
        >>> from orchestrator import ArrayImages, Collection
        >>> black = ArrayImages(np.zeros((2, 8, 8), dtype=np.uint8), labels=[0, 1])
        >>> found = Collection.of_arrays({"train": black, "validation": black, "test": black}, ["left", "right"])
        >>> found.class_names, {split: len(images) for split, images in found.images.items()}
        (('left', 'right'), {'train': 2, 'validation': 2, 'test': 2})
    """

    images: Mapping[str, Images]
    class_names: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of_arrays(cls, images: Mapping[str, ArrayImages], class_names: Sequence[str]) -> Self:
        """Build the data set of images in memory; its fingerprint is that of class names, splits, labels and pixels."""
        digest = hashlib.sha256(json.dumps(tuple(class_names)).encode())
        for split, part in images.items():
            digest.update(f"{split}:{len(part)}:".encode())
            if part.shape[0] != part.shape[1]:  # the bytes of a square image say its size
                digest.update(f"{part.shape}:".encode())
            for label, image in zip(part.labels, part.digests, strict=True):
                digest.update(f"{label}:".encode() + image)
        return cls(images=images, class_names=tuple(class_names), fingerprint=digest.hexdigest())


def open_collection(config: DataConfig) -> tuple[dict[str, Images], DatasetInfo]:
    """Open the data set that `config.source` names; nothing is drawn yet.

    Returns:
        The images that are used, by split, and what is known of them.

    Raises:
        ConfigError: It has no such classes, `data.max_train_images` leaves a class without an image, or what an
            installed package opens is no whole data set.
        SetupError: What it comes with is not installed.
    """
    whole = _require_whole(SOURCES.find(config.source).open(config), config.source)
    subset = choose_subset({split: images.labels for split, images in whole.images.items()}, whole.class_names, config)
    images = dict(whole.images)
    if subset is not None:
        images = {split: _Some(part, subset.rows[split], subset.labels[split]) for split, part in whole.images.items()}
    info = DatasetInfo(
        source=config.source,
        fingerprint=whole.fingerprint if subset is None else _fingerprint(whole, subset),
        class_names=whole.class_names if subset is None else subset.class_names,
        split_sizes={split: len(part) for split, part in images.items()},
        notes=() if subset is None else subset.notes,
    )
    return images, info


def _require_whole(opened: object, source: str) -> Collection:
    if not isinstance(opened, Collection):
        raise ConfigError(f"data.source: {source} opens as {type(opened).__name__}, not as a Collection")
    empty = [split for split in SPLITS if split not in opened.images or not len(opened.images[split])]
    if empty:
        raise ConfigError(f"data.source: {source} has no {' and no '.join(empty)} images")
    for split, images in opened.images.items():
        if images.labels.min() < 0 or images.labels.max() >= len(opened.class_names):
            raise ConfigError(f"data.source: {source} has {split} labels beyond its {len(opened.class_names)} classes")
    return opened


def _fingerprint(whole: Collection, subset: Subset) -> str:
    """Hash what is used of a data set; that of one that is used whole is its own."""
    if all(len(subset.rows[split]) == len(images) for split, images in whole.images.items()):
        return whole.fingerprint
    parts = {
        "whole": whole.fingerprint,
        "classes": subset.class_names,
        "rows": {split: rows.tolist() for split, rows in subset.rows.items()},
    }
    return hash_parts(parts)
