"""Pure functions on the two objectives: front, knee, hypervolume; and the interval of an accuracy."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto_front(items: Iterable[T], *, gain: Callable[[T], float], cost: Callable[[T], float]) -> list[T]:
    """Keep the items that no other item beats on both axes, by rising cost.

    Equal points are all kept, in the order given; an item with NaN or an infinity on either axis never is.
    O(n log n).
    """
    points = [(cost(item), gain(item), item) for item in items]
    points = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    points.sort(key=lambda point: (point[0], -point[1]))
    front: list[tuple[float, float, T]] = []
    for point in points:
        if not front or point[1] > front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [item for _, _, item in front]


def knee(
    front: Iterable[T], *, gain: Callable[[T], float], cost: Callable[[T], float], log_cost: bool = True
) -> T | None:
    """Find where a front bends: beyond it, more cost buys little gain; short of it, little cost saved loses much.

    Both axes are scaled to [0, 1] between the ends of the front, cost on a logarithmic axis unless `log_cost` is
    off. The knee lies farthest above the chord between the ends. Ties (to 12 digits): the lower cost. So the cheap
    end is the knee of a front of two points, or of one that sags below its chord throughout.

    Items that others beat are left out first. None for an empty front.

    Raises:
        ValueError: A cost is not positive and `log_cost` is on.

    Source: V. Satopää et al., "Finding a 'Kneedle' in a Haystack", ICDCS Workshops 2011, for discrete points
    without smoothing.
    """
    kept = pareto_front(front, gain=gain, cost=cost)
    if not kept:
        return None
    low, high = kept[0], kept[-1]
    cost_at = (lambda item: _log10(cost(item))) if log_cost else cost
    width, height = cost_at(high) - cost_at(low), gain(high) - gain(low)
    if width == 0 or height == 0:  # one point, once or several times
        return low

    def above_chord(item: T) -> float:
        return round((gain(item) - gain(low)) / height - (cost_at(item) - cost_at(low)) / width, 12)

    return max(kept, key=above_chord)  # the first of equals, and they lie by rising cost


def hypervolume(points: Iterable[Sequence[float]], *, reference: tuple[float, float]) -> float:
    """Measure the area that the front of `points` dominates, up to the reference. Higher is better.

    The unit is gain times decades of cost: cost counts as log10, so that halving a small cost counts as much as
    halving a large one.

    Args:
        points: Pairs (gain, cost), cost positive. Those not better than the reference on both axes add nothing, nor
            do those with NaN or an infinity.
        reference: The pair (lowest gain, highest cost) that every point should beat.

    Raises:
        ValueError: A cost is not positive.
    """
    lowest, highest = reference
    front = pareto_front(points, gain=lambda point: point[0], cost=lambda point: point[1])
    area, below = 0.0, lowest
    for gain, cost in front:
        if gain > below and cost < highest:
            area += (gain - below) * (_log10(highest) - _log10(cost))
            below = gain
    return area


def _log10(cost: float) -> float:
    if cost <= 0:
        raise ValueError(f"a logarithmic axis needs costs greater than 0, not {cost:g}")
    return math.log10(cost)
