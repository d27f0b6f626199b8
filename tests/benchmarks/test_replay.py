"""Replays of a recorded sweep: what is drawn again, what counts as found, and the table."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.record import Recording
from benchmarks.replay import RECORDING, Outcome, find_final, find_front, know, main, race_once, resample
from orchestrator.backbones import find_backbone
from orchestrator.blocks import all_sets
from orchestrator.sweep.decisions import Rules
from tests.factories import count_trainable

KEYS = ("none", "stem+layer1+layer2", "stem+layer1+layer2+layer3", "stem+layer1+layer2+layer3+layer4")
PARAMS = [11_178_051, 10_494_979, 8_395_267, 1_539]
ERRORS = [0.9, 0.07, 0.05, 0.6]
"""At the end. The first is hopeless, the second worse than the cheaper third, the last the cheapest."""
EPOCHS, IMAGES = 6, 300


@pytest.fixture
def recording():
    """Errors fall by a tenth of their end in each epoch; the second trial's second seed stopped an epoch earlier."""
    rng = np.random.default_rng(0)
    ends = np.array(ERRORS)[:, None, None, None]
    falling = 1 + 0.1 * np.arange(EPOCHS - 1, -1, -1)[:, None]
    difficulty = rng.random((1, 1, 1, IMAGES))
    right = np.broadcast_to(difficulty > ends * falling, (4, 3, EPOCHS, IMAGES)).copy()
    right ^= rng.random(right.shape) < 0.01
    val_loss = (1 - right.mean(axis=-1)).astype(np.float32) + 0.1 * falling[:, 0]
    epochs = np.full((4, 3), EPOCHS)
    epochs[1, 1], val_loss[1, 1, -1], right[1, 1, -1] = EPOCHS - 1, np.nan, False
    return Recording(
        frozen=KEYS, params=np.array(PARAMS), epochs=epochs, val_loss=val_loss.astype(np.float32), right=right
    )


def test_a_resampled_trial_has_its_own_seeds_and_all_the_same_images(recording):
    drawn = resample(recording, np.random.default_rng(3))
    columns = {recording.right[..., image].tobytes() for image in range(IMAGES)}
    assert len({drawn.right[..., image].tobytes() for image in range(IMAGES)}) < len(columns)  # some are drawn twice
    for trial in range(4):
        # of each trial the losses are those of its seeds in some order, and its epochs went along
        losses = {each.tobytes() for each in drawn.val_loss[trial]}
        assert losses == {each.tobytes() for each in recording.val_loss[trial]}
        assert drawn.epochs[trial].tolist() == np.isfinite(drawn.val_loss[trial]).sum(axis=1).tolist()
    orders = [resample(recording, np.random.default_rng(seed)).epochs[1].tolist() for seed in range(20)]
    assert {tuple(order) for order in orders} == {(5, 6, 6), (6, 5, 6), (6, 6, 5)}


def test_predictions_of_a_run_are_those_of_its_lowest_loss(recording):
    recording.val_loss[2, 1, 3] = 0.0
    final = find_final(recording)
    assert final.shape == (4, 3, IMAGES)
    assert np.array_equal(final[2, 1], recording.right[2, 1, 3])
    assert np.array_equal(final[0, 0], recording.right[0, 0, EPOCHS - 1])
    assert np.array_equal(final[1, 1], recording.right[1, 1, EPOCHS - 2])


def test_the_supported_front_of_some_trials_names_their_places(recording):
    final = find_final(recording)
    # the cheapest, and the cheaper and better of the two good ones
    assert find_front(dict(enumerate(final)), recording.params) == (3, 2)
    assert find_front({0: final[0], 1: final[1][:1], 3: final[3]}, recording.params) == (3, 1)


def test_recall_and_agreement_are_shares_of_the_full_front():
    found = Outcome(
        share=0.3,
        full=(3, 2),
        race=(3, 1),
        kept=(1, 2, 3),
        single_share=0.3,
        single=(0, 1),
        lost_points=0.0,
        best_points=0.0,
        best_expected_points=0.0,
        single_best_points=0.0,
        recommended_within=1.0,
        full_recommended_within=1.0,
    )
    assert (found.recall, found.agreement, found.single_agreement) == (1.0, 0.5, 0.0)
    assert replace(found, kept=(1, 3)).recall == 0.5


def test_a_race_spends_less_and_keeps_the_front(recording):
    found = race_once(recording, Rules(rungs=(2, EPOCHS), drop_below=0.02, max_seeds=3), seed=0)
    assert set(found.full) == {2, 3}
    assert found.recall == 1
    assert 0 not in found.kept
    assert found.single_share == pytest.approx(1 / 3, abs=0.02)
    # one run of the hopeless one pauses after two epochs; one run of each other at the least
    assert (2 + 3 * (EPOCHS - 1)) / (12 * EPOCHS) <= found.share < 0.8


def test_what_the_race_names_is_judged_by_the_full_sweep(recording):
    """The third is the best by far and cheaper than the second, so whatever is named is one of these."""
    drawn = resample(recording, np.random.default_rng(1))
    final = find_final(drawn)
    values = know({1: final[1], 3: final[3]}, drawn)
    assert values.shape == (4000, 4)
    assert np.isneginf(values[:, [0, 2]]).all()
    assert values[:, 1].mean() == pytest.approx(final[1].mean(), abs=0.03)
    outcomes = [race_once(recording, Rules(rungs=(2, EPOCHS), drop_below=0.02, max_seeds=3), seed) for seed in range(3)]
    for found in outcomes:
        assert found.best_expected_points >= 0
        assert found.single_best_points >= 0
        assert 0 <= found.recommended_within <= 1
        assert found.full_recommended_within > 0.5
    perfect = race_once(recording, Rules(rungs=(EPOCHS,), drop_below=0.02, max_seeds=1), seed=0)
    assert perfect.best_expected_points == perfect.single_best_points  # it is one run of each, and nothing is dropped


def test_a_budget_is_a_share_of_all_epochs(recording):
    rules = Rules(rungs=(2, EPOCHS), drop_below=0.02, max_seeds=3, limits=(0.3,))
    found = race_once(recording, rules, seed=0)
    assert found.share <= 0.3 < race_once(recording, replace(rules, limits=()), seed=0).share


@pytest.mark.parametrize("seed", range(3))
def test_the_recorded_sweep_is_found_again_with_a_third_of_its_epochs(seed):
    """docs/statistics.md has 200 of these."""
    recording = Recording.read(RECORDING)
    assert sorted(recording.frozen) == sorted(each.key for each in all_sets(find_backbone("resnet18").blocks))
    assert recording.params.tolist() == [count_trainable(key) for key in recording.frozen]
    assert (recording.epochs.shape, recording.right.shape[-1], recording.epochs.sum()) == ((32, 3), 133, 2030)
    found = race_once(recording, Rules(rungs=(3, 9, 30), drop_below=0.02, max_seeds=3, limits=(0.35,)), seed)
    assert found.share <= 0.35
    assert found.recall == 1
    assert len(found.kept) < 32


def test_it_prints_the_means_and_keeps_each_replay(recording, tmp_path, capsys):
    recording.write(tmp_path / "recording.npz")
    numbers = tmp_path / "out" / "numbers.json"
    main([str(tmp_path / "recording.npz"), "--replays", "4", "--rungs", "2", "6", "--json", str(numbers)])
    outcomes = json.loads(numbers.read_text())
    lines = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["replays"] == "4"
    assert float(lines["share of the epochs"]) == pytest.approx(np.mean([each["share"] for each in outcomes]), rel=1e-3)
    assert float(lines["recall of the full supported front"]) == 1
