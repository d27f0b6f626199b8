"""Worker processes: however they end, the parent says how, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import RunError, RunStoppedError
from orchestrator.execution import child, processes
from orchestrator.execution.calls import calling_apart
from orchestrator.execution.forkserver import find_fork_server
from orchestrator.execution.later import LATER
from orchestrator.execution.processes import ProcessExecutor, loading_ahead
from orchestrator.machine.limits import Cores
from tests.execution.targets import HERE, read
from tests.execution.watching import TIMEOUT_S, is_alive, read_pid, submit, wait_until


def error_of(target: str, folder: Path) -> RunError:
    with ProcessExecutor(f"{HERE}:{target}") as executor:
        error = submit(executor, folder).exception(TIMEOUT_S)
    assert type(error) is RunError
    return error


def test_a_killed_worker_names_the_signal_and_shows_its_last_output(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    error = error_of("speak_and_die", tmp_path)
    assert error.message == "the worker died from signal 9 (SIGKILL)"
    assert "last words on stdout" in error.hint
    assert "last words on stderr" in error.hint
    assert (error.cause, error.may_pass) == ("died", True)


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path):
    error = error_of("die_of_an_unnamed_signal", tmp_path)
    assert error.message == f"the worker died from signal {signal.SIGRTMIN + 1} (unnamed)"


def test_a_worker_that_vanishes_tells_its_exit_code(tmp_path):
    error = error_of("vanish", tmp_path)
    assert (error.message, error.hint) == (
        "the worker died from exit code 7",
        "too little memory? see the system's log",
    )


def test_sys_exit_in_a_run_loses_that_run_only(tmp_path):
    error = error_of("leave", tmp_path)
    assert error.message == "SystemExit: 3"
    assert "sys.exit(3)" in error.hint


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    error = error_of("count", tmp_path / "file")
    assert "FileExistsError" in error.message
    assert str(tmp_path / "file") in error.message


def test_a_lost_run_does_not_hold_up_the_next(tmp_path):
    with ProcessExecutor(f"{HERE}:vanish") as executor:
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(3)]
        assert [future.exception(TIMEOUT_S).message for future in futures] == ["the worker died from exit code 7"] * 3


def test_each_run_has_a_process_of_its_own(tmp_path):
    with ProcessExecutor(f"{HERE}:look") as executor:
        seen = [read(submit(executor, tmp_path / str(seed), seed).result(TIMEOUT_S)) for seed in range(2)]
    assert len({run["pid"] for run in seen} | {os.getpid()}) == 3
    assert all(run["group"] == run["pid"] for run in seen)


@pytest.mark.parametrize("workers", [1, 2])
def test_so_many_run_at_a_time_and_share_the_cores(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(processes, "count_cores", lambda: 7)
    with ProcessExecutor(f"{HERE}:look", workers=workers) as executor:
        assert executor.workers == workers
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(4)]
        seen = [read(future.result(TIMEOUT_S)) for future in futures]
    beside = [sum(b["began"] <= a["began"] < b["ended"] for b in seen) for a in seen]
    assert max(beside) <= workers  # at each start, itself included
    assert {run["threads"] for run in seen} == {7 // workers}


def test_libraries_start_no_more_threads_than_a_container_pays_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(child, "read_cores", lambda: Cores(usable=1, quota=1.5))
    child.start_method("json")
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    child.start_method("json")
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(child, "read_cores", lambda: Cores(usable=16))
    child.start_method("json")
    assert "OMP_NUM_THREADS" not in os.environ


def test_more_workers_than_cores_have_a_thread_each(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count_cores", lambda: 2)
    with ProcessExecutor(f"{HERE}:look", workers=3) as executor:
        assert read(submit(executor, tmp_path).result(TIMEOUT_S))["threads"] == 1
        assert read(submit(executor, tmp_path, threads=5).result(TIMEOUT_S))["threads"] == 5


@pytest.mark.parametrize(("gpus", "expected"), [(0, {None}), (1, {0}), (2, {0, 1})])
def test_runs_are_spread_over_several_gpus(tmp_path, gpus, expected):
    with ProcessExecutor(f"{HERE}:look", workers=2, gpus=gpus) as executor:
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(2)]
        assert {read(future.result(TIMEOUT_S))["gpu"] for future in futures} == expected
        assert read(submit(executor, tmp_path, gpu=5).result(TIMEOUT_S))["gpu"] == 5


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_run_that_must_be_alone_waits_for_the_others_and_nobody_starts_beside_it(tmp_path, gpus):
    with ProcessExecutor(f"{HERE}:look", workers=3, gpus=gpus) as executor:
        futures = [submit(executor, tmp_path / str(seed), seed, alone=seed == 1) for seed in range(4)]
        seen = [read(future.result(TIMEOUT_S)) for future in futures]
    alone, others = seen[1], [seen[0], seen[2], seen[3]]
    assert all(other["ended"] <= alone["began"] or alone["ended"] <= other["began"] for other in others)


def test_output_goes_to_the_log_and_not_to_the_terminal(tmp_path, capfd):
    with ProcessExecutor(f"{HERE}:speak") as executor:
        submit(executor, tmp_path).result(TIMEOUT_S)
    assert (tmp_path / "worker.log").read_text().splitlines() == ["said by the run", "said by its child"]
    assert capfd.readouterr() == ("", "")


def test_a_worker_does_not_hear_ctrl_c(tmp_path):
    with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
        future = submit(executor, tmp_path)
        worker = read_pid(tmp_path / "worker")
        os.kill(worker, signal.SIGINT)
        (tmp_path / "go").touch()
        assert read(future.result(TIMEOUT_S)) == {"pid": worker}


def test_leaving_the_context_ends_workers_with_their_children(tmp_path):
    with ProcessExecutor(f"{HERE}:sleep", workers=2) as executor:
        futures = [submit(executor, tmp_path / str(seed), seed) for seed in range(3)]
        pids = [read_pid(tmp_path / str(seed) / name) for seed in range(2) for name in ("worker", "child")]
        assert all(map(is_alive, pids))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    wait_until(lambda: not any(map(is_alive, pids)))
    for future in futures[:2]:
        with pytest.raises(RunStoppedError, match="the executor was closed before the run ended"):
            future.result(0)
    with pytest.raises(CancelledError, match=r"^$"):
        futures[2].result(0)
    with pytest.raises(RuntimeError, match="the executor is closed"):
        submit(executor, tmp_path)


def test_what_was_loaded_ahead_serves_the_executor_and_ends_with_its_context(tmp_path):
    with loading_ahead(f"{HERE}:wait_for_go"):
        loaded = psutil.Process().children()  # the fork server, and whoever looks after its resources
        with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
            future = submit(executor, tmp_path)
            server = psutil.Process(read_pid(tmp_path / "worker")).parent()
            assert server in loaded
            (tmp_path / "go").touch()
            assert future.result(TIMEOUT_S)
    assert not is_alive(server.pid)


def test_signals_of_a_terminal_do_not_reach_a_fork_server_that_loads(tmp_path):
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(30)")
    program = (
        "import os, signal, time\n"
        "from orchestrator.execution import processes\n"
        "from orchestrator.execution.forkserver import find_fork_server\n"
        "with processes.loading_ahead('slow_import:run'):\n"
        "    server = find_fork_server()\n"
        "    time.sleep(0.5)\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        "        os.kill(server, number)\n"
        "    time.sleep(0.5)\n"
        "    print(os.waitpid(server, os.WNOHANG))\n"
    )
    root = str(Path(processes.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "(0, 0)\n", done.stderr


def test_a_run_that_loses_its_fork_server_begins_again_and_is_not_lost(tmp_path):
    """The server takes its workers along: that says nothing of the run, and is no attempt of it."""
    with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
        future = submit(executor, tmp_path)
        first = read_pid(tmp_path / "worker")
        (tmp_path / "worker").unlink()
        os.kill(find_fork_server(), signal.SIGKILL)
        second = read_pid(tmp_path / "worker")
        (tmp_path / "go").touch()
        assert read(future.result(TIMEOUT_S)) == {"pid": second}
        assert first != second


def test_what_was_loaded_ahead_in_vain_ends_at_once(tmp_path, monkeypatch):
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(30)")
    monkeypatch.chdir(tmp_path)
    with loading_ahead("slow_import:run"):
        pid = find_fork_server()
        assert is_alive(pid)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    wait_until(lambda: not is_alive(pid))


def test_what_runs_need_is_loaded_beside_the_first_call(tmp_path, monkeypatch):
    loaded = tmp_path / "loaded"
    (tmp_path / "first_part.py").write_text("import os\ndef look(path, say): return os.getppid(), path.exists()\n")
    (tmp_path / "second_part.py").write_text(
        f"import os, pathlib, time\ntime.sleep(6)\npathlib.Path({str(loaded)!r}).write_text(str(os.getpid()))\n"
    )
    monkeypatch.chdir(tmp_path)
    target = "second_part:run"
    with loading_ahead(target, first="first_part"), calling_apart(target, "first_part:look", loaded) as going:
        server, was_there = going.result(str)
        assert not was_there
        wait_until(lambda: loaded.exists() and loaded.read_text() == str(server))
        assert LATER not in os.environ


def test_closing_does_not_wait_for_the_fork_servers_imports(tmp_path, monkeypatch):
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(30)")
    monkeypatch.chdir(tmp_path)
    with ProcessExecutor("slow_import:run") as executor:
        future = submit(executor, tmp_path)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with pytest.raises(RunStoppedError, match="the executor was closed"):
        future.result(0)


def test_a_worker_that_dies_beside_a_fork_is_noticed_and_the_fork_ended(tmp_path):
    began = time.monotonic()
    error = error_of("die_beside_a_fork", tmp_path)
    assert error.message == "the worker died from signal 9 (SIGKILL)"
    assert time.monotonic() - began < 20
    wait_until(lambda: not is_alive(read_pid(tmp_path / "child")))


def test_a_worker_that_does_not_end_after_its_result_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 0.2)
    with ProcessExecutor(f"{HERE}:leave_a_thread") as executor:
        assert submit(executor, tmp_path).result(TIMEOUT_S)


def test_a_child_that_a_finished_run_left_is_ended(tmp_path):
    with ProcessExecutor(f"{HERE}:leave_a_child") as executor:
        assert submit(executor, tmp_path).result(TIMEOUT_S)
        wait_until(lambda: not is_alive(read_pid(tmp_path / "child")))


def test_a_run_that_waits_can_be_cancelled_and_one_that_runs_cannot(tmp_path):
    with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
        first, second, third = (submit(executor, tmp_path / str(seed), seed) for seed in range(3))
        read_pid(tmp_path / "0" / "worker")
        assert not first.cancel()
        assert second.cancel()
        for seed in (0, 2):
            (tmp_path / str(seed)).mkdir(exist_ok=True)
            (tmp_path / str(seed) / "go").touch()
        assert first.result(TIMEOUT_S)
        assert third.result(TIMEOUT_S)
    assert not (tmp_path / "1").exists()


def test_one_executor_that_closes_leaves_anothers_runs_alone(tmp_path):
    with ProcessExecutor(f"{HERE}:wait_for_go") as executor:
        future = submit(executor, tmp_path / "one")
        worker = read_pid(tmp_path / "one" / "worker")
        with ProcessExecutor(f"{HERE}:count") as other:
            assert submit(other, tmp_path / "two").result(TIMEOUT_S)
        (tmp_path / "one" / "go").touch()
        assert read(future.result(TIMEOUT_S)) == {"pid": worker}


@pytest.mark.parametrize(("target", "tellers"), [("sleep", ("worker", "child")), ("hang", ("worker",))])
def test_a_parent_that_is_killed_leaves_no_orphan(tmp_path, target, tellers):
    parent = subprocess.Popen([sys.executable, "-m", HERE, str(tmp_path), target])
    try:
        pids = [read_pid(tmp_path / str(seed) / name) for seed in range(2) for name in tellers]
        everyone = psutil.Process(parent.pid).children(recursive=True)
        assert set(pids) <= {process.pid for process in everyone}
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(is_alive(process.pid) for process in everyone))


def test_a_parent_that_is_killed_leaves_no_orphan_that_is_halted(tmp_path):
    """Halted, neither workers nor the fork server could see that it is gone."""
    parent = subprocess.Popen([sys.executable, "-m", HERE, str(tmp_path), "hang"])
    try:
        workers = [read_pid(tmp_path / str(seed) / "worker") for seed in range(2)]
        server = psutil.Process(workers[0]).ppid()
        everyone = psutil.Process(parent.pid).children(recursive=True)
        assert {server, *workers} <= {process.pid for process in everyone}
        for pid in (server, *workers):
            os.kill(pid, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(is_alive(process.pid) for process in everyone))


def test_a_script_without_a_guard_runs_once(tmp_path):
    """Else each worker would import the user's script, and sweep once more."""
    script = tmp_path / "script.py"
    script.write_text(f"""\
import sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from orchestrator.execution.processes import ProcessExecutor
from tests.execution.targets import HERE
from tests.execution.watching import submit
open({str(tmp_path / "ran")!r}, "a").write("ran\\n")
with ProcessExecutor(HERE + ":count") as executor:
    submit(executor, Path({str(tmp_path)!r})).result(30)
assert sys.modules["__main__"].__file__.endswith("script.py")
""")
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)
    assert (tmp_path / "ran").read_text() == "ran\n"
