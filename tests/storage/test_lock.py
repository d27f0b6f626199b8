"""The lock is held by one process, names it, and is free once that process is dead."""

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from orchestrator.errors import SetupError
from orchestrator.storage.lock import hold_lock, read_owner

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.storage.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A second process that holds the lock."""
    path = tmp_path / "locks" / "demo.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_owner_is_refused_and_told_who_the_first_is(holder):
    path, process = holder
    with pytest.raises(SetupError, match=f"by process {process.pid} on .* since 2"), hold_lock(path):
        pass
    owner = read_owner(path)
    assert owner is not None
    assert owner.pid == process.pid


def test_a_killed_owner_leaves_the_lock_free(holder):
    path, process = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_owner(path) is None
    with hold_lock(path):
        owner = read_owner(path)
        assert owner is not None
        assert owner.pid == os.getpid()
    assert read_owner(path) is None


def test_a_look_at_the_lock_keeps_nobody_from_taking_it(tmp_path):
    path = tmp_path / "demo.lock"
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)  # as `read_owner` has it for an instant
        end = threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        with hold_lock(path):
            end.join()


def test_no_lock_file_has_no_owner(tmp_path):
    assert read_owner(tmp_path / "none.lock") is None
    assert list(tmp_path.iterdir()) == []
