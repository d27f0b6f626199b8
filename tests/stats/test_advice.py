"""The trial to use, against what can be counted by hand."""

import numpy as np
import pytest

from orchestrator.stats.advice import advise, choose_expected, within_probabilities

VALUES = np.tile([[0.90, 0.89, 0.80], [0.90, 0.91, 0.80], [0.90, 0.86, 0.95], [0.90, 0.90, 0.70]], (1000, 1))
COSTS = [30.0, 20.0, 10.0]


def test_the_expected_trial_has_the_highest_mean():
    assert choose_expected(VALUES, COSTS) == 0  # 0.90, 0.89, 0.8125


def test_equal_means_go_to_the_lower_cost_then_to_the_earlier():
    assert choose_expected(np.full((2, 3), 0.5), [2.0, 1.0, 1.0]) == 1


def test_what_the_draws_cannot_tell_apart_goes_to_the_lower_cost():
    rng = np.random.default_rng(0)
    level, apart = rng.normal(0.9, 0.02, size=(4000, 1)), rng.normal(0, 0.02, size=(4000, 2))
    apart -= apart.mean(axis=0)  # a difference has a standard error of 0.028 / sqrt(4000), or 0.00045
    assert choose_expected(level + apart + [0.0004, 0.0], [2.0, 1.0]) == 1
    assert choose_expected(level + apart + [0.002, 0.0], [2.0, 1.0]) == 0


def test_what_is_no_candidate_is_not_chosen():
    values = np.column_stack([VALUES[:, 0], np.full(len(VALUES), -np.inf)])
    assert choose_expected(values, [2.0, 1.0]) == 0


def test_a_loss_is_against_the_best_of_each_draw():
    # lost by the first: 0, 0.01, 0.05, 0; by the second: 0.01, 0, 0.09, 0; by the third: 0.10, 0.11, 0, 0.20
    assert within_probabilities(VALUES, 0.0099).tolist() == [0.5, 0.5, 0.25]
    assert within_probabilities(VALUES, 0.011).tolist() == [0.75, 0.75, 0.25]


def test_the_cheapest_that_reaches_the_confidence_is_chosen():
    found = advise(VALUES, COSTS, margin=0.011, confidence=0.75)
    assert (found.chosen, found.expected, found.is_confident, found.probability) == (1, 0, True, 0.75)
    assert found.loss == pytest.approx(0.1 / 4)
    assert found.low <= found.loss <= found.high


def test_where_none_reaches_it_the_expected_trial_is_chosen():
    found = advise(VALUES, COSTS, margin=0.011, confidence=0.8)
    assert (found.chosen, found.is_confident, found.probability) == (0, False, 0.75)


def test_the_order_of_the_trials_changes_nothing():
    order = [2, 0, 1]
    moved = advise(VALUES[:, order], [COSTS[place] for place in order], margin=0.011, confidence=0.75)
    assert order[moved.chosen] == 1
    assert order[moved.expected] == 0
