"""Spearman's rank correlation, against scipy."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.correlation import rank_correlation


@pytest.mark.parametrize("n", [2, 5, 32])
@pytest.mark.parametrize("values", [3, 1000])
def test_it_is_scipys_with_ties_and_without(n, values):
    generator = np.random.default_rng(n + values)
    left = np.array([0.0, *generator.integers(0, values, n - 2), values])
    right = np.array([values, *generator.integers(0, values, n - 2), 0.0])
    assert rank_correlation(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)


def test_only_the_order_counts():
    left = np.array([1.0, 2.0, 3.0, 10.0])
    assert rank_correlation(left, np.exp(left)) == pytest.approx(1)
    assert rank_correlation(left, -(left**3)) == pytest.approx(-1)


def test_values_that_are_all_equal_have_none():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.full(3, 0.5)) is None
    assert rank_correlation(np.full(3, 0.5), np.array([1.0, 2.0, 3.0])) is None
