"""Posterior draws against sums written out; probabilities of the front against the front of each draw."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.evidence import Evidence
from orchestrator.stats.pareto import pareto_front
from orchestrator.stats.posterior import Posterior, draw_accuracies, front_probabilities
from tests.predicted import draw_correct


def test_two_trials_by_sums_written_out():
    correct = draw_correct((0.95, 0.8), seeds=1, images=133)
    evidence = Evidence.of(correct)
    shares = [(each.sum() + 3 / 8) / (133 + 3 / 4) for each in correct]
    measured = np.arcsin(np.sqrt(shares))
    covariance = np.cov(np.array([each[0] for each in correct]).astype(float)) / 133
    variance = np.trace(covariance) / sum(4 * share * (1 - share) for share in shares)
    noise = 2 * variance * (1 - covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    # no block tells them apart: both deviate, or neither, and one of them stands out besides, or none
    own = np.array([0.0, *(2 * np.geomspace(0.005, 0.64, 8) ** 2)])[:, None]
    apart = np.array([0.0, 0.1**2, 0.3**2])
    prior = np.array([0.5, *[0.5 / 8] * 8])[:, None] * np.array([0.3, 0.35, 0.35])
    gap = measured[0] - measured[1]
    weights = prior * stats.norm.pdf(gap, scale=np.sqrt(own + apart + noise))
    # three quarters of what both deviate is luck of their one seed, a quarter of what one of them does
    expected = gap * float((weights * (own / 4 + apart * 3 / 4) / (own + apart + noise)).sum()) / weights.sum()
    drawn = np.arcsin(np.sqrt(Posterior(evidence, [(), ()]).draw(40_000)))
    assert (drawn[:, 0] - drawn[:, 1]).mean() == pytest.approx(expected, abs=0.002)


def test_blocks_that_add_up_are_believed_more_than_single_trials():
    frozen = [(), ("a",), ("b",), ("a", "b"), ("c",), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    truth = np.array([0.95 - 0.12 * ("b" in each) for each in frozen])
    errors, raw_errors = [], []
    for seed in range(20):
        correct = draw_correct(truth, seeds=1, seed=seed)
        errors.append(draw_accuracies(correct, frozen, draws=500).mean(axis=0) - truth)
        raw_errors.append(Evidence.of(correct).means - truth)
    apart = np.std(errors, axis=1).mean() / np.std(raw_errors, axis=1).mean()
    assert apart < 0.85


def test_choosing_the_best_of_equals_does_not_inflate_what_is_expected_of_it():
    raw, corrected = [], []
    for seed in range(40):
        correct = draw_correct((0.9,) * 12, seeds=1, seed=seed)
        measured = Evidence.of(correct).means
        best = int(measured.argmax())
        level = measured.mean()  # what images shift for all alike is no matter of choosing
        raw.append(measured[best] - level)
        corrected.append(draw_accuracies(correct, [()] * 12, draws=300).mean(axis=0)[best] - level)
    assert np.mean(raw) > 0.015
    assert abs(np.mean(corrected)) < 0.4 * np.mean(raw)


def test_draws_are_repeatable_and_lie_in_the_unit_interval():
    correct = [np.ones((2, 20), dtype=np.bool_), *draw_correct((0.9, 0.1), seeds=2, images=20)]
    one, two = (draw_accuracies(correct, [(), ("a",), ("b",)], draws=200, seed=3) for _ in range(2))
    assert one.shape == (200, 3)
    assert np.array_equal(one, two)
    assert one.min() >= 0
    assert one.max() <= 1


def test_a_block_that_trains_in_part_is_a_level_of_its_own():
    """It shares no effect with the frozen block: any other name would do as well."""
    correct = draw_correct((0.95, 0.9, 0.8, 0.7), seeds=1)
    tuned = [(), ("a",), ("a:norm",), ("a:norm", "b")]
    renamed = [(), ("a",), ("c",), ("c", "b")]
    shared = [(), ("a",), ("a",), ("a", "b")]
    found, same, other = (
        draw_accuracies(correct, frozen, draws=2000).mean(axis=0) for frozen in (tuned, renamed, shared)
    )
    np.testing.assert_allclose(found, same, atol=1e-9)
    assert np.abs(found - other).max() > 0.01


def test_the_order_of_trials_says_nothing():
    correct = draw_correct((0.95, 0.9, 0.85, 0.6), seeds=3)
    frozen = [(), ("a",), ("b",), ("a", "b")]
    params = [4.0, 3.0, 2.0, 1.0]
    order = [2, 0, 3, 1]
    chances = front_probabilities(draw_accuracies(correct, frozen), params)
    mixed = draw_accuracies([correct[i] for i in order], [frozen[i] for i in order])
    assert front_probabilities(mixed, [params[i] for i in order]) == pytest.approx(chances[order], abs=1e-9)


def test_front_probabilities_are_shares_of_fronts():
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 4, size=(300, 6)) / 4  # with ties
    params = [5.0, 1.0, 3.0, 3.0, 2.0, 5.0]
    counts = np.zeros(6)
    for accuracies in drawn:
        for place in pareto_front(range(6), gain=accuracies.__getitem__, cost=params.__getitem__):
            counts[place] += 1
    assert front_probabilities(drawn, params) == pytest.approx(counts / 300)


def test_one_trial_that_stands_out_far_enough_is_believed():
    truth = np.array([0.8] * 15 + [0.95])
    expected = np.mean(
        [draw_accuracies(draw_correct(truth, seeds=5, seed=s), [()] * 16)[:, -1].mean() for s in range(8)]
    )
    assert expected == pytest.approx(0.95, abs=0.02)
