"""Is one trial better than another? Paired tests on the images that both predict, corrected for their number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.evidence import Evidence, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much better one trial is than another.

    Attributes:
        difference: Gain of the one minus that of the other, of accuracies in [-1, 1]; above 0: it is better.
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

    One run each, images right or wrong: McNemar's exact test, and the interval of Bonett and Price; both are about
    other images only. Else a t-test whose standard error covers images and, with several runs, seeds. Intervals are not
    corrected for the number of comparisons.

    Source: D. G. Bonett, R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).
    """
    from scipy.special import ndtri, stdtrit

    errors, freedom = evidence.standard_errors()
    difference, error = float(evidence.differences[trial, other]), float(errors[trial, other])
    better = p_better(evidence)
    if evidence.is_binary and len(evidence.scores[trial]) == len(evidence.scores[other]) == 1:
        gained, lost = (int(count) for count in (_gained(evidence)[pair] for pair in ((trial, other), (other, trial))))
        size = evidence.n_images + 2
        centre = (gained - lost) / size
        half = float(ndtri(0.5 + confidence / 2)) * math.sqrt(((gained + lost + 2) / size - centre**2) / size)
    else:
        centre, half = difference, float(stdtrit(freedom[trial, other], 0.5 + confidence / 2)) * error
    return Comparison(
        difference=difference,
        low=max(-evidence.scale.width, min(difference, centre - half)),
        high=min(evidence.scale.width, max(difference, centre + half)),
        standard_error=error,
        p_value=min(1.0, 2 * float(min(better[trial, other], better[other, trial]))),
    )


def p_better(evidence: Evidence) -> Floats:
    """Return the chance that a trial would be better than another by as much or more if it were no better.

    Returns:
        One-sided p-values `[trial, other]`: [trials, trials].
    """
    from scipy.special import bdtrc, stdtr

    errors, freedom = evidence.standard_errors()
    by_t: Floats = stdtr(freedom, -evidence.differences / errors)
    if not evidence.is_binary:
        return by_t
    gained = _gained(evidence)
    by_sign = np.where(gained > 0, bdtrc(np.maximum(gained - 1, 0), np.maximum(gained + gained.T, 1), 0.5), 1.0)
    single = np.array([len(each) == 1 for each in evidence.scores])
    return np.where(single[:, None] & single[None, :], by_sign, by_t)


def _gained(evidence: Evidence) -> NDArray[np.int64]:
    """Count the images that the first run of a trial predicts rightly and that of another does not."""
    right = np.array([each[0] for each in evidence.scores], dtype=np.int64)
    return right @ (1 - right).T


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
    p_values = p_better(evidence)
    better = np.zeros((len(params), len(params)), dtype=np.bool_)
    for reference in trials:
        others = [trial for trial in trials if trial != reference and params[trial] >= params[reference]]
        better[others, reference] = np.array(adjust_holm(p_values[others, reference].tolist())) < level
    return better
