"""How good trials probably are, all seen together: the chance of being on the front, and what choosing inflates.

On the scale of a gain (`scales`; of an accuracy the arcsine) noise does not depend on how high the gain is: measured
gains are true ones plus noise, which images share and seeds add to. What the true ones have in common says
`BlockModel`.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.block_model import BlockModel
from orchestrator.stats.evidence import Evidence, Floats

_LUCK = 0.75
"""Share of its deviation that counts as luck of the seed where a trial has one run: nothing tells them apart."""


class Posterior:
    """True gains given the predictions, on other images and (where trials have several) with other seeds.

    Args:
        evidence: What the trials predicted.
        frozen: The frozen blocks of each trial.
        luck: Share of its deviation that counts as luck of the seed where a trial has one run.
    """

    def __init__(self, evidence: Evidence, frozen: Sequence[Collection[str]], *, luck: float = _LUCK) -> None:
        measured, noise = evidence.stabilise()
        of_runs = np.array([luck if len(each) == 1 else 0.0 for each in evidence.scores])
        self._model = BlockModel(measured, noise, frozen, luck=of_runs)
        self._back = evidence.scale.back

    @property
    def luck(self) -> Floats:
        """Variance that the seed is expected to add to the measured value of a trial with one run, else 0: [trials].

        On the scale of the gain.
        """
        return self._model.luck

    def draw(self, draws: int = 4000, seed: int = 0) -> Floats:
        """Draw true means, [draws, trials], within the bounds of their scale; the same for the same seed.

        Their means are not inflated for the trial that was chosen for a high measured value.
        """
        return self._back(self._model.draw(draws, seed))


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
