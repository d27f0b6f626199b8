"""The images that all competitors read: a folder that is there, or drawn JPEG files of the same size and number."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.workloads import SplitSizes

CLASSES = ("angular_leaf_spot", "bean_rust", "healthy")
DRAWN_PIXELS = 500
"""Pixels square of what is drawn, unless another size is asked for: that of the published images."""
_QUALITY = 90
_TEXTURE_PIXELS = 64
_NOISE = 17.5
"""Standard deviation of the noise, of values in [0, 255]: a file has about 140 kB at 500 pixels, as the photographs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A data set on disk.

    Attributes:
        folder: Parquet files, or a folder a split with a folder a class in it.
        sizes: Images in each split.
        classes: Number of classes.
        drawn: Whether the files were drawn here.
    """

    folder: Path
    sizes: SplitSizes
    classes: int
    drawn: bool


def open_images(folder: Path) -> Images:
    """Count the images of a folder that is there; none is decoded."""
    from orchestrator.config.models import DataConfig
    from orchestrator.training.data.loading import describe_data

    info = describe_data(DataConfig(source=str(folder)), decode=False)
    sizes = SplitSizes(*(info.split_sizes[split] for split in ("train", "validation", "test")))
    return Images(folder=folder, sizes=sizes, classes=len(info.class_names), drawn=False)


def draw_images(folder: Path, sizes: SplitSizes, pixels: int) -> Images:
    """Draw JPEG files of `pixels` square, a folder a split and class; what is there already is kept."""
    for number, (split, count) in enumerate(
        (("train", sizes.train), ("validation", sizes.validation), ("test", sizes.test))
    ):
        done = folder / f".{split}-{count}-{pixels}"
        if not done.exists():
            _draw_split(folder / split, number, count, pixels)
            done.touch()
    return Images(folder=folder, sizes=sizes, classes=len(CLASSES), drawn=True)


def images_of_environment() -> Path | None:
    """Return the folder that `ORCHESTRATOR_BEANS` names; None where it is not set."""
    return _path("ORCHESTRATOR_BEANS")


def weights_of_environment() -> Path | None:
    """Return the state dict that `ORCHESTRATOR_WEIGHTS` names; None where it is not set."""
    return _path("ORCHESTRATOR_WEIGHTS")


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else None


def _draw_split(folder: Path, number: int, count: int, pixels: int) -> None:
    rng = np.random.default_rng([number, pixels])
    noise = rng.normal(0, _NOISE, (pixels, pixels, 3)).astype(np.int16)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = index % len(CLASSES)
        image = Image.fromarray(_draw(label, pixels, noise, rng))
        image.save(folder / CLASSES[label] / f"{index:05d}.jpg", quality=_QUALITY)


def _draw(label: int, pixels: int, noise: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a texture of the class, scaled up, with noise: drawn small and from one field of noise, it takes little."""
    from orchestrator.training.data.synthetic import draw

    small = Image.fromarray(draw(label, len(CLASSES), _TEXTURE_PIXELS, rng).transpose(1, 2, 0))
    large = np.asarray(small.resize((pixels, pixels), Image.Resampling.BICUBIC), dtype=np.int16)
    shift = tuple(int(each) for each in rng.integers(0, pixels, 2))
    return np.asarray(np.clip(large + np.roll(noise, shift, axis=(0, 1)), 0, 255), dtype=np.uint8)
