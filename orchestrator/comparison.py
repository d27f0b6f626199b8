"""Is one trial better than another? Paired tests on the images that both predict, corrected for their number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much more accurate one trial is than another.

    Attributes:
        difference: Accuracy of the one minus that of the other, in [-1, 1].
        low: Lower end of its interval.
        high: Upper end.
        standard_error: Of the difference.
        p_value: Chance of a difference as large, in either direction, between equals.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def compare(evidence: Evidence, trial: int, other: int, confidence: float = 0.95) -> Comparison:
    """Compare two trials by the images that both predict.

    One run each: McNemar's exact test, and the interval of Bonett and Price; both are about other images only. Else a
    t-test whose standard error covers images and seeds. Intervals are not corrected for the number of comparisons.

    Source: D. G. Bonett, R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).
    """
    from scipy.special import ndtri, stdtrit

    difference, error, freedom = evidence.difference(trial, other)
    one_sided = p_better(evidence, trial, other), p_better(evidence, other, trial)
    p_value = min(1.0, 2 * min(one_sided))
    if _are_single(evidence, trial, other):
        gained, lost = _discordant(evidence, trial, other)
        size = evidence.n_images + 2
        centre = (gained - lost) / size
        spread = math.sqrt(((gained + lost + 2) / size - centre**2) / size)
        half = float(ndtri(0.5 + confidence / 2)) * spread
    else:
        centre, half = difference, float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    return Comparison(
        difference=difference,
        low=max(-1.0, min(difference, centre - half)),
        high=min(1.0, max(difference, centre + half)),
        standard_error=error,
        p_value=p_value,
    )


def p_better(evidence: Evidence, trial: int, other: int) -> float:
    """Give the chance that `trial` would be better by as much or more if it were no better than `other`."""
    from scipy.special import bdtrc, stdtr

    if _are_single(evidence, trial, other):
        gained, lost = _discordant(evidence, trial, other)
        return 1.0 if gained == 0 else float(bdtrc(gained - 1, gained + lost, 0.5))
    difference, error, freedom = evidence.difference(trial, other)
    return float(stdtr(freedom, -difference / error))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that the chance of any false alarm stays below the level; in [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def find_better(evidence: Evidence, params: Sequence[float], level: float = 0.05) -> NDArray[np.bool_]:
    """Find which trials are significantly better than one with as few or fewer parameters.

    For each trial as the reference, all trials with as many or more parameters are tested against it, one-sided, with
    Holm's correction for their number: the chance that a reference is wrongly said to be beaten is at most `level`.

    Args:
        evidence: What the trials predicted.
        params: Trainable parameters of each, [trials].
        level: Chance of a false alarm for each reference.

    Returns:
        `better[trial, reference]`: [trials, trials].
    """
    trials = range(len(params))
    better = np.zeros((len(params), len(params)), dtype=np.bool_)
    for reference in trials:
        others = [trial for trial in trials if trial != reference and params[trial] >= params[reference]]
        adjusted = adjust_holm([p_better(evidence, trial, reference) for trial in others])
        for trial, p_value in zip(others, adjusted, strict=True):
            better[trial, reference] = p_value < level
    return better


def _are_single(evidence: Evidence, trial: int, other: int) -> bool:
    return len(evidence.correct[trial]) == len(evidence.correct[other]) == 1


def _discordant(evidence: Evidence, trial: int, other: int) -> tuple[int, int]:
    """Count the images that only the one predicts rightly, and those that only the other does."""
    one, two = evidence.correct[trial][0], evidence.correct[other][0]
    return int((one & ~two).sum()), int((two & ~one).sum())
