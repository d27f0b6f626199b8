"""Draws of true values against sums over all components written out, for sets that were not measured, too."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.advice import advise
from orchestrator.stats.block_model import BlockModel

SETS = [each for size in range(4) for each in combinations("abc", size)]
NOISE = 0.02**2 * (0.4 + 0.6 * np.eye(8))


def expect_by_hand(measured, noise, frozen, luck, unseen):
    """The expected true values of all sets: each component's conditional mean, weighed by its restricted likelihood."""
    sets, n = [*frozen, *unseen], len(frozen)
    blocks = sorted({block for each in sets for block in each})
    design = np.array([[float(block in each) for block in blocks] for each in sets])
    contrast = design - [0.5 if any(block in each for each in frozen) else 0.0 for block in blocks]
    pairs = np.array([contrast[:, i] * contrast[:, j] for i, j in combinations(range(len(blocks)), 2)]).T
    count = design.sum(axis=1, keepdims=True)
    sizes = np.geomspace(0.005, 0.64, 8)
    contrasts = np.diff(np.eye(n), axis=0)  # free of the level
    means, weights = [], []
    for effect, interaction, of_effect in [(0, 0, 0.5), *((e, r, 0.5 / 8 / 2) for e in sizes for r in (0, 1))]:
        kernel = effect**2 * (design @ design.T + count @ count.T + interaction * pairs @ pairs.T)
        for own, of_own in [(0, 0.5), *((o, 0.5 / 8) for o in sizes)]:
            for place, apart, of_apart in [(0, 0, 0.3), *((t, s, 0.7 / n / 2) for t in range(n) for s in (0.1, 0.3))]:
                deviating = np.zeros(len(sets))
                deviating[place] = apart**2
                measured_deviations = own**2 + deviating[:n]
                true_deviations = own**2 * (1 - luck) + deviating[:n] * (1 - luck / 3)
                covariance = kernel[:n, :n] + noise + np.diag(measured_deviations)
                signal = kernel[:, :n].copy()
                signal[:n] += np.diag(true_deviations)
                of_level = np.linalg.solve(covariance, np.ones(n))
                level = of_level @ measured / of_level.sum()
                means.append(level + signal @ np.linalg.solve(covariance, measured - level))
                likelihood = stats.multivariate_normal(cov=contrasts @ covariance @ contrasts.T)
                weights.append(of_effect * of_own * of_apart * likelihood.pdf(contrasts @ measured))
    return np.average(means, axis=0, weights=weights)


@pytest.mark.parametrize(("luck", "stands_out"), [(0.0, 0.0), (0.75, 0.12)])
def test_expected_values_are_sums_over_components(luck, stands_out):
    frozen, unseen = SETS[:5], [*SETS[5:7], ("d",), ("a", "d")]
    rng = np.random.default_rng(1)
    measured = 1.2 + np.array([-0.05 * ("a" in each) + stands_out * (each == ("b",)) for each in frozen])
    measured += rng.normal(size=len(frozen)) * 0.02
    of_runs = np.where(np.arange(len(frozen)) % 2, luck, 0.0)
    noise = NOISE[: len(frozen), : len(frozen)]
    drawn = BlockModel(measured, noise, frozen, luck=of_runs).draw(40_000, unseen=unseen)
    by_hand = expect_by_hand(measured, noise, frozen, of_runs, unseen)
    assert drawn.mean(axis=0) == pytest.approx(by_hand, abs=0.001)


def test_sets_that_were_not_measured_are_less_certain_than_those_that_were():
    measured = np.array([1.2 - 0.1 * ("a" in each) - 0.05 * ("b" in each) for each in SETS])
    drawn = BlockModel(measured[:-1], NOISE[:-1, :-1], SETS[:-1]).draw(20_000, unseen=SETS[-1:])
    assert drawn[:, -1].mean() == pytest.approx(measured[-1], abs=0.02)
    assert drawn[:, -1].std() > drawn[:, :-1].std(axis=0).max()


def test_what_is_drawn_of_measured_sets_does_not_depend_on_the_others():
    measured = np.linspace(1.2, 1.0, 6)
    model = BlockModel(measured, NOISE[:6, :6], SETS[:6])
    assert model.draw(300, unseen=SETS[6:])[:, :6] == pytest.approx(model.draw(300), abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_relabelling_blocks_and_permuting_sets_changes_no_advice(data):
    values = st.floats(0.8, 1.4, allow_nan=False)
    measured = np.array(data.draw(st.lists(values, min_size=8, max_size=8, unique=True)))
    sums = sorted(sum(measured[place] for place, each in enumerate(SETS) if block in each) for block in "abc")
    assume(min(np.diff(sums)) > 1e-9)  # of blocks that look alike, either may come first
    noise = NOISE + np.diag(np.linspace(0, 4e-4, 8))
    names = dict(zip("abc", data.draw(st.permutations("xyz")), strict=True))
    order = data.draw(st.permutations(range(8)))
    moved_sets = [[names[block] for block in SETS[place]] for place in order]
    drawn = BlockModel(measured, noise, SETS, luck=0.5).draw(400)
    moved = BlockModel(measured[order], noise[np.ix_(order, order)], moved_sets, luck=0.5).draw(400)
    assert moved == pytest.approx(drawn[:, order], abs=1e-9)
    costs = [10.0 - sum({"a": 1, "b": 2, "c": 4}[block] for block in each) for each in SETS]
    ours = advise(drawn, costs, 0.01, 0.8)
    theirs = advise(moved, [costs[place] for place in order], 0.01, 0.8)
    assert (order[theirs.chosen], order[theirs.expected]) == (ours.chosen, ours.expected)
    assert theirs.probability == pytest.approx(ours.probability)
