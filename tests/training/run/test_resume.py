"""Runs that were interrupted and continued, against the same run left alone: equal to the last bit."""

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from orchestrator.errors import RunError, RunStoppedError
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.storage import files
from orchestrator.storage.files import digest_path, is_whole
from orchestrator.training.run import run
from orchestrator.training.run.checkpoints import CheckpointFolder
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.run.resumed import (
    BEST,
    EPOCHS,
    SPEC,
    TIMEOUT_S,
    InterruptedRunError,
    assert_as_if_alone,
    interrupted_names,
    names,
    place_at,
    train,
)
from tests.training.targets import HERE
from tests.training.tiny import make_data, make_spec, without_times

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, narrow):
    """Folders of the run, interrupted after each of its epochs: each continues the one before."""
    folders = []
    for epoch in range(EPOCHS):
        folder = tmp_path_factory.mktemp("interrupted") / "run"
        if folders:
            shutil.copytree(folders[-1], folder)  # so the folder is another one each time
        result, seen = train(folder, until=epoch)
        assert result is None
        assert [metrics.epoch for metrics in seen] == list(range(epoch + 1))
        folders.append(folder)
    return folders


@pytest.fixture
def copy(interrupted, tmp_path):
    """A copy of what the run leaves when it is interrupted after an epoch."""

    def build(epoch: int) -> Path:
        shutil.copytree(interrupted[epoch], tmp_path / "run")
        return tmp_path / "run"

    return build


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_a_run_interrupted_after_any_epoch_ends_as_if_left_alone(alone, copy, epoch):
    """Each was interrupted after every epoch before, too; its folder was moved; patience runs out at the last one."""
    folder = copy(epoch)
    assert names(folder) == interrupted_names(epoch, min(epoch, BEST))
    before = torch.load(folder / f"last-{epoch:03d}.ckpt", weights_only=True)["progress"]
    assert before["finished"] == (epoch == EPOCHS - 1)
    result, seen = train(folder)
    assert_as_if_alone(folder, result, seen, alone)
    assert [metrics.model_dump() for metrics in seen[: epoch + 1]] == list(before["history"])
    assert result.duration_s > before["duration_s"] > sum(metrics.duration_s for metrics in seen[: epoch + 1])
    assert result.peak_memory_mb >= before["peak_memory_mb"]


def test_the_steps_of_a_continued_run_have_no_gap_and_no_double(copy):
    result, _ = train(copy(1))
    # 3 steps an epoch and every second is logged: 2, 4, 6, ... of a person's count
    assert [loss.step for epoch in result.history for loss in epoch.step_losses] == [1, 3, 5, 7, 9, 11]


@pytest.mark.usefixtures("fork_server")
def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_if_left_alone(alone, tmp_path):
    seen = []
    with ProcessExecutor(f"{HERE}:run_or_die_in_a_step") as executor:
        for step in (1, 7):  # of epoch 0: nothing is there to continue from; of epoch 2
            (tmp_path / "die").write_text(str(step))
            place = place_at(tmp_path)
            error = executor.submit(SPEC, place, seen.append).exception(TIMEOUT_S)
            assert type(error) is RunError
            assert (error.cause, error.may_pass) == ("died", True)
        assert [metrics.epoch for metrics in seen] == [0, 1]
        seen.clear()
        result = executor.submit(SPEC, place, seen.append).result(TIMEOUT_S)
    (tmp_path / "worker.log").unlink()
    assert_as_if_alone(tmp_path, result, seen, alone)


@pytest.mark.usefixtures("fork_server")
def test_a_run_that_is_asked_to_stop_does_so_at_the_end_of_its_epoch_and_continues(alone, tmp_path):
    seen, place = [], place_at(tmp_path)
    with ProcessExecutor(f"{HERE}:run_narrow_until_asked") as executor:

        def sink(metrics):
            seen.append(metrics.epoch)
            executor.stop()

        error = executor.submit(SPEC, place, sink).exception(TIMEOUT_S)
    assert type(error) is RunStoppedError
    assert seen == [0, 1]  # it was in its second epoch when it heard of it
    assert error.message == "stopped on request after epoch 2"
    (tmp_path / "worker.log").unlink()
    assert names(tmp_path) == interrupted_names(1, BEST)
    result, again = train(tmp_path)
    assert_as_if_alone(tmp_path, result, again, alone)


def test_a_run_that_stops_while_it_repeats_its_epochs_repeats_all_of_them(copy):
    folder, seen = copy(2), []

    def sink(metrics):
        seen.append(metrics.epoch)
        raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError, match="stopped"):
        run_training(SPEC, place_at(folder), sink)
    assert seen == [0, 1, 2]
    assert names(folder) == interrupted_names(2, BEST)


def test_images_that_loader_processes_decode_come_in_the_order_of_their_epoch(tmp_path):
    data = make_data(memory_mb=0, loader_workers=1)
    spec = make_spec("stem+layer1+layer2+layer3", 8, data=data, max_epochs=2)
    train(tmp_path / "one", until=0, spec=spec)
    one, _ = train(tmp_path / "one", spec=spec)
    two, _ = train(tmp_path / "two", spec=spec)
    assert without_times(one) == without_times(two)


# --- what does not count, and what is left behind -------------------------------------------------------


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(path: Path, change) -> None:
    """Change what a checkpoint says, and write its digest again."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    files.write_checked(path, lambda file: torch.save(checkpoint, file))


def repeated_epochs(folder: Path, monkeypatch) -> list[int]:
    """Epochs that a run reports again before it loads anything: those of the checkpoint that it continues from."""

    def load(spec, place):
        raise InterruptedRunError

    monkeypatch.setattr(run, "_load_data", load)
    return [metrics.epoch for metrics in train(folder)[1]]


DAMAGE = {
    "a flipped bit": lambda folder: flip_a_bit(folder / "last-002.ckpt"),
    "half of it": lambda folder: os.truncate(folder / "last-002.ckpt", 1000),
    "no digest": lambda folder: (folder / "last-002.ckpt.sha256").unlink(),
    "a digest alone": lambda folder: (folder / "last-002.ckpt").unlink(),
    "another run's": lambda folder: forge(
        folder / "last-002.ckpt", lambda it: it["hyper_parameters"].update(fingerprint="0" * 16)
    ),
    "another version's": lambda folder: forge(folder / "last-002.ckpt", lambda it: it.pop("progress")),
    "another epoch's": lambda folder: forge(
        folder / "last-002.ckpt", lambda it: it["progress"].update(history=it["progress"]["history"][:1])
    ),
    "no checkpoint": lambda folder: files.write_checked(
        folder / "last-002.ckpt", lambda file: file.write(b"something else")
    ),
    "no best one": lambda folder: (folder / "best-001.ckpt").unlink(),
    "a damaged best one": lambda folder: flip_a_bit(folder / "best-001.ckpt"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_that_cannot_be_used_starts_the_run_over(copy, monkeypatch, damage):
    folder = copy(2)
    DAMAGE[damage](folder)
    assert repeated_epochs(folder, monkeypatch) == []
    assert names(folder) == {"spec.json"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_that_cannot_be_used_is_passed_over_for_the_older_one(copy, interrupted, monkeypatch, damage):
    """Both are there when the process dies before the older is removed."""
    folder = copy(2)
    DAMAGE[damage](folder)
    for path in interrupted[0].iterdir():
        shutil.copy(path, folder)  # last-000 and best-000
    assert repeated_epochs(folder, monkeypatch) == [0]
    assert names(folder) == interrupted_names(0, 0)


def test_what_a_death_leaves_half_written_is_no_obstacle(alone, copy, interrupted):
    folder = copy(2)
    for path in interrupted[1].glob("last-*"):
        shutil.copy(path, folder)  # died before the older went
    shutil.copy(folder / "best-001.ckpt", folder / "best-003.ckpt")  # died after the best one of the next epoch
    for name in (".last-003.ckpt.tmp", ".best.ckpt.sha256.tmp", ".last-003.ckpt.sha256.tmp"):
        (folder / name).write_bytes(b"half")
    digest_path(folder / "last-003.ckpt").write_text("0" * 64)
    (folder / "best.ckpt").write_bytes(b"of an older version")
    (folder / "last-001.ckpt.damaged").write_bytes(b"set aside by the sweep")
    result, seen = train(folder)
    (folder / "last-001.ckpt.damaged").unlink()
    (folder / ".best.ckpt.sha256.tmp").unlink(missing_ok=True)
    assert_as_if_alone(folder, result, seen, alone)


@pytest.mark.parametrize("moment", ["write_atomically", "read_checkpoint", "CheckpointFolder.publish"])
def test_a_death_after_the_last_epoch_costs_no_epoch(alone, copy, monkeypatch, moment):
    """At the evaluation, before the checkpoint has its final name, and between that and the result."""
    folder = copy(3)
    with monkeypatch.context() as patch:
        trained = []
        patch.setattr(FreezingModule, "on_train_epoch_start", lambda module: trained.append(1))

        def die(*args):
            if moment != "write_atomically" or args[0].name == "result.json":
                raise InterruptedRunError
            files.write_atomically(*args)

        owner = CheckpointFolder if "." in moment else run
        patch.setattr(owner, moment.rpartition(".")[2], die)
        assert train(folder)[0] is None
        assert "result.json" not in names(folder)
        assert ("best.ckpt" in names(folder)) == (moment == "write_atomically")
    result, seen = train(folder)
    assert trained == []
    assert_as_if_alone(folder, result, seen, alone)


def test_a_finished_run_that_is_asked_for_again_is_trained_anew(tmp_path, alone, copy):
    folder = copy(3)
    train(folder)
    for epoch in (0, 1):  # a death after the result leaves the last checkpoint; it does not count
        result, seen = train(folder, until=epoch)
        assert result is None
    assert [metrics.epoch for metrics in seen] == [0, 1]
    assert names(folder) == interrupted_names(1, 1)


def test_equal_losses_keep_the_first_epoch(tmp_path):
    """Nothing trains with such a learning rate; a `best-NNN.ckpt` that a durable last one names never goes."""
    spec = make_spec("stem+layer1+layer2+layer3+layer4", max_epochs=3, lr=1e-30)
    for until in (0, 1, 2):
        train(tmp_path, until=until, spec=spec)
        assert names(tmp_path) == interrupted_names(until, 0)
    result, _ = train(tmp_path, spec=spec)
    assert len({epoch.val_loss for epoch in result.history}) == 1
    assert result.best_epoch == 0


# --- the order of writing ----------------------------------------------------------------------------


def test_an_epoch_is_reported_once_its_checkpoint_is_there_and_written_once(tmp_path, monkeypatch):
    written = []
    write = files.write_checked

    def spy(path, content):
        write(path, content)
        written.append(path.name)

    monkeypatch.setattr("orchestrator.training.run.checkpoints.write_checked", spy)
    run_training(
        SPEC,
        place_at(tmp_path),
        lambda metrics: written.append(metrics.epoch) or is_whole(tmp_path / f"last-{metrics.epoch:03d}.ckpt") or 1 / 0,
    )
    assert written == [
        *("best-000.ckpt", "last-000.ckpt", 0),
        *("best-001.ckpt", "last-001.ckpt", 1),
        *("last-002.ckpt", 2),
        *("last-003.ckpt", 3),
    ]


def test_a_death_at_any_write_leaves_something_to_continue_from(alone, copy, monkeypatch):
    """The process dies at each of the writes in turn, after the file and before, and a run continues from each."""
    folder, deaths = copy(0), 0
    write = files.write_checked
    for before in (True, False):
        for _ in range(2):
            left = [2]  # the second write of the attempt kills it

            def die(path, content, left=left, before=before):
                left[0] -= 1
                if not left[0] and before:
                    raise InterruptedRunError
                write(path, content)
                if not left[0]:
                    raise InterruptedRunError

            monkeypatch.setattr("orchestrator.training.run.checkpoints.write_checked", die)
            result, _ = train(folder)
            assert result is None
            deaths += 1
            if "last-003.ckpt" in names(folder):
                break
    monkeypatch.undo()
    assert deaths >= 3
    result, seen = train(folder)
    assert_as_if_alone(folder, result, seen, alone)


def test_a_full_disk_loses_the_run_and_leaves_the_older_checkpoint(copy):
    """A limit on the size of a file stands for the disk: the kernel refuses to write beyond it.

    Weights take 2.8 MB; a checkpoint to continue from takes 4.2 MB more, for the two moments of layer4.
    """
    folder = copy(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, before[1]))
    try:
        with pytest.raises(RunError, match=r".") as caught:
            train(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.message == f"the checkpoint {folder}/last-001.ckpt cannot be written: File too large"
    assert caught.value.hint == "make room and start again: the run continues after the epoch before"
    assert names(folder) == interrupted_names(0, 0) | {"best-001.ckpt", "best-001.ckpt.sha256"}


def test_lightning_hears_no_sigterm(tmp_path):
    """It would end the training in the middle of an epoch, with `SystemExit`."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    spec = make_spec("stem+layer1+layer2+layer3+layer4", max_epochs=2)
    try:
        result = run_training(spec, place_at(tmp_path), lambda metrics: signal.raise_signal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.epochs_run, len(heard)) == (2, 2)
