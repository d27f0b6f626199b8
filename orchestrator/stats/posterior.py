"""How accurate trials probably are, all seen together: the chance of being on the front, and what choosing inflates.

The model, on the arcsine scale, where the noise of an accuracy does not depend on the accuracy: measured accuracies are
true ones plus noise, which images share and seeds add to. A true accuracy is a common level, plus an effect of each
frozen block, plus a deviation: of all trials, of one surprising trial alone, or of none. How large effects and
deviations are is not known: they have grids of sizes, and the data weigh the grids. So nothing is tuned, what many
trials share is believed more than what one of them shows, and one that stands out far enough is believed too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.evidence import Evidence, Floats

_SIZES = tuple(np.geomspace(0.005, 0.64, 8).tolist())
"""Standard deviations of effects and of deviations on the arcsine scale: at an accuracy of 0.9, from 0.3 points."""
_SURPRISES = tuple(np.geomspace(0.05, 0.4, 4).tolist())
"""Likewise of the one trial that stands out: at an accuracy of 0.9, from 3 points."""
_NO_EFFECTS, _NO_DEVIATIONS, _ONE_DEVIATES = 0.5, 0.2, 0.5
"""Weights before any data. The rest: blocks have effects; all trials deviate."""
_LUCK = 0.5
"""Share of its deviation that counts as luck of the seed where a trial has one run: nothing tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """One point of the grids: standard deviations of block effects, of all deviations, and of that of one trial."""

    effect: float
    own: float
    surprise: float = 0.0
    trial: int | None = None


class Posterior:
    """True accuracies given the predictions, on other images and (where trials have several) with other seeds.

    Args:
        evidence: What the trials predicted.
        frozen: The frozen blocks of each trial.
        luck: Share of its deviation that counts as luck of the seed where a trial has one run.

    Source: D. V. Lindley, A. F. M. Smith, "Bayes estimates for the linear model", JRSS B 34 (1972); the weights are
    restricted likelihoods, with a flat prior for the level.
    """

    def __init__(self, evidence: Evidence, frozen: Sequence[Collection[str]], *, luck: float = _LUCK) -> None:
        self._measured, self._noise = stabilise(evidence)
        blocks = sorted({block for each in frozen for block in each})
        self._design = np.array([[float(block in each) for block in blocks] for each in frozen])
        self._kept = np.array([1 - luck if len(each) == 1 else 1.0 for each in evidence.correct])
        self._sizes: list[_Sizes] = []
        logs: list[float] = []
        for effect, of_effect in _spread(_NO_EFFECTS, 1 - _NO_EFFECTS):
            for own, of_own in _spread(_NO_DEVIATIONS, 1 - _NO_DEVIATIONS - _ONE_DEVIATES):
                likelihood, projection = self._weigh(effect, own)
                self._sizes.append(_Sizes(effect=effect, own=own))
                logs.append(likelihood + math.log(of_effect * of_own))
                if own == 0:
                    weight = math.log(of_effect * _ONE_DEVIATES / len(_SURPRISES) / len(self._measured))
                    for sizes, added in self._surprises(effect, projection):
                        self._sizes.append(sizes)
                        logs.append(likelihood + added + weight)
        chances = np.exp(np.array(logs) - max(logs))
        self._weights: Floats = chances / chances.sum()

    @property
    def luck(self) -> Floats:
        """Variance that the seed is expected to add to the measured value of a trial with one run, else 0: [trials].

        On the arcsine scale.
        """
        weighed = zip(self._weights, self._sizes, strict=True)
        variances = sum((weight * self._variances(sizes) for weight, sizes in weighed), np.zeros(len(self._kept)))
        return np.asarray(variances * (1 - self._kept))

    def draw(self, draws: int = 4000, seed: int = 0) -> Floats:
        """Draw true accuracies, [draws, trials], in [0, 1]; the same for the same seed.

        Their means are not inflated for the trial that was chosen for a high measured value.
        """
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(draws, self._weights)
        root: Floats = np.asarray(np.linalg.cholesky(self._noise), dtype=np.float64)
        drawn = [
            self._draw_given(sizes, int(count), root, rng)
            for sizes, count in zip(self._sizes, counts, strict=True)
            if count
        ]
        return from_arcsine(np.concatenate(drawn))

    def _variances(self, sizes: _Sizes) -> Floats:
        """Variance of each trial's own deviation, the luck of a single seed included: [trials]."""
        variances = np.full(len(self._measured), sizes.own**2)
        if sizes.trial is not None:
            variances[sizes.trial] += sizes.surprise**2
        return variances

    def _covariance(self, effect: float, variances: Floats) -> Floats:
        """Covariance of the measured accuracies about their level."""
        covariance: Floats = self._noise + effect**2 * self._design @ self._design.T + np.diag(variances)
        return covariance

    def _weigh(self, effect: float, own: float) -> tuple[float, Floats]:
        """Return the restricted log-likelihood of sizes, and the matrix that removes the level and divides by noise."""
        covariance = self._covariance(effect, np.full(len(self._measured), own**2))
        inverse = np.linalg.inv(covariance)
        of_level = inverse.sum(axis=1)
        precision = float(of_level.sum())
        projection = inverse - np.outer(of_level, of_level) / precision
        _, log_determinant = np.linalg.slogdet(covariance)
        residual = float(self._measured @ projection @ self._measured)
        return -0.5 * (float(log_determinant) + math.log(precision) + residual), projection

    def _surprises(self, effect: float, projection: Floats) -> list[tuple[_Sizes, float]]:
        """Return what it adds to the log-likelihood if one trial deviates besides: each trial, each size."""
        weighed, own = projection @ self._measured, np.diag(projection)
        found = []
        for surprise in _SURPRISES:
            widened = 1 + surprise**2 * own
            added = 0.5 * (surprise**2 * weighed**2 / widened - np.log(widened))
            found += [
                (_Sizes(effect=effect, own=0.0, surprise=surprise, trial=trial), float(each))
                for trial, each in enumerate(added)
            ]
        return found

    def _draw_given(self, sizes: _Sizes, count: int, root: Floats, rng: np.random.Generator) -> Floats:
        """Draw for given sizes: a level, then deviations from it by conditioning a draw of the prior on the data."""
        trials = len(self._measured)
        variances = self._variances(sizes)
        covariance = self._covariance(sizes.effect, variances)
        of_level = np.linalg.solve(covariance, np.ones(trials))
        precision = float(of_level.sum())
        level = float(of_level @ self._measured) / precision
        levels = rng.normal(level, 1 / math.sqrt(precision), size=(count, 1))
        true = sizes.effect * rng.normal(size=(count, self._design.shape[1])) @ self._design.T
        true = true + np.sqrt(variances * self._kept) * rng.normal(size=(count, trials))
        luck = np.sqrt(variances * (1 - self._kept)) * rng.normal(size=(count, trials))
        noise = rng.normal(size=(count, trials)) @ root.T
        signal = self._covariance(sizes.effect, variances * self._kept) - self._noise
        residual = self._measured - levels - true - luck - noise
        drawn: Floats = levels + true + np.linalg.solve(covariance, residual.T).T @ signal
        return drawn


def _spread(none: float, some: float) -> list[tuple[float, float]]:
    """List the grid of a size with its weights: 0, and the others alike."""
    return [(0.0, none), *((size, some / len(_SIZES)) for size in _SIZES)]


def stabilise(evidence: Evidence) -> tuple[Floats, Floats]:
    """Bring accuracies to the arcsine scale: the measured ones, [trials], and the covariance of their noise.

    Images vary all trials alike there, and by the same correlation: what single trials show of it is noise, and would
    favour those that are right by luck.

    Source: F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35 (1948).
    """
    size = evidence.n_images
    share = (evidence.accuracy * size + 3 / 8) / (size + 3 / 4)
    slope_square = 1 / (4 * share * (1 - share))
    spread = np.sqrt(np.maximum(np.diag(evidence.images), evidence.least_variance))
    variance = float((spread**2).sum() / (1 / slope_square).sum())
    apart = ~np.eye(len(share), dtype=np.bool_)
    of_pairs = float(np.outer(spread, spread)[apart].sum())
    correlation = min(max(float(evidence.images[apart].sum()) / of_pairs, 0.0), 0.999) if of_pairs else 0.0
    noise = variance * np.where(apart, correlation, 1.0) + np.diag(evidence.seeds * slope_square)
    return to_arcsine(share), noise


def to_arcsine(shares: Floats) -> Floats:
    """Bring shares to the arcsine scale, on which their noise does not depend on them."""
    return np.asarray(np.arcsin(np.sqrt(shares)))


def from_arcsine(values: Floats) -> Floats:
    """Bring values of the arcsine scale back to shares in [0, 1]."""
    return np.asarray(np.sin(np.clip(values, 0.0, math.pi / 2)) ** 2)


def draw_accuracies(
    correct: Sequence[NDArray[np.bool_]],
    frozen: Sequence[Collection[str]],
    *,
    draws: int = 4000,
    seed: int = 0,
    luck: float = _LUCK,
) -> Floats:
    """Draw true accuracies of trials, [draws, trials], from whether each image is predicted rightly.

    Args:
        correct: For each trial [runs, images], of the same images.
        frozen: The frozen blocks of each trial.
        draws: How many.
        seed: Of the draws.
        luck: As of `Posterior`.

    Raises:
        ValueError: `correct` is empty or of different images.
    """
    return Posterior(Evidence.of(correct), frozen, luck=luck).draw(draws, seed)


def front_probabilities(accuracies: Floats, params: Sequence[float]) -> Floats:
    """Return the share of draws in which each trial is on the front, [trials].

    It is there if it is more accurate than all with fewer parameters, and as accurate as all with as many.

    Args:
        accuracies: [draws, trials].
        params: Trainable parameters of each trial.
    """
    cost = np.asarray(params, dtype=np.float64)
    on_front = np.empty(accuracies.shape, dtype=np.bool_)
    below = np.full(len(accuracies), -np.inf)
    for each in np.unique(cost):
        equal = np.flatnonzero(cost == each)
        highest = accuracies[:, equal].max(axis=1)
        on_front[:, equal] = (accuracies[:, equal] >= highest[:, None]) & (highest > below)[:, None]
        below = np.maximum(below, highest)
    return np.asarray(on_front.mean(axis=0))
