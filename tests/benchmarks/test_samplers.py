"""The comparison of samplers: worlds, the greedy selection, and what is judged."""

import json

import numpy as np
import optuna
import pytest

from benchmarks.replay import RECORDING
from benchmarks.sampler_worlds import BLOCKS, FAMILIES, World, draw_world, read_world
from benchmarks.samplers import METHODS, judge, main, sample, select_greedily
from orchestrator.blocks import all_sets

SMALL = ("a", "b", "c")
LOSSES = {"a": -0.02, "b": 0.10, "c": 0.05}
"""Of freezing each block: the best set freezes `a` alone."""


@pytest.fixture
def world():
    """1,000 images, without chance: what is measured is true."""
    sets = tuple(all_sets(SMALL))
    truth = np.array([0.9 - sum(LOSSES[block] for block in each.blocks) for each in sets])
    correct = np.arange(1000) < np.round(1000 * truth)[:, None]
    return World(
        blocks=SMALL,
        sets=sets,
        costs=np.array([1.0 + 10 ** (3 - len(each)) for each in sets]),
        truth=truth,
        correct=correct,
    )


def test_the_greedy_selection_trains_one_more_block_in_each_round(world):
    keys = [world.sets[place].key for place in select_greedily(world, 64)]
    # the head; one block each; with b trained the others; with b and c trained a too, which gains nothing
    assert keys == ["a+b+c", "b+c", "a+c", "a+b", "c", "a", "none"]
    assert len(select_greedily(world, 3)) == 3


def test_a_sampler_trains_each_set_once(world):
    visited = sample(world, optuna.samplers.RandomSampler(seed=0), 8, 0)
    assert sorted(visited) == list(range(8))


def test_all_sets_have_the_whole_front_and_lose_nothing(world):
    assert judge(world, range(8)) == pytest.approx((0.0, 0.0, 1.0))
    none = world.sets.index("none")
    measured, _, share = judge(world, [none, world.sets.index("a+b+c")])
    assert measured == pytest.approx(2.0)  # 0.92 is the best
    assert 0 < share < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_drawn_world_measures_what_is_true_but_for_chance(family):
    drawn = draw_world(family, 2000, 0)
    assert drawn.truth.shape == drawn.costs.shape == (512,)
    assert np.all((drawn.truth >= 0.5) & (drawn.truth < 1))
    # one seed varies an accuracy by some points, and images by less; what all share cancels
    assert np.abs(drawn.measured - drawn.truth).mean() < 0.03
    assert drawn.costs[drawn.sets.index("none")] == 11_178_051
    assert drawn.costs[drawn.sets.index("+".join(BLOCKS))] == 1_539
    assert (draw_world(family, 2000, 0).measured == drawn.measured).all()


def test_a_recorded_world_measures_one_seed_and_takes_the_mean_for_true():
    one, other = read_world(RECORDING, 0), read_world(RECORDING, 1)
    assert (one.truth == other.truth).all()
    assert (one.measured != other.measured).any()
    assert one.truth.max() == pytest.approx(0.882, abs=0.001)
    assert len(one.sets) == 32


def test_all_methods_are_compared_and_the_numbers_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.samplers.RECORDED_BUDGETS", (2, 3))
    methods = ["blocks", "random", "greedy"]
    assert set(methods) < set(METHODS)
    main(["--methods", *methods, "--repetitions", "1", "--budgets", "3", "4", "--json", str(tmp_path / "a.json")])
    scores = json.loads((tmp_path / "a.json").read_text())
    assert len(scores) == 5 * 3 * 2
    assert {(score["method"], score["trials"]) for score in scores if score["family"] == "cliff"} == {
        (method, trials) for method in methods for trials in (3, 4)
    }
    assert capsys.readouterr().out.count("| greedy | ") == 6
