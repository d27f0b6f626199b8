"""A sweep's life: started afresh and dead between two steps, ended at once, halted, interrupted before it begins."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import optuna
import psutil
import pytest

from tests.faults.auditor import load_study, read_mlflow
from tests.faults.cases import one_of
from tests.faults.sweeps import HERE, ORCHESTRATOR, Place, Whole, Zygote

pytestmark = pytest.mark.slow
Inject = Callable[[str], None]
ARCHIVE = "orchestrator.search.archive"
FRESH_POINTS = (
    f"{ARCHIVE}:_rename_study:before:1",  # the event files are moved, and the study is not
    f"{ARCHIVE}:write_atomically:before:1",
    f"{ARCHIVE}:write_atomically:after:1",
    f"{ARCHIVE}:_move:after:1",
    f"{ARCHIVE}:_move:after:2",
    f"{ARCHIVE}:_rename_study:after:1",
    f"{ARCHIVE}:_forget:after:1",
)
ANSWER_S = 1.0
"""Seconds in which Ctrl-C is answered while nothing runs; others on the machine may stretch them threefold."""


@pytest.mark.parametrize("point", one_of(*FRESH_POINTS))
def test_a_sweep_that_is_begun_anew_dies_between_two_steps(
    point: str, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    zygote.finish(quick_place)
    board = quick_place.root / "tensorboard"
    before = {path.name for path in (board / "quick").iterdir()}
    command = zygote.start(quick_place, "--fresh", FAULT_POINT=point)
    assert command.wait() == -signal.SIGKILL, command.said
    inject("--fresh dead between two steps")
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place, *(["--fresh"] if point.endswith("write_atomically:before:1") else []))
    names = optuna.get_all_study_names(f"sqlite:///{quick_place.root / 'optuna.db'}")
    assert sorted(names) == ["quick", "quick~1"]
    for name in names:
        assert [trial.state.name for trial in load_study(quick_place.root, name).trials] == ["COMPLETE"] * 3
        assert {path.name for path in (board / name).iterdir()} == before
    parents = [run for run in read_mlflow(quick_place.root) if run["tags"].get("kind") == "sweep"]
    assert [run["status"] for run in parents] == ["FINISHED"] * 2
    assert not list(quick_place.root.glob("locks/*.archiving"))


def test_workers_and_fork_server_are_halted_when_the_parent_is_killed(
    quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    command = zygote.start(quick_place)
    assert command.hears("epoch 1/")
    assert command.wait_until(lambda: command.worker() is not None)
    worker = command.worker()
    assert worker is not None
    server = psutil.Process(worker.ppid())
    for process in (worker, server):
        with suppress(psutil.NoSuchProcess):  # a run takes a quarter of a second
            process.suspend()
    assert command.kill()
    inject("parent killed, workers halted")
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []


@pytest.mark.parametrize("pause_s", [0.05, 0.3])
@pytest.mark.faults
def test_two_signals_keep_the_last_whole_epoch(
    pause_s: float, place: Place, zygote: Zygote, whole: Whole, inject: Inject
):
    """No checkpoint is due, but the copy in memory is there, or the epoch ends in time."""
    command = zygote.start(place, "-s", "execution.checkpoint_share=0.1")
    assert command.hears("epoch 1/3")
    os.killpg(command.pid, signal.SIGINT)
    time.sleep(pause_s)
    os.killpg(command.pid, signal.SIGINT)
    inject("SIGINT twice, no checkpoint due")
    assert command.wait() == 130, command.said
    assert place.wait_for_deaths() == []
    again = zygote.finish(place)
    assert "continues after epoch" in again.said
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("heard", one_of("loading MLflow", "loading Optuna", "opening the MLflow store"))
def test_ctrl_c_while_a_sweep_is_prepared_is_answered_at_once(heard: str, place: Place, inject: Inject):
    (place.root / "mlflow.db").unlink()  # so that it takes long
    command = place.start()
    assert command.hears(heard)
    processes = psutil.Process(command.pid).children(recursive=True)
    asked = time.monotonic()
    os.killpg(command.pid, signal.SIGINT)
    inject("SIGINT while it is prepared")
    assert command.wait() == 130, command.said
    assert time.monotonic() - asked < 3 * ANSWER_S
    assert "interrupted before anything has run; this goes on with it:" in command.said
    assert "Traceback" not in command.said
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert not list(place.root.glob("checkpoints/*"))


@pytest.mark.faults
def test_no_silence_is_longer_than_five_seconds_until_the_front_is_there(place: Place):
    """By the times of the lines on a terminal that is none; a loaded machine may stretch them."""
    words = [str(ORCHESTRATOR), *place.words("-s", "search.frozen=[layer4]")]
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    began = last = time.monotonic()
    gaps = []
    with subprocess.Popen(
        words, cwd=place.folder, env={**os.environ, "PYTHONPATH": str(HERE)}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in iter(process.stderr.readline, b""):
            if b": epoch " not in line:  # how long one takes is up to network and data
                gaps.append((time.monotonic() - last, line))
            last = time.monotonic()
        assert process.wait() == 0
    print(f"{last - began:.1f} s in all, longest silence {max(gaps)}")  # noqa: T201 - shown where it fails
    assert gaps[0][0] < 2 * busy
    assert max(gaps)[0] < 5 * busy
