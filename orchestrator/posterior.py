"""How accurate trials probably are, all seen together: the chance of being on the front, and what choosing inflates.

The model, on the arcsine scale, where the noise of an accuracy does not depend on the accuracy: measured accuracies are
true ones plus noise, which images share and seeds add to; a true accuracy is a common level, plus an effect of each
frozen block, plus a deviation of the trial's own. How large effects and deviations are is not known: both sizes have a
grid of values, 0 among them with half of the prior weight (then all trials are equal, or blocks simply add up), and the
data weigh the grid. So nothing is tuned, and what many trials share is believed more than what one of them shows.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.evidence import Evidence, Floats

_SIZES = (0.0, *np.geomspace(0.005, 0.64, 8).tolist())
"""Standard deviations of effects and of deviations on the arcsine scale: at an accuracy of 0.9, from 0.3 points."""
_WEIGHTS = (0.5, *[0.5 / 8] * 8)


class Posterior:
    """True accuracies given the predictions, on other images and (where trials have several) with other seeds.

    Args:
        evidence: What the trials predicted.
        frozen: The frozen blocks of each trial.

    Source: D. V. Lindley, A. F. M. Smith, "Bayes estimates for the linear model", JRSS B 34 (1972); the weights are
    restricted likelihoods, with a flat prior for the level.
    """

    def __init__(self, evidence: Evidence, frozen: Sequence[Collection[str]]) -> None:
        self._measured, self._noise = _stabilise(evidence)
        blocks = sorted({block for each in frozen for block in each})
        self._design = np.array([[float(block in each) for block in blocks] for each in frozen])
        self._sizes = [(effect, own) for effect in _SIZES for own in _SIZES]
        prior = np.log([one * other for one in _WEIGHTS for other in _WEIGHTS])
        logs = prior + np.array([self._log_likelihood(self._signal(*sizes)) for sizes in self._sizes])
        weights = np.exp(logs - logs.max())
        self._weights: Floats = weights / weights.sum()

    def draw(self, draws: int = 4000, seed: int = 0) -> Floats:
        """Draw true accuracies, [draws, trials], in [0, 1]; the same for the same seed.

        Their means are not inflated for the trial that was chosen for a high measured value.
        """
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(draws, self._weights)
        drawn = [
            self._draw_given(self._signal(*sizes), int(count), rng)
            for sizes, count in zip(self._sizes, counts, strict=True)
            if count
        ]
        shares: Floats = np.sin(np.clip(np.concatenate(drawn), 0.0, math.pi / 2)) ** 2
        return shares

    def _signal(self, effect: float, own: float) -> Floats:
        """Prior covariance of the true accuracies about their level."""
        signal: Floats = effect**2 * self._design @ self._design.T + own**2 * np.eye(len(self._measured))
        return signal

    def _level(self, covariance: Floats) -> tuple[float, float, Floats]:
        """Estimate the common level: mean, variance, and the measured deviations from it, weighed by precision."""
        ones = np.ones(len(self._measured))
        solved = np.linalg.solve(covariance, np.column_stack([ones, self._measured]))
        variance = 1 / float(ones @ solved[:, 0])
        level = variance * float(ones @ solved[:, 1])
        return level, variance, solved[:, 1] - level * solved[:, 0]

    def _log_likelihood(self, signal: Floats) -> float:
        covariance = self._noise + signal
        level, variance, weighed = self._level(covariance)
        _, log_determinant = np.linalg.slogdet(covariance)
        residual = float((self._measured - level) @ weighed)
        return 0.5 * (math.log(variance) - float(log_determinant) - residual)

    def _draw_given(self, signal: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Draw for given sizes: a level, then deviations from it by conditioning a draw of the prior on the data."""
        covariance = self._noise + signal
        level, variance, _ = self._level(covariance)
        levels = rng.normal(level, math.sqrt(variance), size=(count, 1))
        if not signal.any():
            return np.broadcast_to(levels, (count, len(self._measured)))
        zeros = np.zeros(len(self._measured))
        deviation = rng.multivariate_normal(zeros, signal, size=count, method="eigh")
        noise = rng.multivariate_normal(zeros, self._noise, size=count, method="eigh")
        residual = self._measured - levels - deviation - noise
        return levels + deviation + np.linalg.solve(covariance, residual.T).T @ signal


def _stabilise(evidence: Evidence) -> tuple[Floats, Floats]:
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
    return np.arcsin(np.sqrt(share)), noise


def draw_accuracies(
    correct: Sequence[NDArray[np.bool_]], frozen: Sequence[Collection[str]], *, draws: int = 4000, seed: int = 0
) -> Floats:
    """Draw true accuracies of trials, [draws, trials], from whether each image is predicted rightly.

    Args:
        correct: For each trial [runs, images], of the same images.
        frozen: The frozen blocks of each trial.
        draws: How many.
        seed: Of the draws.

    Raises:
        ValueError: `correct` is empty or of different images.
    """
    return Posterior(Evidence.of(correct), frozen).draw(draws, seed)


def front_probabilities(accuracies: Floats, params: Sequence[float]) -> Floats:
    """Give the share of draws in which each trial is on the front, [trials].

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
