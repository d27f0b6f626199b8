"""Worlds in which sweeps are simulated: the truths that are possible, and what an oracle that knows them would decide.

A world is a prior: a number of truths, each as probable as the others. A truth is the accuracy of each of the 32
frozen sets of a ResNet18, over all images and all seeds. A prediction is right where a normal score lies below a
threshold: the score is the difficulty of the image, alike for all trials or for one of them, plus chance; seeds move
the threshold, and the class of the image does where classes differ.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from orchestrator.backbones import find_backbone
from orchestrator.blocks import all_sets

Floats = NDArray[np.float64]

_BLOCKS = find_backbone("resnet18").blocks
SETS = all_sets(_BLOCKS)
_BLOCK_PARAMS = {"stem": 9_536, "layer1": 147_968, "layer2": 525_568, "layer3": 2_099_712, "layer4": 8_393_728}
PARAMS = [float(11_178_051 - sum(_BLOCK_PARAMS[block] for block in each.blocks)) for each in SETS]
_COSTS = (0.001, 0.003, 0.006, 0.015, 0.03)
"""What freezing the blocks costs in the smooth trade-off: one of these each."""
_COMMON, _OWN, _CHANCE = 0.5, 0.2, 0.3
"""Variance of the score: difficulty of the image for all trials, for one of them, and chance."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What may be true.

    Attributes:
        name: Of the world.
        truths: True accuracies, all rows alike probable: [truths, sets].
        shares: Share of each class among all images, [classes].
        shifts: By how much the threshold of each class is higher, [classes].
    """

    name: str
    truths: Floats
    shares: tuple[float, ...] = (1.0,)
    shifts: tuple[float, ...] = (0.0,)

    def thresholds(self, truth: Floats, of_seeds: float) -> Floats:
        """Return the thresholds that make a truth true: [sets, classes], for a score with the luck of the seed."""
        scale = math.sqrt(1 + of_seeds**2)
        if len(self.shares) == 1:
            return np.asarray(ndtri(truth)[:, None] * scale)
        shares, shifts = np.array(self.shares), np.array(self.shifts)
        found = [brentq(lambda t, p=p: shares @ ndtr((t + shifts) / scale) - p, -8.0, 8.0) for p in truth]
        return np.asarray(np.array(found)[:, None] + shifts)

    def draw_sweep(
        self, truth: Floats, seeds: int, images: int, of_seeds: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Draw which images are predicted rightly, [sets, seeds, images], and the accuracy of each run on all images."""
        shape = (len(truth), seeds, images)
        common = rng.normal(size=(1, 1, images)) * math.sqrt(_COMMON)
        own = rng.normal(size=(len(truth), 1, images)) * math.sqrt(_OWN)
        chance = rng.normal(size=shape) * math.sqrt(_CHANCE)
        skill = rng.normal(size=(len(truth), seeds, 1)) * of_seeds
        labels = rng.choice(len(self.shares), size=images, p=self.shares)
        thresholds = self.thresholds(truth, of_seeds)
        of_runs = ndtr(thresholds[:, None, :] - skill) @ np.array(self.shares)
        return common + own + chance + skill < thresholds[:, labels][:, None, :], of_runs


class Oracle:
    """What the truths of a world probably are, given measured accuracies, for one who knows the world and its noise.

    It sees the mean accuracy of each trial, and not which images were right.
    """

    def __init__(self, world: World, seeds: int, images: int, of_seeds: float) -> None:
        self.truths, self._images = world.truths, images
        covariances = np.array([_covariance(world, each, seeds, images, of_seeds) for each in world.truths])
        slopes = 1 / np.sqrt(4 * world.truths * (1 - world.truths))
        noise = covariances * slopes[:, :, None] * slopes[:, None, :]
        self._expected = np.arcsin(np.sqrt(world.truths))
        self._inverses = np.linalg.inv(noise)
        self._log_determinants = np.linalg.slogdet(noise)[1]

    def weigh(self, measured: Floats) -> Floats:
        """Return the probability of each truth given measured accuracies, [truths]; normal on the arcsine scale."""
        stable = np.arcsin(np.sqrt((measured * self._images + 3 / 8) / (self._images + 3 / 4)))
        off = stable - self._expected
        logs = -0.5 * (self._log_determinants + np.einsum("ti,tij,tj->t", off, self._inverses, off))
        chances = np.exp(logs - logs.max())
        return np.asarray(chances / chances.sum())

    def draw(self, measured: Floats, draws: int = 4000) -> Floats:
        """Return truths as often as they are probable: about [draws, sets]."""
        return np.repeat(self.truths, np.rint(draws * self.weigh(measured)).astype(np.int64), axis=0)


def _covariance(world: World, truth: Floats, seeds: int, images: int, of_seeds: float) -> Floats:
    """Return the covariance of the measured accuracies of a truth over images and seeds, [sets, sets]."""
    shares, total = np.array(world.shares), 1 + of_seeds**2
    limits = world.thresholds(truth, of_seeds) / math.sqrt(total)
    of_classes = ndtr(limits)
    between = (of_classes * shares) @ of_classes.T - np.outer(truth, truth)
    pairs = limits[:, None, :], limits[None, :, :]
    covariance = _orthant(*pairs, _COMMON / total) @ shares + between
    same_image = _orthant(limits, limits, (_COMMON + _OWN) / total) @ shares + np.diag(between)
    same_seed = _orthant(limits[:, :, None], limits[:, None, :], of_seeds**2 / total) @ shares @ shares
    np.fill_diagonal(
        covariance, (truth * (1 - truth) + (seeds - 1) * same_image + (images - 1) * same_seed) / seeds
    )
    return np.asarray(covariance / images)


def _orthant(one: Floats, other: Floats, correlation: float) -> Floats:
    """Return by how much more often two normal scores lie below their limits both than if they were independent.

    Source: the derivative of the bivariate normal distribution by its correlation is its density (R. L. Plackett,
    "A reduction formula for normal multivariate integrals", Biometrika 41, 1954).
    """
    found = np.zeros(np.broadcast_shapes(one.shape, other.shape))
    for node, weight in zip(correlation * (_NODES + 1) / 2, correlation * _WEIGHTS / 2, strict=True):
        rest = 1 - node**2
        found += weight * np.exp(-(one**2 - 2 * node * one * other + other**2) / (2 * rest)) / math.sqrt(rest)
    return np.asarray(found / (2 * math.pi))


def _frozen() -> Floats:
    """Return which blocks each set freezes, [sets, blocks]."""
    return np.array([[float(block in each.blocks) for block in _BLOCKS] for each in SETS])


def _smooth() -> Iterable[Floats]:
    return (0.95 - _frozen() @ np.array(costs) for costs in permutations(_COSTS))


def _cliff() -> Iterable[Floats]:
    deepest = (_frozen() * np.arange(1, len(_BLOCKS) + 1)).max(axis=1)
    return (0.94 - drop * (deepest > last) for last in range(1, len(_BLOCKS)) for drop in (0.02, 0.04, 0.08))


def _pairs() -> Iterable[Floats]:
    frozen = _frozen()
    both = [frozen[:, one] * frozen[:, other] for one, other in combinations(range(len(_BLOCKS)), 2)]
    return (0.95 - frozen @ np.array(_COSTS) + 0.03 * (gains - loses) for gains, loses in permutations(both, 2))


WORLDS = {
    world.name: world
    for world in (
        World(name="all equal", truths=np.full((1, len(SETS)), 0.93)),
        World(name="smooth trade-off", truths=np.array(list(_smooth()))),
        World(name="one surprising winner", truths=0.90 + 0.05 * np.eye(len(SETS))),
        World(name="plateau with a cliff", truths=np.array(list(_cliff()))),
        World(name="pairs that interact", truths=np.array(list(_pairs()))),
        World(
            name="unequal classes",
            truths=np.array(list(_smooth())),
            shares=(0.6, 0.3, 0.1),
            shifts=(0.4, -0.1, -0.7),
        ),
    )
}
