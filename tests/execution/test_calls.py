"""Calls in a forked process: the answer, errors and messages come back as they were, and nothing is left behind."""

import os
import sys
import threading
from multiprocessing.process import BaseProcess

import psutil
import pytest

from orchestrator.errors import RunError, SetupError
from orchestrator.execution.calls import calling_apart, calling_here
from orchestrator.execution.processes import ProcessExecutor, loading_ahead
from tests.execution.watching import TIMEOUT_S, is_alive, read_pid, wait_until

HERE = "tests.execution.called"
TARGET = f"{HERE}:add"


@pytest.fixture(autouse=True)
def server():
    """A fork server that ends with the test."""
    with loading_ahead(TARGET):
        yield


def call(name: str, *args: object):
    with calling_apart(TARGET, f"{HERE}:{name}", *args) as going:
        return going.result(str)


@pytest.mark.parametrize("calling", [calling_here, lambda *words: calling_apart(TARGET, *words)])
def test_what_is_said_is_heard_in_this_thread_in_order_and_before_the_answer(calling):
    heard = []
    with calling(f"{HERE}:add", 2, 3) as going:
        assert going.result(lambda text: heard.append((text, threading.current_thread()))) == 5
    assert heard == [(f"adding {number}", threading.main_thread()) for number in (2, 3)]


def test_it_happens_in_a_process_of_its_own_that_the_workers_fork_server_forks():
    pid, server = call("name_processes")
    assert os.getpid() not in {pid, server}
    with ProcessExecutor(TARGET):
        assert call("name_processes")[1] == server


def test_an_error_of_ours_comes_as_it_is():
    with pytest.raises(SetupError, match=r"^no data$") as caught:
        call("refuse")
    assert caught.value.hint == "connect once"


def test_an_error_that_nobody_expected_says_where_it_came_from():
    with pytest.raises(ZeroDivisionError) as caught:
        call("divide")
    assert "in divide" in "\n".join(caught.value.__notes__)


def test_an_error_that_does_not_travel_is_told_in_words():
    with pytest.raises(RunError, match=r"^StrangeError: strange: 7") as caught:
        call("be_strange")
    assert "in be_strange" in (caught.value.hint or "")


def test_a_process_that_dies_says_how():
    with pytest.raises(SetupError, match=r"called:die died from signal 9 \(SIGKILL\)"):
        call("die")


def test_a_process_that_cannot_be_started_says_why(monkeypatch):
    def refuse(*_):
        raise OSError("no memory")

    monkeypatch.setattr(BaseProcess, "start", refuse)
    with pytest.raises(SetupError, match=r"no process could be started for .*no memory"):
        call("add", 1, 2)


def test_it_ends_with_its_context(tmp_path):
    with calling_apart(TARGET, f"{HERE}:sleep", tmp_path):
        pid = read_pid(tmp_path / "pid")
        assert is_alive(pid)
    wait_until(lambda: not is_alive(pid))


def test_it_ends_with_its_parent(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from orchestrator.execution.calls import calling_apart\n"
        f"with calling_apart({TARGET!r}, '{HERE}:sleep', Path({str(tmp_path)!r})) as going:\n"
        "    going.result(str)\n"
    )
    parent = psutil.Popen([sys.executable, "-c", program])
    pid = read_pid(tmp_path / "pid")
    parent.kill()
    parent.wait(TIMEOUT_S)
    wait_until(lambda: not is_alive(pid))


def test_a_process_that_has_answered_gives_back_what_it_holds(tmp_path):
    assert call("answer_and_end", tmp_path / "ended") is None
    wait_until((tmp_path / "ended").exists)
