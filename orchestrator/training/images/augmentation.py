"""Augmentation: transforms of torchvision, drawn for each image from a seed of its own."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from orchestrator.config.models import DataConfig
from orchestrator.config.transforms import (
    NO_TRANSFORM,
    TRANSFORMS,
    Transform,
    TransformStep,
    describe_augment,
    read_step,
)
from orchestrator.errors import ConfigError
from orchestrator.training.images.batches import BatchOrder, DecodedImages
from orchestrator.training.seeds import derive_seed

_OF_BATCHES = ("MixUp", "CutMix")
_TRIES = 8
"""Times that transforms are tried before anything trains: some change an image only now and then."""
_VIEWS_SEED = derive_seed(0, "augmented views")
"""Seed of fixed views: runs of all seeds share them."""


class StepTransform:
    """Transforms of torchvision, one after the other.

    Each image has a seed: torch's generators start from it for the image, and stand afterwards where they stood.

    Args:
        steps: What they are.
        size: Pixels of the images.

    Raises:
        ConfigError: A step is none, or does not take its arguments.
    """

    def __init__(self, steps: Sequence[TransformStep], size: int) -> None:
        self._steps = [(step, _build(step, size)) for step in steps]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[Any]:
        """Draw the seed of each image."""
        return rng.integers(2**63, size=count, dtype=np.int64)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change each image on the device on which it is."""
        with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
            changed = []
            for image, seed in zip(images, drawn.tolist(), strict=True):
                torch.manual_seed(seed)
                for _, transform in self._steps:
                    image = transform(image)
                changed.append(image)
        return torch.stack(changed)

    def require_fit(self, size: int) -> None:
        """Make sure that the steps change an image of so many pixels to another of its shape and type.

        Raises:
            ConfigError: One does not.
        """
        noise = np.random.default_rng(0).integers(256, size=(3, size, size), dtype=np.uint8)
        with torch.random.fork_rng([]):
            for seed in range(_TRIES):
                torch.manual_seed(seed)
                image = torch.from_numpy(noise)
                for step, transform in self._steps:
                    try:
                        image = transform(image)
                    except Exception as error:
                        raise _refuse(step, error) from error
                _require_image(image, size, [step for step, _ in self._steps])


def build_transform(config: DataConfig) -> Transform | None:
    """Build what changes training images; None where nothing does.

    Raises:
        ConfigError: `data.augment` names something that is no transform, or that does not take its arguments.
    """
    if config.augment == NO_TRANSFORM:
        return None
    found = TRANSFORMS[config.augment] if isinstance(config.augment, str) else config.augment
    return StepTransform(found, config.image_size) if isinstance(found, tuple) else found


def require_transform(config: DataConfig) -> None:
    """Make sure that `data.augment` can be done, before anything trains.

    Raises:
        ConfigError: It cannot, and what torchvision says of it.
    """
    transform = build_transform(config)
    if isinstance(transform, StepTransform):
        transform.require_fit(config.image_size)


def draw_epoch(transform: Transform, seed: int, order: BatchOrder) -> NDArray[Any]:
    """Draw what becomes of the images of an epoch.

    It follows from an image's row (its place, where a sampler repeats images), the epoch and the seed: neither the
    order, nor the size of batches, nor who decodes an image matters, and an epoch that is trained again sees the same
    images.
    """
    numbers = order.numbers()
    return transform.draw(np.random.default_rng([seed, order.epoch]), len(numbers))[numbers]


def draw_views(transform: Transform, views: int, order: BatchOrder) -> NDArray[Any]:
    """Draw what becomes of the images of an epoch that takes the next of their fixed views."""
    rows = order.rows()
    return _draw_view(transform, order.epoch % views, len(rows))[rows]


def _draw_view(transform: Transform, view: int, count: int) -> NDArray[Any]:
    return transform.draw(np.random.default_rng([_VIEWS_SEED, view]), count)


class Views:
    """Fixed views of images: all of the first view, then all of the second, and so on. Computed when asked for.

    Args:
        images: The images.
        transform: What changes them.
        views: Number of views of an image.
    """

    def __init__(self, images: DecodedImages, transform: Transform, views: int) -> None:
        self._images = images
        self._transform = transform
        self._drawn = torch.from_numpy(
            np.concatenate([_draw_view(transform, view, len(images)) for view in range(views)])
        )

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Copy rows."""
        images = self._images[rows % len(self._images)]
        changed: Tensor = self._transform.apply(images, self._drawn[rows.cpu()].to(images.device))
        return changed


def _build(step: TransformStep, size: int) -> v2.Transform:
    known = {
        name: value for name, value in vars(v2).items() if isinstance(value, type) and issubclass(value, v2.Transform)
    }
    if step.name in _OF_BATCHES:
        raise ConfigError(
            f"data.augment: {step.name} mixes the images of a batch", hint=f"set data.{step.name.lower()}, such as 0.2"
        )
    if step.name not in known:
        close = get_close_matches(step.name, known, n=1)
        raise ConfigError(
            f"data.augment: {step.name} is no transform of torchvision.transforms.v2",
            hint=f"did you mean {close[0]}?" if close else "its documentation lists them",
        )
    arguments = {key: _read_argument(key, value, size) for key, value in step.arguments.items()}
    try:
        return known[step.name](**arguments)
    except ConfigError:
        raise
    except Exception as error:
        if "size" not in arguments and "'size'" in str(error):
            return _build(TransformStep(step.name, {**step.arguments, "size": [size, size]}), size)
        raise _refuse(step, error) from error


def _read_argument(key: str, value: Any, size: int) -> Any:
    if key == "transforms" and isinstance(value, list | tuple):
        try:
            return [_build(read_step(item), size) for item in value]
        except ValueError as error:
            raise ConfigError(f"data.augment: transforms: {error}") from error
    if key == "interpolation" and value in list(InterpolationMode):
        return InterpolationMode(value)
    return value


def _refuse(step: TransformStep, error: Exception) -> ConfigError:
    return ConfigError(f"data.augment: {step} cannot be used: {type(error).__name__}: {error}")


def _require_image(image: object, size: int, steps: Sequence[TransformStep]) -> None:
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape == (3, size, size):
        return
    found = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    raise ConfigError(
        f"data.augment: {describe_augment(tuple(steps))} gives {found}, no image of bytes (torch.uint8) of shape "
        f"{(3, size, size)}",
        hint="leave out what changes size or type, or let a transform that comes after it change it back",
    )
