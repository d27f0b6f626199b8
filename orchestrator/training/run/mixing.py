"""Mixup and CutMix: each image of a training batch is mixed with the one before it, and so is its label."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from orchestrator.config.models import DataConfig

Mix = Callable[[Tensor, Tensor, float, np.random.Generator], tuple[Tensor, float]]
"""Mixes images [n, 3, h, w] with others, of which they keep a share; returns them, and the share that they kept."""


def blend(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Average images.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """
    del rng
    return torch.lerp(others, images, share), share


def paste(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a box of the others, somewhere; what of it lies outside is left out, and the share is of what is left.

    Source: Yun et al., CutMix, ICCV 2019; `torchvision.transforms.v2.CutMix`.
    """
    height, width = images.shape[-2:]
    row, column = int(rng.integers(height)), int(rng.integers(width))
    half = 0.5 * math.sqrt(1.0 - share)
    down, across = int(half * height), int(half * width)
    top, bottom = max(row - down, 0), min(row + down, height)
    left, right = max(column - across, 0), min(column + across, width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return mixed, 1.0 - (bottom - top) * (right - left) / (height * width)


MIXES: Mapping[str, Mix] = {"mixup": blend, "cutmix": paste}
"""How batches are mixed, by the field of `data` that holds the parameter of the distribution of shares."""


class Mixing:
    """Mixes batches. What becomes of one follows from the seed, the epoch and its place in the epoch.

    Where several kinds are asked for, one is drawn for each batch.

    Args:
        config: Says which kinds.
        seed: Seed of what is drawn.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self._kinds = [(mix, getattr(config, name)) for name, mix in MIXES.items() if getattr(config, name) > 0]
        self._seed = seed

    def __bool__(self) -> bool:
        """Whether anything is mixed."""
        return bool(self._kinds)

    def __call__(self, images: Tensor, epoch: int, batch: int) -> tuple[Tensor, float]:
        """Mix each image with the one before it, the first with the last.

        Returns:
            The images [n, 3, h, w], and the share that each label keeps; the rest is for the label before it.
        """
        rng = np.random.default_rng([self._seed, epoch, batch])
        mix, alpha = self._kinds[rng.integers(len(self._kinds))]
        return mix(images, images.roll(1, 0), float(rng.beta(alpha, alpha)), rng)
