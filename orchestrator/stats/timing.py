"""Differences of durations, stated no more than their spread supports.

How long a run takes depends on what else the machine does, which is often more than what freezing a block changes. So
only runs are compared that trained in one piece, on the same device, beside about as many others; and a difference is
stated only where there are several of it, with the interval that they give.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALIKE = 0.1
"""Runs had the machine alike where the mean numbers of runs under way differ by at most this share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a run took, and under which conditions.

    Attributes:
        seconds: Of the whole run.
        at_once: Runs under way while it trained, itself among them, on average; at least 1.
        machine: Device and whatever else must be equal.
    """

    seconds: float
    at_once: float
    machine: Hashable = None

    def is_like(self, other: "Timing") -> bool:
        """Returns whether both ran under the same conditions."""
        most = max(self.at_once, other.at_once)
        return self.machine == other.machine and abs(self.at_once - other.at_once) <= ALIKE * most


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEffect:
    """A difference of durations.

    Attributes:
        mean: Seconds.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n_pairs: Pairs of trials it rests on: where there is one, the interval is over seeds, else over pairs.
    """

    mean: float
    low: float
    high: float
    n_pairs: int

    @property
    def is_told_from_zero(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def estimate_time(pairs: Sequence[tuple[Mapping[int, Timing], Mapping[int, Timing]]]) -> TimeEffect | None:
    """Estimate how much longer the first trial of a pair takes than the second: the t-interval of the mean.

    Where at least two pairs have runs that compare, a pair counts once, with the mean over its seeds: what slowed the
    machine during one trial slowed all its seeds. Else the seeds of the only pair count.

    Args:
        pairs: Timings of each trial by seed; those of equal seeds are compared.

    Returns:
        None: fewer than two differences can be had.
    """
    differences = [[one.seconds - other.seconds for one, other in _find_like(*pair)] for pair in pairs]
    known = [each for each in differences if each]
    values = [fmean(each) for each in known] if len(known) > 1 else [value for each in known for value in each]
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    mean = fmean(values)
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return TimeEffect(mean=mean, low=mean - half, high=mean + half, n_pairs=len(known))


def _find_like(ones: Mapping[int, Timing], others: Mapping[int, Timing]) -> list[tuple[Timing, Timing]]:
    both = [(ones[seed], others[seed]) for seed in sorted(set(ones) & set(others))]
    return [(one, other) for one, other in both if one.is_like(other)]
