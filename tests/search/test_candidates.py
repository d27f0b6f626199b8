"""What trials say of frozen sets, and on which scales."""

import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.search.candidates import History, draw_sets, learn_costs, scale_costs, scale_values, spread_out
from tests.factories import RESNET18, count_trainable

SETS = all_sets(RESNET18)
UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def trial(state, values=None, frozen=SETS[0]):
    choices = CategoricalDistribution([each.key for each in SETS])
    made = create_trial(state=state, values=values, params={"frozen": frozen.key}, distributions={"frozen": choices})
    return made, frozen


def test_a_history_sorts_sets_by_what_became_of_their_trials():
    told, running, waiting, pruned, once, twice, endless, _ = SETS[:8]
    found = History.of(
        [
            trial(TrialState.COMPLETE, [0.5, 7.0], told),
            trial(TrialState.COMPLETE, [0.7, 7.0], told),
            trial(TrialState.RUNNING, None, running),
            trial(TrialState.WAITING, None, waiting),
            trial(TrialState.PRUNED, None, pruned),
            trial(TrialState.FAIL, None, once),
            trial(TrialState.FAIL, None, twice),
            trial(TrialState.FAIL, None, twice),
            trial(TrialState.COMPLETE, [math.inf, 7.0], endless),
        ]
    )
    assert found.values == {told: [0.5, 0.7]}
    assert found.costs == {told: 7.0}
    assert found.pending == {running, waiting}
    assert found.dropped == {pruned, twice, endless}
    assert once not in found.taken
    assert found.taken == {told, running, waiting, pruned, twice, endless}


def test_the_first_sets_are_the_ends_and_the_depths_between():
    keys = [each.key for each in spread_out(("a", "b", "c"))]
    assert keys == ["none", "a+b+c", "a", "a+b"]
    depths = [len(each) for each in spread_out([f"b{i}" for i in range(30)])]
    assert depths == [0, 30, 3, 7, 10, 13, 17, 20, 23, 27]


def test_drawn_sets_are_of_all_sizes_and_hold_the_neighbours():
    blocks = tuple(f"b{i}" for i in range(20))
    middle = FrozenSet.of(blocks[:10], order=blocks)
    found = draw_sets(blocks, [middle], 500, np.random.default_rng(0))
    assert len(found) == len(set(found)) <= 520
    assert {FrozenSet.of({*blocks[:10]} ^ {block}, order=blocks) for block in blocks} <= set(found)
    assert {len(each) for each in found} >= set(range(1, 20))


def test_shares_go_to_the_arcsine_scale():
    scaled, variance, luck = scale_values([[0.5, 0.7], [0.9]], UP, 0.04)
    assert scaled == pytest.approx([math.asin(math.sqrt(0.6)), math.asin(math.sqrt(0.9))])
    # slopes 1 / (2 sqrt(p (1 - p))): 1.0206 and 1.6667; two trials halve the variance
    assert variance == pytest.approx([0.04**2 / (4 * 0.24) / 2, 0.04**2 / (4 * 0.09)])
    assert luck.tolist() == [0, 0]
    assert scale_values([[0.5, 0.7], [0.9]], UP, None)[2] == pytest.approx([1 / 3, 1 / 2])


@pytest.mark.parametrize(("values", "direction", "sign"), [([3.0, 5.0], UP, 1), ([0.3, 0.5], DOWN, -1)])
def test_other_values_are_standardised_and_higher_is_better(values, direction, sign):
    scaled, variance, _ = scale_values([[value] for value in values], direction, values[1] - values[0])
    assert scaled == pytest.approx([-0.1 * sign, 0.1 * sign])
    assert variance == pytest.approx([0.2**2, 0.2**2])  # as far as the values are apart
    assert scale_values([[4.0], [4.0]], direction, None)[0].tolist() == [0, 0]


def test_costs_that_add_up_are_learned_exactly():
    known = {each: float(count_trainable(each)) for each in spread_out(RESNET18)}
    learned = learn_costs(known, SETS)
    assert learned == pytest.approx([count_trainable(each) for each in SETS], rel=1e-6)
    one = {SETS[3]: 5.0}
    assert learn_costs(one, SETS[3:4]) == [5.0]
    assert min(learn_costs({SETS[0]: 9.0, SETS[-1]: 1.0}, SETS)) == pytest.approx(1.0)


def test_area_counts_decades_of_cost_to_a_decade_beyond():
    scaled, highest = scale_costs([1.0, 100.0])
    assert (scaled.tolist(), highest) == ([0.0, 2.0], 3.0)
    scaled, highest = scale_costs([0.0, 4.0])
    assert (scaled.tolist(), highest) == ([0.0, 4.0], 8.0)
