"""Runs that pause at a rung and go on later, against the same run left alone: equal to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import RunStoppedError
from orchestrator.records.document import read_document
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RungResult, RunResult
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.run.resumed import BEST, EPOCHS, SPEC, assert_as_if_alone, interrupted_names, names


@pytest.fixture
def epochs_trained(monkeypatch):
    """Every epoch that begins, by its number."""
    begun, start = [], FreezingModule.on_train_epoch_start
    monkeypatch.setattr(
        FreezingModule, "on_train_epoch_start", lambda module: begun.append(module.current_epoch) or start(module)
    )
    return begun


def train(folder: Path, until: int | None, *, share: float = 1.0):
    seen = []
    place = Workplace(
        directory=str(folder), threads=1, until_epoch=until, checkpoint_share=share, cost=make_cost(SPEC.frozen)
    )
    return run_training(SPEC, place, seen.append), seen


def test_a_run_that_pauses_at_each_rung_ends_as_if_left_alone_and_trains_nothing_twice(alone, tmp_path, epochs_trained):
    oracle, _, _ = alone
    for until in (1, 2, 3):
        stands, seen = train(tmp_path, until, share=1e-9)  # no checkpoint is due, but for the pause
        assert type(stands) is RungResult
        assert stands.history == tuple(seen)
        assert [metrics.val_loss for metrics in seen] == [metrics.val_loss for metrics in oracle.history[:until]]
        best = min(until - 1, BEST)
        # what is right with the best weights so far is what that epoch's accuracy counts
        assert np.mean(stands.val_correct) == oracle.history[best].val_acc
        assert names(tmp_path) == interrupted_names(until - 1, best) | {
            f"rung-{n:03d}.json" for n in range(1, until + 1)
        }
        written = read_document(RungResult, (tmp_path / f"rung-{until:03d}.json").read_bytes(), "the rung")
        assert written == stands
    result, seen = train(tmp_path, None)
    for path in tmp_path.glob("rung-*.json"):
        path.unlink()
    assert_as_if_alone(tmp_path, result, seen, alone)
    assert epochs_trained == list(range(EPOCHS))


def test_a_run_that_is_over_at_its_rung_has_a_result(alone, tmp_path):
    """Patience runs out with the fourth epoch."""
    result, seen = train(tmp_path, EPOCHS)
    assert type(result) is RunResult
    assert_as_if_alone(tmp_path, result, seen, alone)


def test_a_death_between_the_pause_and_its_record_costs_no_epoch(tmp_path, epochs_trained):
    stands, _ = train(tmp_path, 2)
    (tmp_path / "rung-002.json").unlink()
    again, seen = train(tmp_path, 2)
    assert again == stands
    assert [metrics.epoch for metrics in seen] == [0, 1]
    assert train(tmp_path, 1)[0] == stands  # it cannot go back
    assert epochs_trained == [0, 1]


def test_a_run_that_is_stopped_where_it_pauses_goes_on_to_the_pause(tmp_path, epochs_trained):
    def stop(metrics):
        if metrics.epoch == 1:
            raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError, match="stopped"):
        run_training(SPEC, Workplace(directory=str(tmp_path), threads=1, until_epoch=2), stop)
    assert names(tmp_path) == interrupted_names(1, 1)
    assert train(tmp_path, 2)[0].epochs == 2
    assert epochs_trained == [0, 1]
