"""How cost grows: this project on more images and on more trials. It must grow linearly or better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FACTORS = (1, 2, 4)
TOLERANCE = 0.05
"""Share by which a time may exceed linear growth: two runs of the same work differ by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePoint:
    """One size of the work.

    Attributes:
        factor: Times the smallest.
        seconds: Wall time of the sweep.
        peak_memory_mb: As in `processes.Usage`.
        growth: Seconds over those of linear growth from the smallest, start-up included: 1 is linear, less is better.
        marginal: Seconds that each further unit took since the point before, over those of the unit before: what is
            paid once does not hide in it. None for the first two points.
    """

    factor: int
    seconds: float
    peak_memory_mb: float
    growth: float
    marginal: float | None

    @property
    def is_linear(self) -> bool:
        """Whether neither exceeds linear growth."""
        return max(self.growth, self.marginal or 0.0) <= 1 + TOLERANCE


def measure_scale(run: Callable[[int], tuple[float, float]], factors: Sequence[int] = FACTORS) -> list[ScalePoint]:
    """Measure each factor.

    Args:
        run: Runs the work of a factor; gives seconds and peak memory (MiB).
        factors: Rising, from 1.
    """
    points: list[ScalePoint] = []
    slopes: list[float] = []
    for factor in factors:
        seconds, memory = run(factor)
        if points:
            slopes.append((seconds - points[-1].seconds) / (factor - points[-1].factor))
        first = points[0].seconds if points else seconds
        points.append(
            ScalePoint(
                factor=factor,
                seconds=seconds,
                peak_memory_mb=memory,
                growth=seconds / (factor * first),
                marginal=slopes[-1] / slopes[-2] if len(slopes) > 1 else None,
            )
        )
    return points


def learning_rates(lr: float, trials: int) -> list[float]:
    """List learning rates that make as many trials of each frozen set: equal work, different results."""
    return [lr * (1 + index / 10) for index in range(trials)]
