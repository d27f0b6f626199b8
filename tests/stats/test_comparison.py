"""Paired comparisons against scipy, Holm's correction against its definition."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.comparison import adjust_holm, compare, find_better, p_better
from orchestrator.stats.evidence import Evidence
from tests.predicted import draw_correct


def make_pair(both: int, gained: int, lost: int, neither: int) -> Evidence:
    """Two trials of one run: images that both, only the first, only the second, and none of them predict rightly."""
    one = [True] * (both + gained) + [False] * (lost + neither)
    two = [True] * both + [False] * gained + [True] * lost + [False] * neither
    return Evidence.of([np.array([one]), np.array([two])])


@pytest.mark.parametrize(("gained", "lost"), [(8, 2), (2, 8), (5, 5), (0, 0), (6, 0), (0, 6)])
def test_one_run_each_is_mcnemars_exact_test(gained, lost):
    evidence = make_pair(100, gained, lost, 20)
    expected = stats.binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue if gained + lost else 1.0
    assert p_better(evidence)[0, 1] == pytest.approx(expected)
    two_sided = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert compare(evidence, 0, 1).p_value == pytest.approx(two_sided)


def test_the_interval_of_one_run_each_is_that_of_bonett_and_price():
    found = compare(make_pair(100, 8, 2, 23), 0, 1)  # of 133 images
    p12, p21 = 9 / 135, 3 / 135
    half = 1.959964 * ((p12 + p21 - (p12 - p21) ** 2) / 135) ** 0.5
    assert found.difference == pytest.approx(6 / 133)
    assert (found.low, found.high) == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=1e-6)
    assert not found.is_told_apart


def test_several_runs_are_a_t_test():
    evidence = Evidence.of(draw_correct((0.9, 0.8), seeds=3))
    errors, freedoms = evidence.standard_errors()
    difference, error, freedom = evidence.differences[0, 1], errors[0, 1], freedoms[0, 1]
    found = compare(evidence, 0, 1)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, freedom, difference, error))
    back = compare(evidence, 1, 0)
    assert (back.difference, back.low, back.high) == pytest.approx((-difference, -found.high, -found.low))


def test_holm_is_the_closed_test_of_bonferroni():
    p_values = [0.03, 0.001, 0.2, 0.012, 0.03]
    for index, adjusted in enumerate(adjust_holm(p_values)):
        families = [set(f) for size in range(1, 6) for f in combinations(range(5), size) if index in f]
        expected = max(min(1.0, len(family) * min(p_values[i] for i in family)) for family in families)
        assert adjusted == pytest.approx(expected)
    assert adjust_holm([]) == []


def test_better_is_asked_against_as_few_or_fewer_parameters_alone():
    evidence = Evidence.of(draw_correct((0.5, 0.95, 0.9, 0.94), seeds=1, images=400))
    params = [1.0, 20.0, 300.0, 300.0]
    better = find_better(evidence, params)
    against_first = adjust_holm(p_better(evidence)[1:, 0].tolist())
    assert better[1:, 0].tolist() == [p_value < 0.05 for p_value in against_first] == [True] * 3
    assert not better[0].any()  # the cheapest has nothing cheaper to beat
    assert not better.diagonal().any()


def test_equals_are_seldom_called_better():
    params = [float(place) for place in range(8)]
    alarms = [
        find_better(Evidence.of(draw_correct((0.9,) * 8, seeds=3, seed=seed)), params)[:, 0].any()
        for seed in range(150)
    ]
    assert np.mean(alarms) <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
