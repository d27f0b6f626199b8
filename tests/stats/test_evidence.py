"""Differences between trials and their standard errors, against scipy and sums written out."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.evidence import Evidence, moderate_variances, seed_variances
from tests.predicted import draw_correct


def compare(evidence: Evidence, trial: int, other: int) -> tuple[float, float, float]:
    """Difference, standard error and degrees of freedom."""
    errors, freedom = evidence.standard_errors()
    return evidence.differences[trial, other], errors[trial, other], freedom[trial, other]


def test_one_run_each_is_a_paired_t_test_over_images():
    one, two = (each.astype(float)[0] for each in draw_correct((0.9, 0.8), seeds=1))
    difference, error, freedom = compare(Evidence.of([one[None] > 0, two[None] > 0]), 0, 1)
    expected = stats.ttest_rel(one, two)
    assert difference == pytest.approx(one.mean() - two.mean())
    assert difference / error == pytest.approx(expected.statistic)
    assert freedom == pytest.approx(132)


def test_several_runs_by_sums_written_out():
    one, two = draw_correct((0.9, 0.7), seeds=3, images=40, of_seeds=0.6, seed=2)
    _, error, freedom = compare(Evidence.of([one, two]), 0, 1)
    of_images = [sum(one[:, i]) / 3 - sum(two[:, i]) / 3 for i in range(40)]
    middle = sum(of_images) / 40
    images = sum((each - middle) ** 2 for each in of_images) / 39 / 40
    total, squares = images, images**2 / 39
    for trial in (one.astype(float), two.astype(float)):
        mean = trial.mean()
        runs = 40 * sum((trial[r].mean() - mean) ** 2 for r in range(3)) / 2
        rest = sum(
            (trial[r, i] - trial[r].mean() - trial[:, i].mean() + mean) ** 2 for r in range(3) for i in range(40)
        ) / (2 * 39)
        assert runs > rest  # so that seeds count
        total += (runs - rest) / 120
        squares += (runs / 120) ** 2 / 2 + (rest / 120) ** 2 / 78
    assert error == pytest.approx(math.sqrt(total))
    assert freedom == pytest.approx(total**2 / squares)


def test_trials_that_predict_alike_are_not_known_to_be_equal():
    (one,) = draw_correct((0.9,), seeds=1)
    difference, error, _ = compare(Evidence.of([one, one]), 0, 1)
    assert difference == 0
    assert error == pytest.approx(math.sqrt(2) / 135)  # one image of 133 + 2 in either direction


def test_the_order_of_images_and_of_seeds_says_nothing():
    trials = draw_correct((0.9, 0.8, 0.85), seeds=3)
    order = np.random.default_rng(1).permutation(133)
    mixed = [each[::-1][:, order] for each in trials]
    assert compare(Evidence.of(mixed), 0, 2) == pytest.approx(compare(Evidence.of(trials), 0, 2))


def test_more_images_narrow_a_difference():
    def mean_error(images: int) -> float:
        drawn = (draw_correct((0.9, 0.85), seeds=3, images=images, seed=seed) for seed in range(30))
        return float(np.mean([compare(Evidence.of(trials), 0, 1)[1] for trials in drawn]))

    assert mean_error(532) < 0.8 * mean_error(133)


@pytest.mark.parametrize(
    "shapes", [[], [(0, 5)], [(1, 1)], [(1, 5), (1, 6)], [(5,)]], ids=["none", "no run", "one image", "unlike", "flat"]
)
def test_nonsense_is_refused(shapes):
    with pytest.raises(ValueError, match="needs"):
        Evidence.of([np.ones(shape, dtype=np.bool_) for shape in shapes])


def test_moderated_variances_recover_what_they_were_drawn_from():
    rng = np.random.default_rng(0)
    true = 10 * 2.0 / rng.chisquare(10, size=20_000)  # scaled inverse chi-square: 10 degrees of freedom about 2
    freedom = np.full(20_000, 4.0)
    drawn = true * rng.chisquare(4, size=20_000) / 4
    moderated, of_moderated = moderate_variances(drawn, freedom)
    assert of_moderated[0] - 4 == pytest.approx(10, rel=0.1)
    middle = (moderated[0] * of_moderated[0] - 4 * drawn[0]) / (of_moderated[0] - 4)
    assert middle == pytest.approx(2.0, rel=0.03)
    assert np.mean((moderated - true) ** 2) < 0.4 * np.mean((drawn - true) ** 2)


def test_variances_that_differ_by_chance_alone_become_their_mean():
    variances, freedom = np.array([1.0, 1.1, 0.9, 1.05]), np.array([2.0, 2.0, 2.0, 6.0])
    moderated, of_moderated = moderate_variances(variances, freedom)
    assert moderated == pytest.approx([(2 * 1.0 + 2 * 1.1 + 2 * 0.9 + 6 * 1.05) / 12] * 4)
    assert np.isinf(of_moderated).all()


def test_seeds_are_moderated_on_the_scale_that_is_asked_for():
    """On the arcsine scale the accurate vary no more than others; in accuracy they vary less, and the others decide."""
    truth = np.array([0.9] * 15 + [0.97])
    slope_square = 1 / (4 * truth * (1 - truth))
    density = stats.norm.pdf(stats.norm.ppf(truth[-1]) * math.sqrt(1 + 0.1**2))
    expected = (0.1 * density) ** 2 * slope_square[-1] / 3  # of three seeds that vary a probit score by 0.1
    there, in_accuracy = [], []
    for seed in range(20):
        correct = draw_correct(truth, seeds=3, images=1000, seed=seed)
        there.append(seed_variances(correct, slope_square)[0][-1])
        in_accuracy.append(seed_variances(correct)[0][-1] * slope_square[-1])
    assert np.mean(there) < 2 * expected
    assert np.mean(in_accuracy) > 2.5 * expected


def test_two_variances_stay_as_they_are():
    variances, freedom = np.array([1.0, 5.0]), np.array([2.0, 2.0])
    assert moderate_variances(variances, freedom) == (variances, freedom)
