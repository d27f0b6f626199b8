"""Workers that are asked to stop, or have taken too long: real processes and real signals."""

import os
import signal
import time
from multiprocessing import forkserver

import pytest

from orchestrator.errors import RunError, RunStoppedError
from orchestrator.execution import processes
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import Workplace
from tests.execution.targets import HERE, ignore, read, spec
from tests.execution.watching import TIMEOUT_S, is_alive, read_pid, submit, wait_until


def test_running_ones_end_with_their_epoch_and_waiting_ones_do_not_begin(tmp_path):
    with ProcessExecutor(f"{HERE}:go_on_for_ever", workers=2) as executor:
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(4)]
        pids = [read_pid(tmp_path / str(seed) / name) for seed in range(2) for name in ("worker", "child")]
        began = time.monotonic()
        executor.stop()
        assert time.monotonic() - began < 0.05
        errors = [future.exception(TIMEOUT_S) for future in futures]
        assert time.monotonic() - began < 5  # well before anything is killed
    assert {type(error) for error in errors} == {RunStoppedError}
    assert all("stopped on request after epoch" in error.message for error in errors[:2])
    assert [error.message for error in errors[2:]] == ["stopped on request before it began"] * 2
    wait_until(lambda: not any(map(is_alive, pids)))
    assert not list(tmp_path.glob("*/child_heard"))  # SIGTERM is for the worker alone
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize("target", ["sleep", "hang"])
def test_what_does_not_stop_is_killed_with_its_children(tmp_path, monkeypatch, target):
    """One is between epochs for too long, one hangs where it hears nothing."""
    monkeypatch.setattr(processes, "STOP_GRACE_S", 1.0)
    with ProcessExecutor(f"{HERE}:{target}") as executor:
        future = submit(executor, tmp_path)
        pids = [read_pid(tmp_path / "worker"), *([read_pid(tmp_path / "child")] if target == "sleep" else [])]
        began = time.monotonic()
        executor.stop()
        with pytest.raises(RunStoppedError, match="stopped on request: its epoch did not end within 1 s"):
            future.result(TIMEOUT_S)
        assert 1 <= time.monotonic() - began < 5
        wait_until(lambda: not any(map(is_alive, pids)))


def test_a_result_that_comes_while_the_executor_stops_counts(tmp_path):
    with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
        future = submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        executor.stop()
        time.sleep(0.3)
        (tmp_path / "go").touch()
        assert read(future.result(TIMEOUT_S)) == {"pid": worker}


def test_stopping_does_not_wait_for_the_fork_servers_imports(tmp_path, monkeypatch):
    (tmp_path / "slow_start.py").write_text("import time; time.sleep(30)")
    monkeypatch.chdir(tmp_path)
    with ProcessExecutor("slow_start:run", workers=2) as executor:
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(3)]
        time.sleep(0.5)
        began = time.monotonic()
        executor.stop()
        assert [type(future.exception(TIMEOUT_S)) for future in futures] == [RunStoppedError] * 3
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("target", ["sleep", "go_on_for_ever"])
def test_ended_at_once_a_worker_leaves_its_epoch(tmp_path, target):
    """It unwinds, so that a run writes what it holds, and nothing is left of it."""
    with ProcessExecutor(f"{HERE}:{target}") as executor:
        submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        began = time.monotonic()
        processes.end_at_once(10)
        assert time.monotonic() - began < 5
        wait_until(lambda: not is_alive(worker))


def test_ended_at_once_what_hears_nothing_is_killed(tmp_path):
    with ProcessExecutor(f"{HERE}:hang") as executor:
        submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        processes.end_at_once(0.5)
        wait_until(lambda: not is_alive(worker))


def test_stop_is_safe_in_a_signal_handler_whatever_it_interrupts(tmp_path):
    with ProcessExecutor(f"{HERE}:go_on_for_ever") as executor:
        future = submit(executor, tmp_path)
        read_pid(tmp_path / "worker")
        before = signal.signal(signal.SIGUSR1, lambda *_: executor.stop())
        try:
            with executor._lock:
                signal.raise_signal(signal.SIGUSR1)
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert type(future.exception(TIMEOUT_S)) is RunStoppedError


def test_a_sigterm_that_we_did_not_send_is_a_lost_worker(tmp_path):
    with ProcessExecutor(f"{HERE}:go_on_for_ever") as executor:
        future = submit(executor, tmp_path)
        os.kill(read_pid(tmp_path / "worker"), signal.SIGTERM)
        error = future.exception(TIMEOUT_S)
    assert (type(error), error.cause, error.may_pass) == (RunError, "died", True)
    assert error.message.startswith("the worker was told to stop by SIGTERM")


def test_a_sigterm_to_everyone_leaves_the_workers_to_end_their_epoch(tmp_path):
    """As a service manager does: the fork server, without which no worker is heard of, goes on."""
    with ProcessExecutor(f"{HERE}:go_on_for_ever") as executor:
        future = submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        executor.stop()  # what our own handler would do
        server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        for pid in (server, worker):
            os.kill(pid, signal.SIGTERM)
        with pytest.raises(RunStoppedError, match="stopped on request after epoch"):
            future.result(TIMEOUT_S)


def test_a_child_that_the_run_forks_hears_sigterm_as_usual(tmp_path):
    with ProcessExecutor(f"{HERE}:fork_and_look") as executor:
        assert read(submit(executor, tmp_path).result(TIMEOUT_S)) == {"signal": signal.SIGTERM}


def test_a_run_that_takes_too_long_is_ended_with_its_children(tmp_path):
    with ProcessExecutor(f"{HERE}:sleep", timeout_s=1.5) as executor:
        future = submit(executor, tmp_path)
        pids = [read_pid(tmp_path / name) for name in ("worker", "child")]
        error = future.exception(TIMEOUT_S)
        wait_until(lambda: not any(map(is_alive, pids)))
    assert (type(error), error.cause, error.may_pass) == (RunError, "timeout", True)
    assert error.message == "the run took longer than 0.025 min"
    assert error.hint == "raise execution.timeout_min, or train fewer epochs"


def test_a_worker_that_hangs_where_nothing_is_heard_is_ended_too(tmp_path):
    with ProcessExecutor(f"{HERE}:hang", stall_s=1.0) as executor:
        future = submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        assert future.exception(TIMEOUT_S).cause == "timeout"
        wait_until(lambda: not is_alive(worker))


def test_a_worker_without_a_new_epoch_hangs_and_one_with_new_epochs_does_not(tmp_path):
    seen = []
    with ProcessExecutor(f"{HERE}:take_its_time", workers=2, stall_s=2.0) as executor:
        good = submit(executor, tmp_path / "good", 0)
        hung = executor.submit(spec(1), Workplace(directory=str(tmp_path / "hung")), seen.append)
        assert good.result(TIMEOUT_S)  # after 4 epochs of 0.6 s: longer than 2 s in all
        error = hung.exception(TIMEOUT_S)
        # and the worker is free again
        assert submit(executor, tmp_path / "next", 0).result(TIMEOUT_S)
    assert [metrics.epoch for metrics in seen] == [0, 1, 2, 3]
    assert isinstance(error, RunError)
    assert error.cause == "timeout"
    assert error.message == "the worker hangs: no epoch for 0.0333 min"
    assert "raise execution.stall_min" in error.hint
    assert "said before" in error.hint


def test_a_run_that_waits_for_a_worker_does_not_use_up_its_time(tmp_path):
    with ProcessExecutor(f"{HERE}:take_its_time", timeout_s=4.0) as executor:
        futures = [submit(executor, tmp_path / str(number)) for number in range(3)]  # 2.4 s each, 7.2 s in all
        assert all(future.result(TIMEOUT_S) for future in futures)


def _seconds_of_waiting():
    began = time.process_time()
    time.sleep(0.7)
    return time.process_time() - began


def test_an_executor_that_only_waits_costs_nothing(tmp_path):
    with ProcessExecutor(f"{HERE}:count") as executor:
        assert min(_seconds_of_waiting() for _ in range(3)) < 0.2  # of a busy machine other threads may take some
        assert executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore).result(TIMEOUT_S)
