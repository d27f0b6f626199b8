"""The supported front against a search of all sets, and the rule of one standard error."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.stats.selection import find_supported_front


def search_all(better, params, accuracy):
    """The definition: the smallest set that stands for all, of equal sizes the one of the highest accuracies."""
    trials = range(len(params))

    def stands(members):
        return all(
            trial in members or any(params[m] <= params[trial] and not better[trial][m] for m in members)
            for trial in trials
        )

    for size in range(1, len(params) + 1):
        found = [members for members in combinations(trials, size) if stands(members)]
        if found:
            return size, max(sum(accuracy[m] for m in members) for members in found)
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10_000))
def test_it_is_the_smallest_set_that_stands_for_all(count, seed):
    rng = np.random.default_rng(seed)
    better = rng.random((count, count)) < 0.4
    params = rng.integers(1, 5, size=count).astype(float).tolist()
    accuracy = (rng.integers(50, 100, size=count) / 100).tolist()
    members = find_supported_front(better, params, accuracy)
    size, accuracies = search_all(better, params, accuracy)
    assert len(members) == size
    assert sum(accuracy[m] for m in members) == pytest.approx(accuracies)
    assert [params[m] for m in members] == sorted(params[m] for m in members)
    assert min(params) in [params[m] for m in members]


def test_equals_leave_the_cheapest():
    assert find_supported_front(np.zeros((4, 4), dtype=np.bool_), [4.0, 1.0, 3.0, 2.0], [0.9, 0.8, 0.9, 0.9]) == [1]


def test_equal_in_every_respect_is_the_earlier():
    assert find_supported_front(np.zeros((3, 3), dtype=np.bool_), [1.0, 1.0, 1.0], [0.9, 0.9, 0.9]) == [0]
    assert find_supported_front(np.zeros((0, 0), dtype=np.bool_), [], []) == []
