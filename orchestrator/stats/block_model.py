"""The true values of frozen sets, those that were not measured too, given noisy measured ones of some.

A true value is a common level, plus an effect of each frozen block, plus an interaction of each pair of blocks, plus a
deviation of each set, plus one of a single set that stands out. Effects scatter about a mean of their own: freezing
more may cost, or help. Whether there are effects, interactions, deviations, or a set that stands out, and how large
they are, is not known: they have grids of sizes, and the data weigh the grids. So what many sets share is believed more
than what one of them shows, and one that stands out far enough is believed too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.stats.evidence import Floats

_SIZES = tuple(np.geomspace(0.005, 0.64, 8).tolist())
"""Standard deviations of effects and of deviations. On the arcsine scale at an accuracy of 0.9: from 0.3 points."""
_SURPRISES = (0.1, 0.3)
"""Likewise of the one set that stands out: at an accuracy of 0.9, 6 and 18 points."""
_INTERACTIONS = (1.0,)
"""Standard deviations of interactions, as multiples of that of effects."""
_NO_EFFECTS, _NO_DEVIATIONS, _NO_INTERACTIONS, _NONE_STANDS_OUT = 0.5, 0.5, 0.5, 0.3
"""Weights before any data."""
_LUCK_APART = 1 / 3
"""Share of `luck` for the set that stands out: the luck of runs varies all of them, and seldom one alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Component:
    """One point of the grids, with what draws from it need.

    Attributes:
        effect: Standard deviation of the effects of blocks, and of their mean.
        interaction: That of interactions, as a multiple.
        own: Standard deviation of the deviations of all sets.
        inverse: Inverse covariance of the measured values about their level, [n, n].
        of_level: What each measured value counts for in the level, [n].
        residual: Deviations of the measured values from the level, weighed with the inverse: [n].
        precision: Of each set's deviation from what the others say of it: [n].
        log_weights: Log-weight of each set and size that stands out, and at last of none: [n * sizes + 1].
    """

    effect: float
    interaction: float
    own: float
    inverse: Floats
    of_level: Floats
    residual: Floats
    precision: Floats
    log_weights: Floats


class BlockModel:
    """True values of frozen sets given measured ones, on a scale without bounds on which noise is normal.

    Draws do not depend on the order of the sets nor on the names of blocks, exact ties aside.

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
        self._blocks, self._order = _arrange(np.asarray(measured), frozen)
        self._sets = [frozen[place] for place in self._order]
        self._measured: Floats = np.asarray(measured, dtype=np.float64)[self._order]
        self._noise: Floats = np.asarray(noise, dtype=np.float64)[np.ix_(self._order, self._order)]
        self._luck: Floats = np.broadcast_to(np.asarray(luck, dtype=np.float64), (len(frozen),))[self._order]
        features = {each: self._features(each, self._sets, self._blocks) for each in (0.0, *_INTERACTIONS)}
        kernels = {each: found @ found.T for each, found in features.items()}
        self._root: Floats = np.asarray(np.linalg.cholesky(self._noise), dtype=np.float64)
        self._components = [
            self._weigh(effect, interaction, own, kernels[interaction], math.log(of_effect * of_interaction * of_own))
            for effect, of_effect in _spread(_NO_EFFECTS)
            for interaction, of_interaction in _list_interactions(effect, len(self._blocks))
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
        blocks = [*self._blocks, *sorted({block for each in unseen for block in each} - set(self._blocks))]
        order = sorted(range(len(unseen)), key=lambda place: _key(unseen[place], blocks))
        sets = [*self._sets, *(unseen[place] for place in order)]
        logs = np.array([each.log_weights for each in self._components])
        weights = np.exp(logs - logs.max())
        rngs = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        chosen = rngs[0].multinomial(draws, weights.ravel() / weights.sum()).reshape(weights.shape)
        features = {each: self._features(each, sets, blocks) for each in (0.0, *_INTERACTIONS)}
        values = np.concatenate(
            [
                self._draw_given(component, counts, features[component.interaction], *rngs)
                for component, counts in zip(self._components, chosen, strict=True)
                if counts.any()
            ]
        )
        places = np.argsort([*self._order, *(len(self._measured) + place for place in order)])
        return np.asarray(values[:, places])

    def _features(self, interaction: float, sets: Sequence[Collection[str]], blocks: Sequence[str]) -> Floats:
        """Return what the effects of size 1 are of, [sets, features]: blocks, their number, and their pairs.

        Pairs are contrasts, so that they leave the mean effects of blocks as they are; but a block that no measured set
        freezes has none with these.
        """
        design = np.array([_key(each, blocks) for each in sets], dtype=np.float64).reshape(len(sets), len(blocks))
        features = [design, design.sum(axis=1, keepdims=True)]
        if interaction and len(blocks) > 1:
            contrast = design - np.where(np.arange(len(blocks)) < len(self._blocks), 0.5, 0.0)
            pairs = [contrast[:, one] * contrast[:, other] for one, other in combinations(range(len(blocks)), 2)]
            features.append(interaction * np.array(pairs).T)
        return np.hstack(features)

    def _weigh(self, effect: float, interaction: float, own: float, kernel: Floats, prior: float) -> _Component:
        """Compute a point of the grids: its restricted log-likelihood, and what one set that stands out adds to it."""
        covariance = self._noise + effect**2 * kernel + own**2 * np.eye(len(self._measured))
        inverse: Floats = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        sums = inverse.sum(axis=1)
        total = float(sums.sum())
        residual = inverse @ self._measured - sums * float(sums @ self._measured) / total
        precision = np.diag(inverse) - sums**2 / total
        _, log_determinant = np.linalg.slogdet(covariance)
        log = prior - 0.5 * (float(log_determinant) + math.log(total) + float(self._measured @ residual))
        squares = np.array(_SURPRISES) ** 2
        widened = 1 + squares * precision[:, None]
        added = 0.5 * (squares * residual[:, None] ** 2 / widened - np.log(widened))
        some, none = math.log((1 - _NONE_STANDS_OUT) / added.size), math.log(_NONE_STANDS_OUT)
        return _Component(
            effect=effect,
            interaction=interaction,
            own=own,
            inverse=inverse,
            of_level=sums / total,
            residual=residual,
            precision=precision,
            log_weights=log + np.append(added.ravel() + some, none),
        )

    def _draw_given(
        self,
        component: _Component,
        counts: NDArray[np.int64],
        features: Floats,
        rng: np.random.Generator,
        rng_unseen: np.random.Generator,
    ) -> Floats:
        """Draw for given sizes: who stands out and by how much, a level, then the rest.

        The rest are deviations from the level, by conditioning a draw of the prior on the data (Matheron's rule).
        """
        count, trials = int(counts.sum()), len(self._measured)
        inverse, own = component.inverse, component.own
        apart, true_apart = self._draw_apart(component, np.repeat(np.arange(len(counts)), counts), rng)
        left = self._measured - apart
        spread = 1 / math.sqrt(float(inverse.sum()))
        levels = (left @ component.of_level + spread * rng.normal(size=count))[:, None]
        effects = component.effect * (rng.normal(size=(count, features.shape[1])) @ features.T)
        deviations = own * np.sqrt(1 - self._luck) * rng.normal(size=(count, trials))
        luck = own * np.sqrt(self._luck) * rng.normal(size=(count, trials))
        noise = rng.normal(size=(count, trials)) @ self._root.T
        gain = (left - levels - effects[:, :trials] - deviations - luck - noise) @ inverse
        effects += component.effect**2 * (gain @ features[:trials]) @ features.T
        seen = levels + effects[:, :trials] + deviations + own**2 * (1 - self._luck) * gain + true_apart
        further = effects.shape[1] - trials
        return np.hstack([seen, levels + effects[:, trials:] + own * rng_unseen.normal(size=(count, further))])

    def _draw_apart(
        self, component: _Component, kinds: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Draw by how much sets stand out, and what of it is true, [draws, n]: 0 but for at most one in each draw."""
        apart, true = np.zeros((2, len(kinds), len(self._measured)))
        some = np.flatnonzero(kinds < len(self._measured) * len(_SURPRISES))
        trial, size = np.divmod(kinds[some], len(_SURPRISES))
        square = np.array(_SURPRISES)[size] ** 2
        variance = square / (1 + square * component.precision[trial])
        apart[some, trial] = variance * component.residual[trial] + np.sqrt(variance) * rng.normal(size=len(some))
        kept = 1 - _LUCK_APART * self._luck[trial]
        true[some, trial] = kept * apart[some, trial]
        true[some, trial] += np.sqrt(kept * (1 - kept) * square) * rng.normal(size=len(some))
        return apart, true


def _spread(none: float) -> list[tuple[float, float]]:
    """List the grid of a size with its weights: 0, and the others alike."""
    return [(0.0, none), *((size, (1 - none) / len(_SIZES)) for size in _SIZES)]


def _list_interactions(effect: float, blocks: int) -> list[tuple[float, float]]:
    """List the grid of interactions with its weights; without effects, or pairs, there are none."""
    if effect == 0 or blocks < 2:
        return [(0.0, 1.0)]
    return [(0.0, _NO_INTERACTIONS), *((size, (1 - _NO_INTERACTIONS) / len(_INTERACTIONS)) for size in _INTERACTIONS)]


def _arrange(measured: Floats, frozen: Sequence[Collection[str]]) -> tuple[list[str], list[int]]:
    """Order blocks by what is measured with them, and sets by their blocks: by neither names nor places."""
    deviations = measured - math.fsum(measured) / len(measured)

    def weigh(block: str) -> tuple[float, int, str]:
        with_block = [deviation for deviation, each in zip(deviations, frozen, strict=True) if block in each]
        return math.fsum(with_block), len(with_block), block

    blocks = sorted({block for each in frozen for block in each}, key=weigh)
    return blocks, sorted(range(len(frozen)), key=lambda place: (_key(frozen[place], blocks), measured[place]))


def _key(frozen: Collection[str], blocks: Sequence[str]) -> tuple[bool, ...]:
    return tuple(block in frozen for block in blocks)
