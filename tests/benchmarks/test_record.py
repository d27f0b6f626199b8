"""A recording gives back what the runs left, and a replay takes it."""

import numpy as np
import pytest

from benchmarks.race_replay import replay
from benchmarks.record import RECORD_FILE, Recording, record
from benchmarks.recorded_run import run_recorded
from orchestrator.records.facts import Cost
from orchestrator.records.place import Workplace
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from orchestrator.sweep.decisions import Rules
from tests.factories import make_experiment, make_history, make_result, make_run, make_trial
from tests.training.narrow import narrow_networks
from tests.training.tiny import make_spec

KEYS = ("none", "stem+layer1+layer2+layer3+layer4")


@pytest.fixture
def answers():
    """Right answers of each trial and seed after each epoch: the second seed stopped after two of three epochs."""
    rng = np.random.default_rng(0)
    return {(key, seed): rng.random((3 - seed, 40)) < 0.8 for key in KEYS for seed in (0, 1)}


@pytest.fixture
def sweep(tmp_path, answers):
    root, trials = Root.at(tmp_path), []
    for number, key in enumerate(KEYS):
        runs = []
        for seed in (0, 1):
            right = answers[key, seed]
            history = make_history([float(epoch.mean()) for epoch in right])
            run = make_run(number, key, seed, result=make_result(key, 0.8, seed, history=history, n_val=40))
            root.run_dir(run.fingerprint).mkdir(parents=True)
            np.save(root.run_dir(run.fingerprint) / RECORD_FILE, right)
            runs.append(run)
        trials.append(make_trial(number, key, 0.8, runs=tuple(runs)))
    return Sweep(root, make_experiment("beans"), trials)


def test_it_is_read_back_as_it_was(tmp_path, sweep, answers):
    recording = record(sweep)
    recording.write(tmp_path / "recording.npz")
    found = Recording.read(tmp_path / "recording.npz")
    assert found.frozen == KEYS
    assert found.epochs.tolist() == [[3, 2], [3, 2]]
    for trial, key in enumerate(KEYS):
        for seed in (0, 1):
            right = answers[key, seed]
            assert np.array_equal(found.right[trial, seed, : len(right)], right)
            # the factory's loss is 1 - accuracy
            assert found.val_loss[trial, seed, : len(right)] == pytest.approx(1 - right.mean(axis=1), abs=1e-6)
            assert np.isnan(found.val_loss[trial, seed, len(right) :]).all()


def test_a_replay_takes_it(sweep):
    recording = record(sweep)
    rules = Rules(rungs=(1, 3), drop_below=0.02, max_seeds=2)
    found = replay(recording.right, recording.val_loss, recording.params.tolist(), recording.blocks, rules)
    assert found.dropped_at[1] is None  # the cheapest
    assert 0 < found.share <= 1


@pytest.mark.slow
def test_a_recorded_run_writes_the_answers_of_each_epoch(tmp_path):
    cost = Cost(trainable_params=1, total_params=2, gflops_forward_per_image=1.0, gflops_train_per_image=2.0)
    with narrow_networks():
        result = run_recorded(
            make_spec(KEYS[1], max_epochs=2), Workplace(directory=str(tmp_path), cost=cost), lambda _: None
        )
    right = np.load(tmp_path / RECORD_FILE)
    assert right.shape == (2, result.n_val)
    assert right.mean(axis=1).tolist() == pytest.approx([epoch.val_acc for epoch in result.history])
