"""The true values of frozen sets, those that were not measured too, given noisy measured ones of some.

A true value is a common level, plus an effect of each frozen block, plus a deviation of each set, plus one of a single
set that stands out, where there is one. How large effects and deviations are is not known: they have grids of sizes,
and the data weigh the grids. So nothing is tuned, what many sets share is believed more than what one of them shows,
and one that stands out far enough is believed too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.stats.evidence import Floats

_SIZES = tuple(np.geomspace(0.005, 0.64, 8).tolist())
"""Standard deviations of effects and of deviations. On the arcsine scale at an accuracy of 0.9: from 0.3 points."""
_SURPRISES = tuple(np.geomspace(0.05, 0.4, 4).tolist())
"""Likewise of the one set that stands out: at an accuracy of 0.9, from 3 points."""
_NO_EFFECTS, _NO_DEVIATIONS, _ONE_STANDS_OUT = 0.5, 0.3, 0.5
"""Weights before any data. The rest: blocks have effects; all sets deviate; none stands out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Component:
    """One point of the grids, with what draws from it need.

    Attributes:
        effect: Standard deviation of the effects of blocks.
        own: Standard deviation of the deviations of all sets.
        inverse: Inverse covariance of the measured values, [n, n].
        stands_out: Log-weight of each set and size of the one that stands out, [n, sizes].
        log_weight: Log-weight of no set that stands out.
    """

    effect: float
    own: float
    inverse: Floats
    stands_out: Floats
    log_weight: float


class BlockModel:
    """True values of frozen sets given measured ones, on a scale without bounds on which noise is normal.

    Draws do not depend on the order of the sets nor on the names of blocks.

    Args:
        measured: Measured values, [n].
        noise: Covariance of their noise, positive definite: [n, n].
        frozen: The frozen blocks of each.
        luck: Share of the variance of the deviation of each measured set that is the luck of its run and no part of its
            true value, in [0, 1]: [n], or one for all.

    Source: D. V. Lindley, A. F. M. Smith, "Bayes estimates for the linear model", JRSS B 34 (1972); the weights are
    restricted likelihoods, with a flat prior for the level.
    """

    def __init__(
        self, measured: Floats, noise: Floats, frozen: Sequence[Collection[str]], *, luck: ArrayLike = 0.0
    ) -> None:
        self._blocks, self._order = _arrange(measured, frozen)
        self._measured = np.asarray(measured, dtype=np.float64)[self._order]
        self._noise = np.asarray(noise, dtype=np.float64)[np.ix_(self._order, self._order)]
        self._design = _indicate([frozen[place] for place in self._order], self._blocks)
        self._kept = 1 - np.broadcast_to(np.asarray(luck, dtype=np.float64), (len(frozen),))[self._order]
        self._components = [
            self._weigh(effect, own, math.log(of_effect * of_own))
            for effect, of_effect in _spread(_NO_EFFECTS)
            for own, of_own in _spread(_NO_DEVIATIONS)
        ]

    def draw(self, draws: int = 4000, seed: int = 0, *, unseen: Sequence[Collection[str]] = ()) -> Floats:
        """Draw true values, [draws, n + unseen]; the same for the same seed.

        Their means are not inflated for the set that was chosen for a high measured value.

        Args:
            draws: How many.
            seed: Of the draws.
            unseen: Frozen blocks of further sets, that were not measured and are not among those that were.
        """
        further = sorted({block for each in unseen for block in each} - set(self._blocks))
        blocks = [*self._blocks, *further]
        design = np.pad(self._design, ((0, 0), (0, len(further))))
        order = sorted(range(len(unseen)), key=lambda place: _key(unseen[place], blocks))
        of_unseen = _indicate([unseen[place] for place in order], blocks)
        logs = [np.append(each.stands_out.ravel(), each.log_weight) for each in self._components]
        weights = np.exp(np.concatenate(logs) - max(float(each.max()) for each in logs))
        rng, rng_unseen = (np.random.default_rng([seed, stream]) for stream in range(2))
        chosen = rng.multinomial(draws, weights / weights.sum()).reshape(len(logs), -1)
        drawn = [
            self._draw_given(component, counts, design, of_unseen, rng, rng_unseen)
            for component, counts in zip(self._components, chosen, strict=True)
            if counts.any()
        ]
        values = np.concatenate(drawn)
        places = np.argsort([*self._order, *(len(self._measured) + place for place in order)])
        return np.asarray(values[:, places])

    def _weigh(self, effect: float, own: float, prior: float) -> _Component:
        """Compute a point of the grids: its restricted log-likelihood, and what one set that stands out adds to it."""
        covariance = self._noise + effect**2 * self._design @ self._design.T + own**2 * np.eye(len(self._measured))
        inverse: Floats = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        of_level = inverse.sum(axis=1)
        precision = float(of_level.sum())
        residual = inverse @ self._measured - of_level * float(of_level @ self._measured) / precision
        _, log_determinant = np.linalg.slogdet(covariance)
        log = prior - 0.5 * (float(log_determinant) + math.log(precision) + float(self._measured @ residual))
        own_precision = (np.diag(inverse) - of_level**2 / precision)[:, None]
        squares = np.array(_SURPRISES) ** 2
        widened = 1 + squares * own_precision
        added = 0.5 * (squares * residual[:, None] ** 2 / widened - np.log(widened))
        return _Component(
            effect=effect,
            own=own,
            inverse=inverse,
            stands_out=log + added + math.log(_ONE_STANDS_OUT / added.size),
            log_weight=log + math.log(1 - _ONE_STANDS_OUT),
        )

    def _draw_given(
        self,
        component: _Component,
        counts: NDArray[np.int64],
        design: Floats,
        of_unseen: Floats,
        rng: np.random.Generator,
        rng_unseen: np.random.Generator,
    ) -> Floats:
        """Draw for given sizes: who stands out and by how much, a level, then the rest.

        The rest are deviations from the level, by conditioning a draw of the prior on the data (Matheron's rule).
        """
        count, trials = int(counts.sum()), len(self._measured)
        inverse, effect, own = component.inverse, component.effect, component.own
        of_level = inverse.sum(axis=1)
        precision = float(of_level.sum())
        apart = self._draw_apart(inverse, np.repeat(np.arange(len(counts)), counts), rng)
        left = self._measured - apart
        levels = (left @ of_level / precision + rng.normal(size=count) / math.sqrt(precision))[:, None]
        effects = effect * rng.normal(size=(count, design.shape[1]))
        true = effects @ design.T + own * np.sqrt(self._kept) * rng.normal(size=(count, trials))
        luck = own * np.sqrt(1 - self._kept) * rng.normal(size=(count, trials))
        root = np.linalg.cholesky(self._noise)
        noise = rng.normal(size=(count, trials)) @ root.T
        gain = (left - levels - true - luck - noise) @ inverse
        seen = levels + true + apart + effect**2 * gain @ design @ design.T + own**2 * self._kept * gain
        of_sets = effects @ of_unseen.T + own * rng_unseen.normal(size=(count, len(of_unseen)))
        return np.hstack([seen, levels + of_sets + effect**2 * gain @ design @ of_unseen.T])

    def _draw_apart(self, inverse: Floats, kinds: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Draw by how much sets stand out, [draws, n]: 0 but for at most one in each draw."""
        of_level = inverse.sum(axis=1)
        residual = inverse @ self._measured - of_level * float(of_level @ self._measured) / of_level.sum()
        own_precision = np.diag(inverse) - of_level**2 / of_level.sum()
        apart = np.zeros((len(kinds), len(self._measured)))
        some = np.flatnonzero(kinds < len(self._measured) * len(_SURPRISES))
        trial, size = np.divmod(kinds[some], len(_SURPRISES))
        square = np.array(_SURPRISES)[size] ** 2
        variance = square / (1 + square * own_precision[trial])
        apart[some, trial] = variance * residual[trial] + np.sqrt(variance) * rng.normal(size=len(some))
        return apart


def _spread(none: float) -> list[tuple[float, float]]:
    """List the grid of a size with its weights: 0, and the others alike."""
    return [(0.0, none), *((size, (1 - none) / len(_SIZES)) for size in _SIZES)]


def _arrange(measured: Floats, frozen: Sequence[Collection[str]]) -> tuple[list[str], list[int]]:
    """Order blocks by what is measured with them, and sets by their blocks: by neither names nor places."""
    deviations = np.asarray(measured) - np.mean(measured)

    def weigh(block: str) -> tuple[float, int, str]:
        with_block = [deviation for deviation, each in zip(deviations, frozen, strict=True) if block in each]
        return round(float(np.sum(with_block)), 9), len(with_block), block

    blocks = sorted({block for each in frozen for block in each}, key=weigh)
    return blocks, sorted(range(len(frozen)), key=lambda place: (_key(frozen[place], blocks), measured[place]))


def _key(frozen: Collection[str], blocks: Sequence[str]) -> tuple[bool, ...]:
    return tuple(block in frozen for block in blocks)


def _indicate(frozen: Sequence[Collection[str]], blocks: Sequence[str]) -> Floats:
    """Return 1 where a set freezes a block, else 0: [sets, blocks]."""
    return np.array([_key(each, blocks) for each in frozen], dtype=np.float64).reshape(len(frozen), len(blocks))
