"""Scales against numerical slopes, and intervals and posteriors of losses against what they were drawn from."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.comparison import compare, p_better
from orchestrator.stats.evidence import Evidence
from orchestrator.stats.posterior import Posterior
from orchestrator.stats.scales import ARCSINE, LOGARITHM, Scale
from orchestrator.stats.uncertainty import mean_interval

IMAGES = 133


def draw_losses(means, *, seeds: int, rng: np.random.Generator, of_seeds: float = 0.1) -> list[np.ndarray]:
    """Log-likelihoods of images with these true mean losses: for each trial [seeds, images]. Images differ alike."""
    hardness = rng.gamma(1.0, 1.0, size=IMAGES)
    skills = [np.exp(rng.normal(-(of_seeds**2) / 2, of_seeds, size=(seeds, 1))) for _ in means]
    own = [rng.gamma(4.0, 0.25, size=(seeds, IMAGES)) for _ in means]
    return [-mean * skill * hardness * each for mean, skill, each in zip(means, skills, own, strict=True)]


@pytest.mark.parametrize(("scale", "means"), [(ARCSINE, (0.2, 0.5, 0.93)), (LOGARITHM, (-3.0, -0.4, -0.01))])
def test_a_scale_leads_back_and_has_its_slope(scale: Scale, means):
    means = np.array(means)
    assert scale.back(scale.forward(means)) == pytest.approx(means)
    step = 1e-6 * np.abs(means)
    slopes = (scale.forward(means + step) - scale.forward(means - step)) / (2 * step)
    assert scale.slope_square(means) == pytest.approx(slopes**2, rel=1e-4)


def test_means_at_an_end_have_a_finite_place():
    for scale, ends in ((ARCSINE, [0.0, 1.0]), (LOGARITHM, [0.0])):
        shrunk = scale.shrink(np.array(ends), 100)
        assert np.isfinite(scale.forward(shrunk)).all()
        assert np.isfinite(scale.slope_square(shrunk)).all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_a_loss_holds_it(seeds):
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        scores = draw_losses([0.3], seeds=seeds, rng=rng, of_seeds=0.0 if seeds == 1 else 0.1)[0]
        low, high = mean_interval(scores, LOGARITHM)
        assert low < scores.mean() < high < 0
        held += low <= -0.3 <= high
    assert held / 300 > 0.91  # 95 % less three standard errors of 300 draws


def test_the_interval_of_a_share_stays_in_its_bounds():
    scores = np.full((1, 40), 0.9)
    scores[0, :20] = 1.05  # influences lead beyond 1, the mean of 0.975 does not
    low, high = mean_interval(scores, ARCSINE)
    assert 0 < low < 0.975 < high <= 1


def test_one_run_each_is_a_paired_t_test():
    rng = np.random.default_rng(1)
    one, other = draw_losses([0.3, 0.33], seeds=1, rng=rng)
    evidence = Evidence.of([one, other], LOGARITHM)
    found = compare(evidence, 0, 1)
    naive = stats.ttest_rel(one[0], other[0])
    interval = naive.confidence_interval(0.95)
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(naive.pvalue)
    assert found.difference > 0  # less loss is better
    alone = stats.ttest_rel(one[0], other[0], alternative="greater").pvalue
    assert p_better(evidence)[0, 1] == pytest.approx(alone)


def test_trials_that_score_alike_are_not_told_apart():
    scores = draw_losses([0.3], seeds=1, rng=np.random.default_rng(1))[0]
    found = compare(Evidence.of([scores, scores.copy()], LOGARITHM), 0, 1)
    assert found.difference == 0 < found.standard_error
    assert found.p_value == 1
    assert found.low < 0 < found.high


def test_draws_of_a_loss_lie_higher_where_it_is_lower_and_hold_the_truth():
    rng = np.random.default_rng(7)
    frozen = [(), ("a",), ("a", "b"), ("a", "b", "c")]
    truth = np.array([0.20, 0.21, 0.30, 0.60])
    held = np.zeros(4)
    for seed in range(40):
        drawn = Posterior(Evidence.of(draw_losses(truth, seeds=3, rng=rng), LOGARITHM), frozen).draw(400, seed)
        assert drawn.max() < 0
        assert drawn.mean(axis=0)[0] > drawn.mean(axis=0)[3]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        held += (low <= -truth) & (-truth <= high)
    assert (held / 40).min() > 0.8  # 95 % less three standard errors of 40 sweeps is 85 %; the model is no gamma
