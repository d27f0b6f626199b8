"""Fronts against the definition, areas against counted cells, knees and intervals by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.pareto import hypervolume, knee, pareto_front

Point = tuple[float, float]  # gain, cost


def gain(point: Point) -> float:
    return point[0]


def cost(point: Point) -> float:
    return point[1]


def naive_front(points: list[Point]) -> list[Point]:
    """The definition, O(n^2): nobody is at least as good on both axes and better on one."""
    finite = [point for point in points if all(map(math.isfinite, point))]
    return [(g, c) for g, c in finite if not any(og >= g and oc <= c and (og > g or oc < c) for og, oc in finite)]


# few distinct values, so that ties are common; and what must never be on a front
coordinates = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, math.nan, math.inf, -math.inf]) | st.floats()


@given(st.lists(st.tuples(coordinates, coordinates), max_size=25))
def test_front_is_as_defined(points):
    front = pareto_front(points, gain=gain, cost=cost)
    assert sorted(front) == sorted(naive_front(points))
    assert [cost(point) for point in front] == sorted(cost(point) for point in front)


def test_equal_points_are_all_kept_in_the_order_given():
    items = [("a", 1.0, 5.0), ("b", 2.0, 5.0), ("c", 2.0, 5.0), ("d", 2.0, 6.0), ("e", 0.5, 1.0)]
    front = pareto_front(items, gain=lambda item: item[1], cost=lambda item: item[2])
    assert [item[0] for item in front] == ["e", "b", "c"]  # a: b costs the same; d: b gains the same


def test_knee_by_hand():
    # log10 of the costs: 1, 2, 3, 5, so x = 0, 1/4, 1/2, 1; y = 0, 0.6, 0.8, 1; y - x = 0, 0.35, 0.3, 0
    front = [(0.0, 1e1), (0.6, 1e2), (0.8, 1e3), (1.0, 1e5)]
    assert knee(front, gain=gain, cost=cost) == (0.6, 1e2)
    # linear: x = 0, 0.0009, 0.0099, 1; y - x = 0, 0.599, 0.790, 0
    assert knee(front, gain=gain, cost=cost, log_cost=False) == (0.8, 1e3)
    assert knee([*reversed(front), (0.1, 1e4)], gain=gain, cost=cost) == (0.6, 1e2)  # any order; others left out


def test_knee_of_equal_distances_is_the_cheaper():
    # x = 0, 1/3, 2/3, 1; y = 0, 1/2, 5/6, 1: y - x = 0, 1/6, 1/6, 0
    front = [(0.0, 1e0), (3.0, 1e1), (5.0, 1e2), (6.0, 1e3)]
    assert knee(front, gain=gain, cost=cost) == (3.0, 1e1)


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([], None),
        ([(0.5, 7.0)], (0.5, 7.0)),
        ([(0.5, 7.0), (0.5, 7.0)], (0.5, 7.0)),
        ([(0.5, 7.0), (0.9, 8.0)], (0.5, 7.0)),
        ([(0.0, 1e1), (0.1, 1e2), (1.0, 1e3)], (0.0, 1e1)),  # it sags: x = 0.5, y = 0.1
    ],
    ids=["empty", "one", "twice", "two", "sagging"],
)
def test_knee_without_a_bend_is_the_cheap_end(front, expected):
    assert knee(front, gain=gain, cost=cost) == expected


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e8)), min_size=1, max_size=12))
def test_knee_is_on_the_front(points):
    assert knee(points, gain=gain, cost=cost) in pareto_front(points, gain=gain, cost=cost)


def test_hypervolume_by_hand():
    # to the reference (0.5, 1e5): 1e2 to 1e5 is 3 decades of 0.2, then 1e4 to 1e5 is 1 decade of another 0.3
    points = [(0.7, 1e2), (1.0, 1e4), (0.6, 1e3), (0.4, 1e1), (0.9, 1e6)]  # the last three add nothing
    assert hypervolume(points, reference=(0.5, 1e5)) == pytest.approx(3 * 0.2 + 1 * 0.3)
    assert hypervolume([], reference=(0.0, 10.0)) == 0


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=15))
def test_hypervolume_is_a_count_of_cells(steps):
    """On a grid of tenths of gain and tenths of a decade, the area is the number of dominated cells."""
    points = [(g / 10, 10 ** (c / 10)) for g, c in steps]
    cells = sum(any(g > row and c <= column for g, c in steps) for row in range(12) for column in range(10))
    assert hypervolume(points, reference=(0.0, 10.0)) == pytest.approx(cells / 100)


@pytest.mark.parametrize("bad", [0.0, -3.0])
def test_costs_on_a_logarithmic_axis_are_positive(bad):
    with pytest.raises(ValueError, match=f"greater than 0, not {bad:g}"):
        knee([(0.1, bad), (0.9, 5.0)], gain=gain, cost=cost)
    with pytest.raises(ValueError, match="greater than 0"):
        hypervolume([(0.1, bad)], reference=(0.0, 10.0))
