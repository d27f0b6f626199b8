"""How accurate trials probably are, all seen together: the chance of being on the front, and what choosing inflates.

On the arcsine scale the noise of an accuracy does not depend on the accuracy: measured accuracies are true ones plus
noise, which images share and seeds add to. What the true ones have in common says `BlockModel`.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.block_model import BlockModel
from orchestrator.stats.evidence import Evidence, Floats, seed_variances

_LUCK = 0.75
"""Share of its deviation that counts as luck of the seed where a trial has one run: nothing tells them apart."""


class Posterior:
    """True accuracies given the predictions, on other images and (where trials have several) with other seeds.

    Args:
        evidence: What the trials predicted.
        frozen: The frozen blocks of each trial.
        luck: Share of its deviation that counts as luck of the seed where a trial has one run.
    """

    def __init__(self, evidence: Evidence, frozen: Sequence[Collection[str]], *, luck: float = _LUCK) -> None:
        measured, noise = _stabilise(evidence)
        of_runs = np.array([luck if len(each) == 1 else 0.0 for each in evidence.correct])
        self._model = BlockModel(measured, noise, frozen, luck=of_runs)

    def draw(self, draws: int = 4000, seed: int = 0) -> Floats:
        """Draw true accuracies, [draws, trials], in [0, 1]; the same for the same seed.

        Their means are not inflated for the trial that was chosen for a high measured value.
        """
        shares: Floats = np.sin(np.clip(self._model.draw(draws, seed), 0.0, math.pi / 2)) ** 2
        return shares


def _stabilise(evidence: Evidence) -> tuple[Floats, Floats]:
    """Bring accuracies to the arcsine scale: the measured ones, [trials], and the covariance of their noise.

    Images vary all trials alike there, and by the same correlation: what single trials show of it is noise, and would
    favour those that are right by luck. Seeds are moderated there as well: else the accurate would seem to vary more.

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
    noise = variance * np.where(apart, correlation, 1.0) + np.diag(seed_variances(evidence.correct, slope_square)[0])
    return np.arcsin(np.sqrt(share)), noise


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
