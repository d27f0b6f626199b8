"""Checkpoints that take a share of the time: what is not written is trained again, to the last bit."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.errors import RunStoppedError
from orchestrator.training.run import lightning, run
from orchestrator.training.run.checkpoints import CheckedIO, CheckpointFolder
from orchestrator.training.run.lightning import EpochCheckpoint
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.factories import make_history
from tests.training.run.resumed import (
    BEST,
    EPOCHS,
    FINISHED,
    SPEC,
    InterruptedRunError,
    best_tensors,
    interrupted_names,
    names,
    place_at,
    train,
)
from tests.training.tiny import without_times

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, narrow):
    """The oracle: the run left alone, with a checkpoint after each epoch."""
    folder = tmp_path_factory.mktemp("alone")
    result, seen = train(folder)
    return result, seen, best_tensors(folder)


RARELY = 1e-6
"""Share of the time that no checkpoint fits into."""


def train_rarely(folder: Path, *, until: int | None = None, stop: bool = False):
    """Train with checkpoints that are never due; the sink stops the run, or dies as a lost parent's would."""
    seen = []

    def sink(metrics):
        seen.append(metrics)
        if metrics.epoch == until:
            raise RunStoppedError("stopped") if stop else InterruptedRunError

    place = place_at(folder, checkpoint_share=RARELY)
    try:
        return run_training(SPEC, place, sink), seen
    except (InterruptedRunError, RunStoppedError):
        return None, seen


def test_a_checkpoint_that_is_not_due_is_not_written(alone, tmp_path):
    folder = tmp_path / "run"
    train_rarely(folder, until=2)
    assert names(folder) == {"spec.json"}
    result, seen = train_rarely(folder)
    assert [metrics.epoch for metrics in seen] == list(range(EPOCHS))
    assert without_times(result) == without_times(alone[0])
    assert names(folder) == FINISHED
    assert all(torch.equal(tensor, alone[2][name]) for name, tensor in best_tensors(folder).items())


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_a_run_that_is_stopped_writes_one_in_any_case(alone, tmp_path, epoch):
    folder = tmp_path / "run"
    train_rarely(folder, until=epoch, stop=True)
    assert names(folder) == interrupted_names(epoch, min(epoch, BEST))
    result, seen = train_rarely(folder)
    assert [metrics.epoch for metrics in seen] == list(range(EPOCHS))
    assert without_times(result) == without_times(alone[0])
    assert all(torch.equal(tensor, alone[2][name]) for name, tensor in best_tensors(folder).items())


def test_the_best_weights_of_before_are_kept_until_the_next_checkpoint(alone, tmp_path):
    """Stopped after epoch 0, it goes on past a better epoch and dies: what `last-000.ckpt` names must be there."""
    folder = tmp_path / "run"
    train_rarely(folder, until=0, stop=True)
    train_rarely(folder, until=2)
    assert names(folder) == interrupted_names(0, 0)
    result, _ = train_rarely(folder)
    assert without_times(result) == without_times(alone[0])


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_a_run_that_is_ended_in_the_middle_of_an_epoch_keeps_the_last_whole_one(alone, tmp_path, monkeypatch, epoch):
    """Two Ctrl-C: nothing was due, and the copy in memory is written on the way out."""
    monkeypatch.setattr(lightning, "_FOR_COPIES", 1e12)  # a copy is taken after each epoch
    step = FreezingModule.training_step

    def interrupted(self, batches):
        if self.current_epoch == epoch:
            raise RunStoppedError("ended at once")
        return step(self, batches)

    monkeypatch.setattr(FreezingModule, "training_step", interrupted)
    folder = tmp_path / "run"
    train_rarely(folder)
    assert names(folder) == interrupted_names(epoch - 1, min(epoch - 1, BEST))
    monkeypatch.undo()
    result, seen = train_rarely(folder)
    assert [metrics.epoch for metrics in seen] == list(range(EPOCHS))
    assert without_times(result) == without_times(alone[0])
    assert all(torch.equal(tensor, alone[2][name]) for name, tensor in best_tensors(folder).items())


def test_a_run_that_is_ended_while_it_is_tested_keeps_all_epochs(alone, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise RunStoppedError("ended at once")

    monkeypatch.setattr(run, "_evaluate", interrupted)
    folder = tmp_path / "run"
    train_rarely(folder)
    assert names(folder) == interrupted_names(EPOCHS - 1, BEST)
    monkeypatch.undo()
    monkeypatch.setattr(FreezingModule, "training_step", None)  # nothing is trained again
    result, _ = train_rarely(folder)
    assert without_times(result) == without_times(alone[0])


@pytest.mark.parametrize(("last_epoch_s", "written_last"), [(1.0, False), (11.1, True)])
def test_writing_takes_its_share_of_the_time_and_no_more(monkeypatch, tmp_path, last_epoch_s, written_last):
    """With a clock by hand: an epoch takes 1 s, a checkpoint 0.3 s, and a quarter of the time is for it."""
    now = 0.0
    monkeypatch.setattr(lightning, "perf_counter", lambda: now)
    written, epochs = [], []

    class Trainer:
        should_stop, max_epochs = False, 9
        _checkpoint_connector = SimpleNamespace(dump_checkpoint=lambda weights_only: {})

        def save_checkpoint(self, path, *, weights_only):
            nonlocal now
            now += 0.3
            written.append((path.name, weights_only))

    callback = EpochCheckpoint(CheckpointFolder(tmp_path), epochs, lambda _: None, lambda _: None, CheckedIO(), 0.25)
    for metrics in make_history([0.5] * 9):
        now += last_epoch_s if metrics.epoch == 8 else 1.0
        epochs.append(metrics)
        callback.on_train_epoch_end(Trainer(), None)
    # 0.25 s are guessed for the first, then 0.3 / 0.25 = 1.2 s must have passed since the last one was written;
    # after the last epoch ten times as many, 12 s
    due = (0, 2, 4, 6, 8) if written_last else (0, 2, 4, 6)
    assert written == [(f"last-{epoch:03d}.ckpt", False) for epoch in due]
