"""How cost grows: this project on more images and on more trials. It must grow linearly or better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FACTORS = (1, 2, 4)
TOLERANCE = 0.05
"""Share by which a time may exceed what linear growth makes it: two runs of the same work differ by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePoint:
    """One size of the work.

    Attributes:
        factor: Times the smallest.
        seconds: Wall time of the sweep.
        peak_memory_mb: As in `processes.Usage`.
        growth: Seconds over as many times those of the smallest: 1 is linear, and less is better.
        trend: Seconds over those that a straight line through the two points before gives: what is paid once, which
            makes `growth` small, does not hide a rise in it. None for the first two points.
    """

    factor: int
    seconds: float
    peak_memory_mb: float
    growth: float
    trend: float | None

    @property
    def is_linear(self) -> bool:
        """Whether neither exceeds linear growth."""
        return max(self.growth, self.trend or 0.0) <= 1 + TOLERANCE


def measure_scale(run: Callable[[int], tuple[float, float]], factors: Sequence[int] = FACTORS) -> list[ScalePoint]:
    """Measure each factor.

    Args:
        run: Runs the work of a factor; gives seconds and peak memory (MiB).
        factors: Rising, from 1.
    """
    points: list[ScalePoint] = []
    for factor in factors:
        seconds, memory = run(factor)
        first = points[0].seconds if points else seconds
        points.append(
            ScalePoint(
                factor=factor,
                seconds=seconds,
                peak_memory_mb=memory,
                growth=seconds / (factor * first),
                trend=seconds / _extend(points[-2], points[-1], factor) if len(points) > 1 else None,
            )
        )
    return points


def _extend(one: ScalePoint, other: ScalePoint, factor: int) -> float:
    """Return the seconds of `factor` on the straight line through two points."""
    slope = (other.seconds - one.seconds) / (other.factor - one.factor)
    return other.seconds + slope * (factor - other.factor)


def learning_rates(lr: float, trials: int) -> list[float]:
    """List learning rates that make as many trials of each frozen set: equal work, different results."""
    return [lr * (1 + index / 10) for index in range(trials)]
