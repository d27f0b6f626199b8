"""Worlds of nine blocks whose 512 frozen sets have known accuracies, to compare samplers in, and a recorded one."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.record import Recording
from benchmarks.replay import find_final
from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet, all_sets

Floats = NDArray[np.float64]
_PARAMS: Final = {
    "stem": 9_536,
    "layer1.0": 73_984,
    "layer1.1": 73_984,
    "layer2.0": 230_144,
    "layer2.1": 295_424,
    "layer3.0": 919_040,
    "layer3.1": 1_180_672,
    "layer4.0": 3_673_088,
    "layer4.1": 4_720_640,
}
_HEAD: Final = 512 * 3 + 3
BLOCKS: Final = tuple(_PARAMS)
"""The residual blocks of a ResNet18: half as coarse as its layers."""
SETS: Final = tuple(all_sets(BLOCKS))
_DESIGN: Final = np.array([[float(block in each) for block in BLOCKS] for each in SETS])
_COSTS: Final = np.array(list(_PARAMS.values())) @ (1 - _DESIGN).T + _HEAD
_OF_SEEDS: Final = 0.1
"""Spread of seeds on the probit scale, as in `benchmarks.calibrate`: 1.3 points at 93 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Frozen sets with what is true of them and what one training of each measures.

    Attributes:
        blocks: In network order.
        sets: The space.
        costs: Trainable parameters, [sets].
        truth: True accuracies, [sets].
        correct: Whether the run of each set predicts each image rightly, [sets, images].
    """

    blocks: tuple[str, ...]
    sets: tuple[FrozenSet, ...]
    costs: Floats
    truth: Floats
    correct: NDArray[np.bool_]

    @property
    def measured(self) -> Floats:
        """What a training of each set measures: [sets]."""
        return np.asarray(self.correct.mean(axis=1))


def _smooth(rng: np.random.Generator) -> Floats:
    """Each frozen block costs something, deep ones more, and one of them gains; sets deviate by 0.3 points."""
    losses = rng.exponential(np.linspace(0.003, 0.012, len(BLOCKS)))
    losses[rng.integers(len(BLOCKS))] *= -1
    return np.asarray(0.93 - _DESIGN @ losses + 0.003 * rng.normal(size=len(SETS)))


def _cliff(rng: np.random.Generator) -> Floats:
    """Nothing is lost up to some share of what blocks weigh, and 10 points beyond."""
    weights = rng.exponential(np.linspace(0.5, 2.0, len(BLOCKS)))
    load = _DESIGN @ weights / weights.sum()
    edge = rng.uniform(0.3, 0.7)
    slope = rng.uniform(0.0, 0.02)
    return np.asarray(0.92 - slope * load - 0.10 / (1 + np.exp((edge - load) / 0.04)))


def _pairs(rng: np.random.Generator) -> Floats:
    """Blocks lose or gain a little alone, and neighbours more together."""
    alone = rng.normal(-0.004, 0.005, size=len(BLOCKS))
    together = rng.normal(-0.002, 0.015, size=len(BLOCKS) - 1)
    neighbours = np.array([_DESIGN[:, one] * _DESIGN[:, two] for one, two in pairwise(range(len(BLOCKS)))])
    return np.asarray(np.clip(0.91 + _DESIGN @ alone + together @ neighbours, 0.5, 0.99))


def _surprise(rng: np.random.Generator) -> Floats:
    """A smooth world in which one set, whichever, is 5 points better than its blocks say."""
    truth = _smooth(rng) - 0.02
    truth[rng.integers(len(SETS))] += 0.05
    return np.asarray(np.minimum(truth, 0.99))


FAMILIES: Final[dict[str, Callable[[np.random.Generator], Floats]]] = {
    "smooth trade-off": _smooth,
    "cliff": _cliff,
    "interacting pairs": _pairs,
    "one surprise": _surprise,
}


def draw_world(family: str, images: int, seed: int) -> World:
    """Draw a world of a family, and one training of each of its sets with as many validation images.

    Images and seeds vary what is measured as in `benchmarks.calibrate`: half of the variance of a score is the
    difficulty of the image for all sets, a fifth its difficulty for one of them, the rest chance.
    """
    rng = np.random.default_rng([seed, images, list(FAMILIES).index(family)])
    truth = FAMILIES[family](rng)
    common = rng.normal(size=(1, images)) * np.sqrt(0.5)
    own = rng.normal(size=(len(SETS), images)) * np.sqrt(0.5)
    skill = _OF_SEEDS * rng.normal(size=(len(SETS), 1))
    threshold = ndtri(truth)[:, None] * np.sqrt(1 + _OF_SEEDS**2)
    return World(blocks=BLOCKS, sets=SETS, costs=_COSTS, truth=truth, correct=common + own + skill < threshold)


def read_world(path: Path, seed: int) -> World:
    """Replay a recorded sweep: one seed of each set is measured, and the mean of all of them is taken for true."""
    recording = Recording.read(path)
    final = find_final(recording)
    rng = np.random.default_rng(seed)
    blocks = find_backbone("resnet18").blocks
    return World(
        blocks=blocks,
        sets=tuple(FrozenSet.parse(key, order=blocks) for key in recording.frozen),
        costs=recording.params.astype(np.float64),
        truth=final.mean(axis=(1, 2)),
        correct=final[np.arange(len(final)), rng.integers(final.shape[1], size=len(final))],
    )
