"""Intervals against scipy, against sums written out, and against many drawn experiments."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.uncertainty import accuracy_interval, variance_of_mean, wilson_interval


@pytest.mark.parametrize(("successes", "total"), [(124, 128), (0, 10), (10, 10), (1, 1), (67, 133), (9_999, 10_000)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_wilsons_interval_is_scipys(successes, total, confidence):
    expected = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilsons_interval_ends_at_none_and_all():
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1


@pytest.mark.parametrize(("successes", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_wilsons_interval_of_nonsense(successes, total):
    with pytest.raises(ValueError, match=f"not {successes} of {total}"):
        wilson_interval(successes, total)


def draw(shape, accuracy, *, of_seeds, experiments=1, seed=0):
    """Draw experiments: images differ in difficulty, seeds in skill; give the right answers and the true accuracy."""
    rng = np.random.default_rng(seed)
    runs, images = shape
    difficulty = rng.normal(size=(experiments, 1, images)) * math.sqrt(0.7)
    chance = rng.normal(size=(experiments, runs, images)) * math.sqrt(0.3)
    skill = rng.normal(size=(experiments, runs, 1)) * of_seeds
    threshold = stats.norm.ppf(accuracy) * math.sqrt(1 + of_seeds**2)
    return difficulty + chance + skill < threshold


def test_a_single_run_has_wilsons_interval():
    correct = draw((1, 133), 0.9, of_seeds=0.0)[0]
    assert accuracy_interval(correct) == wilson_interval(int(correct.sum()), 133)


def test_several_runs_by_sums_written_out():
    correct = draw((3, 20), 0.7, of_seeds=0.5, seed=4)[0]
    runs, images = 3, 20
    mean = sum(bool(correct[r, i]) for r in range(runs) for i in range(images)) / 60
    run_means = [sum(map(bool, correct[r])) / images for r in range(runs)]
    image_means = [sum(bool(correct[r, i]) for r in range(runs)) / runs for i in range(images)]
    ms_runs = sum(images * (each - mean) ** 2 for each in run_means) / 2
    ms_images = sum(runs * (each - mean) ** 2 for each in image_means) / 19
    ms_rest = (
        sum((correct[r, i] - run_means[r] - image_means[i] + mean) ** 2 for r in range(runs) for i in range(images))
        / 38
    )
    assert ms_runs > ms_rest  # so that seeds count
    total = ms_runs - ms_rest + ms_images
    freedom = total**2 / (ms_runs**2 / 2 + ms_rest**2 / 38 + ms_images**2 / 19)
    t, n = stats.t.ppf(0.975, freedom), mean * (1 - mean) / (total / 60)
    # the ends are where the share is t standard errors of a binomial share of n away
    for end in accuracy_interval(correct):
        assert (mean - end) ** 2 == pytest.approx(t**2 * end * (1 - end) / n)


def test_the_variance_of_a_single_run_is_the_one_over_images():
    values = np.random.default_rng(0).normal(size=(1, 30))
    assert variance_of_mean(values) == pytest.approx((stats.sem(values[0]) ** 2, 29))


def test_the_order_of_runs_and_images_does_not_matter():
    correct = draw((4, 50), 0.8, of_seeds=0.3)[0]
    rng = np.random.default_rng(1)
    shuffled = correct[rng.permutation(4)][:, rng.permutation(50)]
    assert accuracy_interval(shuffled) == pytest.approx(accuracy_interval(correct))


def test_seeds_that_differ_widen_the_interval():
    alike = np.tile(np.arange(100) < 90, (3, 1))
    apart = np.stack([np.arange(100) < right for right in (84, 90, 96)])
    low, high = accuracy_interval(alike)
    wider_low, wider_high = accuracy_interval(apart)
    assert wider_low < low < 0.9 < high < wider_high


def test_runs_that_agree_say_little_more_than_one():
    once = np.arange(133) < 120
    low, high = wilson_interval(120, 133)
    assert accuracy_interval(np.tile(once, (5, 1))) == pytest.approx((low, high), abs=0.002)


def test_what_is_always_right_is_right_up_to_one():
    low, high = accuracy_interval(np.ones((3, 133), dtype=bool))
    assert high == 1.0
    assert low == pytest.approx(wilson_interval(133, 133)[0], abs=0.002)
    assert accuracy_interval(np.zeros((3, 133), dtype=bool))[0] == 0.0


@pytest.mark.parametrize(("runs", "images"), [(3, 1), (2, 2)])
def test_the_smallest_validation_sets_have_one_too(runs, images):
    low, high = accuracy_interval(np.ones((runs, images), dtype=bool))
    assert 0 <= low < high == 1.0


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (7,)])
def test_nothing_has_no_interval(shape):
    with pytest.raises(ValueError, match="at least one run and one image"):
        accuracy_interval(np.ones(shape, dtype=bool))


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("accuracy", [0.8, 0.97])
@pytest.mark.parametrize("of_seeds", [0.0, 0.1])
def test_it_holds_the_accuracy_about_as_often_as_it_says(runs, accuracy, of_seeds):
    drawn = draw((runs, 133), accuracy, of_seeds=of_seeds, experiments=1000, seed=runs)
    ends = [accuracy_interval(correct) for correct in drawn]
    held = float(np.mean([low <= accuracy <= high for low, high in ends]))
    # 1000 experiments: two standard errors are 0.014
    assert 0.925 <= held <= 0.98
