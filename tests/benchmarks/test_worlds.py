"""Worlds: what is drawn has the accuracy and the noise that are said, and the oracle weighs truths by them."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.worlds import PARAMS, SETS, WORLDS, Oracle, excess_orthant, noise_covariance
from tests.factories import count_trainable

NAMES = {"+".join(each.blocks) or "none": place for place, each in enumerate(SETS)}


def test_parameters_are_those_of_the_network():
    assert [count_trainable(each.key) for each in SETS] == PARAMS


def test_worlds_hold_the_truths_that_they_are_named_for():
    """How many: 5! orders of costs, 32 winners, 4 places of 3 drops, 10 pairs of which one gains and another loses."""
    assert [len(each.truths) for each in WORLDS.values()] == [1, 120, 32, 12, 90, 120]
    everything, nothing = NAMES["stem+layer1+layer2+layer3+layer4"], NAMES["none"]
    smooth = WORLDS["smooth trade-off"].truths
    assert smooth[:, nothing] == pytest.approx(0.95)
    assert smooth[:, everything] == pytest.approx(0.95 - 0.055)
    surprise = WORLDS["one surprising winner"].truths
    assert ((surprise > 0.949).sum(axis=1) == 1).all()
    cliff = WORLDS["plateau with a cliff"].truths
    third = cliff[:, NAMES["stem+layer1+layer2"]] > 0.939
    assert (third & (cliff[:, NAMES["stem+layer1+layer2+layer3"]] < 0.939)).any()
    pair = WORLDS["pairs that interact"].truths
    together = pair[:, NAMES["stem+layer4"]] - pair[:, NAMES["stem"]] - pair[:, NAMES["layer4"]] + pair[:, nothing]
    assert sorted({round(float(each), 9) for each in together}) == [-0.03, 0.0, 0.03]


@pytest.mark.parametrize("world", ["smooth trade-off", "unequal classes"])
@pytest.mark.parametrize("of_seeds", [0.0, 0.3])
def test_drawn_accuracies_are_the_true_ones(world, of_seeds):
    truth = WORLDS[world].truths[0]
    correct, of_runs = WORLDS[world].draw_sweep(truth, 40, 500, of_seeds, np.random.default_rng(0))
    assert correct.mean() == pytest.approx(truth.mean(), abs=0.03)
    assert of_runs.mean(axis=1) == pytest.approx(truth, abs=4 * (0.01 + 0.25 * of_seeds) / 40**0.5)
    assert (of_runs.std(axis=1).max() > 1e-9) == (of_seeds > 0)


@pytest.mark.parametrize("world", ["one surprising winner", "unequal classes"])
def test_the_noise_is_that_of_what_is_drawn(world):
    truth = WORLDS[world].truths[3]
    rng = np.random.default_rng(1)
    drawn = [WORLDS[world].draw_sweep(truth, 3, 20, 0.3, rng)[0].mean(axis=(1, 2)) for _ in range(800)]
    covariance = noise_covariance(WORLDS[world], truth, 3, 20, 0.3)
    apart = ~np.eye(len(truth), dtype=bool)
    sample = np.cov(np.array(drawn).T)
    assert np.diag(sample).mean() == pytest.approx(np.diag(covariance).mean(), rel=0.08)
    assert sample[apart].mean() == pytest.approx(covariance[apart].mean(), rel=0.2)  # 2 / 800 is (5 %)^2


def test_two_normal_scores_by_scipy():
    both = stats.multivariate_normal(cov=[[1, 0.6], [0.6, 1]]).cdf([0.4, 1.3])
    apart = stats.norm.cdf(0.4) * stats.norm.cdf(1.3)
    assert excess_orthant(np.array([0.4]), np.array([1.3]), 0.6) == pytest.approx(both - apart, abs=1e-7)


def test_the_oracle_weighs_truths_by_their_likelihood():
    world = WORLDS["one surprising winner"]
    correct, _ = world.draw_sweep(world.truths[7], 3, 133, 0.1, np.random.default_rng(2))
    measured = correct.mean(axis=(1, 2))
    stable = np.arcsin(np.sqrt((measured * 133 + 3 / 8) / (133 + 3 / 4)))
    densities = []
    for truth in world.truths:
        slopes = np.diag(1 / np.sqrt(4 * truth * (1 - truth)))
        noise = slopes @ noise_covariance(world, truth, 3, 133, 0.1) @ slopes
        densities.append(stats.multivariate_normal(np.arcsin(np.sqrt(truth)), noise).pdf(stable))
    oracle = Oracle(world, 3, 133, 0.1)
    assert oracle.weigh(measured) == pytest.approx(np.array(densities) / math.fsum(densities))
    assert oracle.draw(measured).mean(axis=0) == pytest.approx(oracle.weigh(measured) @ world.truths, abs=1e-3)


def test_the_oracle_is_right_on_average():
    world = WORLDS["pairs that interact"]
    oracle, rng = Oracle(world, 1, 50, 0.1), np.random.default_rng(3)
    expected, found = [], []
    for _ in range(300):
        truth = world.truths[rng.integers(len(world.truths))]
        correct, _ = world.draw_sweep(truth, 1, 50, 0.1, rng)
        known = oracle.draw(correct.mean(axis=(1, 2))).mean(axis=0)
        expected.append(known.max())
        found.append(truth[known.argmax()])
    assert np.mean(expected) == pytest.approx(np.mean(found), abs=4 * np.std(found) / math.sqrt(300))
