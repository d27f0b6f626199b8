"""Images that are drawn: every class has a texture, and a faint tint."""

import hashlib
import json
import math

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig, SyntheticConfig
from orchestrator.records.identity import write_identity
from orchestrator.training.data.collection import Collection
from orchestrator.training.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from orchestrator.training.images.decoding import Pixels

DRAWING_VERSION = 1
"""Raised when the same parameters would draw other images: old results no longer answer."""

_ORIENTATIONS = 6
_CYCLES = (4.0, 7.0, 2.5, 5.5, 3.2)
_CONTRAST = 0.20
_TINT = 0.05
_TINT_SPREAD = 0.07
_NOISE = 0.16


class SyntheticImages:
    """One split of drawn images; image i is the same whenever it is drawn.

    The texture (stripes of the class's orientation and width, at a random phase) says the class, but a network must
    learn it; the tint says it too, but less surely, and any features show it.
    """

    def __init__(self, config: SyntheticConfig, split: int, count: int) -> None:
        self._config = config
        self._split = split
        order = np.random.default_rng([config.seed, split]).permutation(count)
        self.labels: NDArray[np.int64] = (order % config.classes).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> list[str]:
        """Numbers of the drawn images, by row."""
        return [f"drawn-{self._split}-{index:06d}" for index in range(len(self))]

    def read(self, index: int, size: int) -> Pixels:
        """Draw one image."""
        rng = np.random.default_rng([self._config.seed, self._split, index, 1])
        return draw(int(self.labels[index]), self._config.classes, size, rng)


def open_synthetic(config: DataConfig) -> Collection:
    """Open the images that `data.synthetic` describes; none is drawn yet."""
    drawing = config.synthetic
    sizes = {TRAIN: drawing.train, VALIDATION: drawing.validation, TEST: drawing.test}
    return Collection(
        images={split: SyntheticImages(drawing, number, sizes[split]) for number, split in enumerate(SPLITS)},
        class_names=tuple(f"texture_{label}" for label in range(drawing.classes)),
        fingerprint=fingerprint_synthetic(drawing, config.image_size),
    )


def draw(label: int, classes: int, size: int, rng: np.random.Generator) -> Pixels:
    """Draw an image of the class: tinted grey, stripes, noise."""
    orientations = min(classes, _ORIENTATIONS)
    angle = math.pi * (label % orientations) / orientations + rng.normal(0, 0.5 / orientations)
    cycles = _CYCLES[(label // orientations) % len(_CYCLES)] * rng.uniform(0.9, 1.1)
    y, x = np.mgrid[0:size, 0:size] / size
    wave = np.sin(2 * math.pi * (cycles * (x * math.cos(angle) + y * math.sin(angle)) + rng.uniform()))
    hue = 2 * math.pi * (label / classes + np.arange(3) / 3)
    tint = _TINT * np.cos(hue) + rng.normal(0, _TINT_SPREAD, 3)
    image = (
        0.5 + tint[:, None, None] + _CONTRAST * wave * rng.uniform(0.6, 1.0) + rng.normal(0, _NOISE, (3, size, size))
    )
    return np.asarray(np.clip(image * 255, 0, 255).astype(np.uint8))


def fingerprint_synthetic(config: SyntheticConfig, size: int) -> str:
    """Hash all that decides the images (sha256, hex)."""
    drawn = json.dumps(write_identity(config, "data.synthetic."), separators=(",", ":"))
    return hashlib.sha256(f"synthetic:{DRAWING_VERSION}:{size}:{drawn}".encode()).hexdigest()
