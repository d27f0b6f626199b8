"""What to use: the trial that is probably the best, and the cheapest that probably loses little against the best.

All is decided by draws of the true values of all trials together. Against the best means against whichever trial is
the best in each draw: which one that truly is, nobody knows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.stats.evidence import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The cheapest trial that probably loses little.

    Attributes:
        chosen: Its place.
        expected: Place of the trial with the highest expected value.
        probability: That the chosen trial loses at most the margin.
        is_confident: Whether that reaches the confidence asked for; else the chosen trial is the expected one.
        loss: What the chosen trial is expected to lose, at least 0, in the unit of the values.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    chosen: int
    expected: int
    probability: float
    is_confident: bool
    loss: float
    low: float
    high: float


def choose_expected(values: Floats, costs: Sequence[float]) -> int:
    """Choose the trial with the highest expected value; ties: the lower cost, then the higher value, then the earlier.

    What so many draws cannot tell apart, by two standard errors of the mean of their difference, is a tie: else the
    draws would choose, and not the data.

    Args:
        values: Draws of the true values, higher is better, -inf of a trial that is no candidate: [draws, trials].
        costs: Of each trial.
    """
    expected = values.mean(axis=0)
    known = np.flatnonzero(np.isfinite(expected))
    behind = values[:, [int(expected.argmax())]] - values[:, known]
    errors = behind.std(axis=0) / math.sqrt(len(values))
    tied = known[behind.mean(axis=0) <= 2 * errors]
    return int(min(tied, key=lambda place: (costs[place], -expected[place], place)))


def within_probabilities(values: Floats, margin: float) -> Floats:
    """Return the share of draws in which each trial loses at most `margin` against the best one: [trials]."""
    lost = values.max(axis=1, keepdims=True) - values
    return np.asarray((lost <= margin).mean(axis=0))


def advise(values: Floats, costs: Sequence[float], margin: float, confidence: float) -> Advice:
    """Choose the lowest cost among the trials that lose at most `margin` with at least `confidence`.

    Ties: the higher probability, then the earlier. Where there is none, the trial with the highest expected value.

    Args:
        values: Draws of the true values, higher is better: [draws, trials].
        costs: Of each trial.
        margin: What may be lost against the best, at least 0, in the unit of the values.
        confidence: Probability asked for, in [0, 1].
    """
    expected = choose_expected(values, costs)
    within = within_probabilities(values, margin)
    reaching = [place for place in range(len(costs)) if within[place] >= confidence]
    chosen = min(reaching, key=lambda place: (costs[place], -within[place], place)) if reaching else expected
    lost = values.max(axis=1) - values[:, chosen]
    low, high = np.quantile(lost, [0.025, 0.975])
    return Advice(
        chosen=chosen,
        expected=expected,
        probability=float(within[chosen]),
        is_confident=bool(reaching),
        loss=float(lost.mean()),
        low=float(low),
        high=float(high),
    )
