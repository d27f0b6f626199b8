"""Data sets that need neither files nor a network: `synthetic` and `sklearn/digits`."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DIGITS, SYNTHETIC, DataConfig
from orchestrator.records.facts import DatasetInfo
from orchestrator.storage.files import hash_parts
from orchestrator.training.data import digits
from orchestrator.training.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from orchestrator.training.data.subset import Subset, choose_subset
from orchestrator.training.data.synthetic import SyntheticImages, fingerprint_synthetic
from orchestrator.training.images.batches import Images
from orchestrator.training.images.decoding import Pixels


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
class _Whole:
    """A data set with all that it has."""

    images: Mapping[str, Images]
    class_names: tuple[str, ...]
    fingerprint: str


def open_built_in(config: DataConfig) -> tuple[dict[str, Images], DatasetInfo]:
    """Open the data set that `config.source` names; nothing is drawn yet.

    Returns:
        The images that are used, by split, and what is known of them.

    Raises:
        ConfigError: It has no such classes, or `data.max_train_images` leaves a class without an image.
        SetupError: What it comes with is not installed.
    """
    whole = _OPENERS[config.source](config)
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


def _fingerprint(whole: _Whole, subset: Subset) -> str:
    """Hash what is used of a data set; that of one that is used whole is its own."""
    if all(len(subset.rows[split]) == len(images) for split, images in whole.images.items()):
        return whole.fingerprint
    parts = {
        "whole": whole.fingerprint,
        "classes": subset.class_names,
        "rows": {split: rows.tolist() for split, rows in subset.rows.items()},
    }
    return hash_parts(parts)


def _open_synthetic(config: DataConfig) -> _Whole:
    drawing = config.synthetic
    sizes = {TRAIN: drawing.train, VALIDATION: drawing.validation, TEST: drawing.test}
    return _Whole(
        images={split: SyntheticImages(drawing, number, sizes[split]) for number, split in enumerate(SPLITS)},
        class_names=tuple(f"texture_{label}" for label in range(drawing.classes)),
        fingerprint=fingerprint_synthetic(drawing, config.image_size),
    )


def _open_digits(_: DataConfig) -> _Whole:
    images = {split: digits.DigitImages(split) for split in SPLITS}
    digest = hashlib.sha256(json.dumps(digits.CLASS_NAMES).encode())
    for split, part in images.items():
        digest.update(f"{split}:{len(part)}:".encode())
        for label, image in zip(part.labels, part.digests, strict=True):
            digest.update(f"{label}:".encode() + image)
    return _Whole(images=images, class_names=digits.CLASS_NAMES, fingerprint=digest.hexdigest())


_OPENERS: Mapping[str, Callable[[DataConfig], _Whole]] = {SYNTHETIC: _open_synthetic, DIGITS: _open_digits}
