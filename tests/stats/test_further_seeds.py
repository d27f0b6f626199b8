"""What more seeds would do, against seeds that are really added: of normal values, and of simulated sweeps."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from orchestrator.stats.advice import advise
from orchestrator.stats.evidence import Evidence, mean_squares
from orchestrator.stats.further_seeds import MOST, Noise, find_open, look_ahead
from orchestrator.stats.posterior import Posterior
from orchestrator.stats.scales import ARCSINE
from tests.predicted import draw_correct

COSTS = [4.0, 3.0, 2.0, 1.0]
PRIOR = 0.02**2 * (np.eye(4) + 0.5)
"""Covariance of true values."""
IMAGES, RUN, RUNS = 0.01**2 * (0.3 * np.eye(4) + 0.7), 0.02**2, 2
"""Covariance of what images add, variance that a run adds, and runs of each trial."""


def same(values):
    return values


def look(values, margin=0.01, confidence=0.8, *, images=IMAGES, run=RUN, runs=RUNS, costs=COSTS):
    count = values.shape[1]
    noise = Noise(
        covariance=images + run / runs * np.eye(count), of_runs=np.full(count, run / runs), runs=np.full(count, runs)
    )
    return look_ahead(values, costs, margin, confidence, noise, replace(ARCSINE, forward=same, back=same))


def condition(observed, noise):
    """Mean and covariance of true values given observed ones, for a prior mean of 0."""
    gain = PRIOR @ np.linalg.inv(PRIOR + noise)
    return gain @ observed, PRIOR - gain @ PRIOR


# --- what is open -------------------------------------------------------------------------------------


def test_cheaper_trials_that_may_be_within_the_margin_are_open_with_the_expected_best():
    # within 0.01 of the best: 10, 6 and 1 of 10 draws
    values = np.array([[0.9, 0.9, 0.9]] + [[0.9, 0.9, 0.5]] * 5 + [[0.9, 0.7, 0.5]] * 4)
    assert find_open(values, [3.0, 2.0, 1.0], 0.01, 0.8) == [1, 0]  # 0.2 < 0.6 < 0.8, and 0.1 is settled
    assert find_open(values, [3.0, 2.0, 1.0], 0.01, 0.95) == [2, 1, 0]  # 0.05 < 0.1
    assert find_open(values, [3.0, 2.0, 1.0], 0.01, 0.5) == []  # 0.6 is enough, and 0.1 < 0.5
    assert find_open(values, [1.0, 2.0, 3.0], 0.01, 0.8) == []  # none is cheaper than the first


def test_where_none_is_sure_those_are_open_that_are_too_often_better():
    # the first is expected to be the best and within the margin in 5 of 10; others are better in 3, 1 and 1
    values = np.full((10, 4), 0.5)
    values[:5, 0] = 0.9
    values[5:, 0] = 0.8
    for draws, trial in (([5, 6, 7], 1), ([8], 2), ([9], 3)):
        values[draws, trial] = 0.85
    # 5 of 10 draws are to be won from rivals but for 2: the first rival has 3
    assert find_open(values, [1.0, 2.0, 3.0, 4.0], 0.01, 0.8) == [0, 1]
    assert find_open(values, [1.0, 2.0, 3.0, 4.0], 0.01, 0.9) == [0, 1, 2]


# --- normal values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2, 3, 5, 6])
def test_the_share_is_that_of_seeds_that_are_really_added(seed):
    """Brute force: true values and images' noise given what was seen, then further runs, then the advice of Bayes."""
    rng = np.random.default_rng(seed)
    noise = IMAGES + RUN / RUNS * np.eye(4)
    seen = rng.multivariate_normal(np.zeros(4), PRIOR + noise)
    mean, covariance = condition(seen, noise)
    values = rng.multivariate_normal(mean, covariance, size=4000)
    found = look(values, margin=0.015)
    assert not found.is_settled
    places = list(found.open)
    # of true values and image noise together, given their sum and the noise of runs
    both = np.block([[PRIOR, np.zeros((4, 4))], [np.zeros((4, 4)), IMAGES]])
    sees = np.hstack([np.eye(4), np.eye(4)])
    gain = both @ sees.T @ np.linalg.inv(sees @ both @ sees.T + RUN / RUNS * np.eye(4))
    given = rng.multivariate_normal(gain @ seen, both - gain @ sees @ both, size=300)
    settled = []
    further = 1000 if found.seeds is None else found.seeds
    for true, of_images in zip(given[:, :4], given[:, 4:], strict=True):
        runs, means = np.full(4, float(RUNS)), seen.copy()
        added = true + of_images + rng.normal(size=4) * np.sqrt(RUN / further)
        runs[places] += further
        means[places] = (RUNS * seen + further * added)[places] / runs[places]
        then, spread = condition(means, IMAGES + np.diag(RUN / runs))
        drawn = rng.multivariate_normal(then, spread, size=500)
        settled.append(not find_open(drawn, COSTS, 0.015, 0.8))
    assert found.share == pytest.approx(np.mean(settled), abs=0.1)  # 200 outcomes here, 300 there: 3 errors of 0.04


def test_few_seeds_settle_what_seeds_alone_blur():
    """One run each, no prior, the difference 0.032 with an error of sqrt(2) 0.02: 0.78 errors from the margin.

    With k more runs the error is sqrt(1 + k) times smaller, and the difference is open within 0.84 of these errors
    about the margin. Before they are trained, that has the probability Phi(b) - Phi(a) for
    (a, b) = (-0.78 -+ 0.84 / sqrt(1 + k)) / sqrt(1 - 1 / (1 + k)).
    """
    normal = NormalDist()

    def settled(k):
        width, scale = normal.inv_cdf(0.8) / np.sqrt(1 + k), np.sqrt(1 - 1 / (1 + k))
        centre = -0.022 / (np.sqrt(2) * 0.02)
        return 1 - normal.cdf((centre + width) / scale) + normal.cdf((centre - width) / scale)

    values = np.array([0.92, 0.888]) + np.random.default_rng(0).normal(size=(8000, 2)) * 0.02
    found = look(values, images=1e-6**2 * np.eye(2), run=0.02**2, runs=1, costs=[2.0, 1.0])
    assert found.open == (1, 0)
    assert found.seeds is not None
    assert found.share == pytest.approx(settled(found.seeds), abs=0.06)
    assert abs(found.seeds - next(k for k in range(1, 99) if settled(k) >= 0.8)) <= 1


def test_no_number_of_seeds_settles_what_images_blur():
    rng = np.random.default_rng(0)
    values = np.array([0.92, 0.90]) + rng.normal(size=(4000, 2)) * 0.02
    found = look(values, images=0.02**2 * np.eye(2), run=1e-5**2, costs=[2.0, 1.0])
    assert (found.open, found.seeds, found.rival) == ((1, 0), None, 1)
    assert found.share < 0.05


def test_what_is_settled_needs_no_seeds():
    values = np.array([0.95, 0.6]) + np.random.default_rng(0).normal(size=(1000, 2)) * 0.01
    found = look(values, images=IMAGES[:2, :2], costs=[2.0, 1.0])
    assert found.is_settled
    assert (found.open, found.seeds, found.share, found.rival) == ((), None, 1.0, None)


# --- simulated sweeps ---------------------------------------------------------------------------------

BLOCKS = [(), ("a",), ("b",), ("a", "b")]


def know(correct):
    evidence = Evidence.of(correct)
    posterior = Posterior(evidence, BLOCKS)
    return posterior.draw(1500), Noise.of(evidence, posterior)


def test_noise_is_that_of_the_posterior_and_what_runs_add_is_a_part_of_it():
    correct = [each[: 3 - (place == 3)] for place, each in enumerate(draw_correct((0.9,) * 4, seeds=3, images=400))]
    correct[0] = correct[0][:1]
    evidence = Evidence.of(correct)
    posterior = Posterior(evidence, BLOCKS)
    noise = Noise.of(evidence, posterior)
    measured, covariance = evidence.stabilise()
    assert noise.runs.tolist() == [1, 3, 3, 2]
    assert noise.covariance == pytest.approx(covariance + np.diag(posterior.luck))
    assert posterior.luck[0] > 0
    assert posterior.luck[1:].tolist() == [0, 0, 0]
    # of the second: seeds, and the mean square of the rest over runs and images, at the slope of arcsin(sqrt(p))
    share = np.sin(measured[1]) ** 2
    chance = mean_squares(correct[1].astype(float))[1] / 1200
    assert noise.of_runs[1] == pytest.approx(evidence.stabilised_seeds[1] + chance / (4 * share * (1 - share)))
    left = noise.covariance - np.diag(noise.of_runs)
    assert np.linalg.eigvalsh(left).min() > 0


def test_what_is_said_of_simulated_sweeps_is_what_added_seeds_do():
    """Sixty sweeps of four trials, of which thirty or more are open; two errors of a share of thirty are 0.18."""
    said, done = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        effects = rng.normal(0, 0.03, size=2)
        truth = 0.9 + np.array([0, *effects, effects.sum()]) + rng.normal(0, 0.01, size=4)
        full = draw_correct(np.clip(truth, 0.6, 0.99), seeds=2 + 30, images=600, of_seeds=0.3, seed=rng)
        values, noise = know([each[:2] for each in full])
        found = look_ahead(values, COSTS, 0.01, 0.8, noise, ARCSINE)
        if found.is_settled:
            continue
        seeds = 30 if found.seeds is None else found.seeds
        assert seeds <= MOST or found.seeds is None
        later, _ = know([each[: 2 + seeds * (place in found.open)] for place, each in enumerate(full)])
        said.append(found.share)
        done.append(not find_open(later, COSTS, 0.01, 0.8))
    assert len(said) > 30
    assert np.mean(said) == pytest.approx(np.mean(done), abs=0.2)


def test_the_order_of_the_trials_changes_nothing():
    values = np.random.default_rng(5).normal([0.9, 0.905, 0.9, 0.89], 0.01, size=(4000, 4))
    order = [2, 0, 3, 1]
    found = look(values)
    moved = look(values[:, order], costs=[COSTS[place] for place in order])
    assert [order[place] for place in moved.open] == list(found.open)
    assert moved.share == pytest.approx(found.share, abs=0.1)
    assert (
        advise(values, COSTS, 0.01, 0.8).chosen
        == order[advise(values[:, order], [COSTS[place] for place in order], 0.01, 0.8).chosen]
    )
