"""Locks exclude those of flock(2), taken by hand in another process, and go with their owner."""

import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
from filelock import Timeout

from orchestrator.errors import SetupError
from orchestrator.storage.flock import build_lock, lock_open
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.storage.lock import hold_lock

BY_HAND = """
import fcntl, sys
with open(sys.argv[1], "a+") as file:
    try:
        fcntl.flock(file, getattr(fcntl, sys.argv[2]) | fcntl.LOCK_NB)
    except BlockingIOError:
        print("refused", flush=True)
    else:
        print("held", flush=True)
        sys.stdin.read()
"""


def lock_by_hand(path, kind="LOCK_EX"):
    """Start a process that locks a file without our code, and read whether it could."""
    words = [sys.executable, "-c", BY_HAND, str(path), kind]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def try_by_hand(path, kind="LOCK_EX"):
    process, said = lock_by_hand(path, kind)
    process.communicate("")
    return said


def take_all(path, root):
    """Try every lock of ours at once; says which of them could be had."""
    with ExitStack() as stack:
        try:
            stack.enter_context(build_lock(path, timeout_s=0))
            yield "by name"
        except Timeout:
            pass
    with path.open("rb") as file:
        if lock_open(file):
            yield "open file"
    with ExitStack() as until:
        if Ledger(root).claim("f", until):
            yield "claim"
    try:
        with hold_lock(path):
            yield "sweep"
    except SetupError:
        pass


def test_a_lock_taken_by_hand_excludes_each_of_ours_until_its_owner_is_killed(tmp_path):
    root = Root.at(tmp_path)
    claim = Ledger(root).directory("f") / "claim.lock"
    claim.parent.mkdir(parents=True)
    path = tmp_path / "demo.lock"
    holders = [lock_by_hand(path), lock_by_hand(claim)]
    assert [said for _, said in holders] == ["held", "held"]
    assert list(take_all(path, root)) == []
    for process, _ in holders:
        process.kill()
        process.communicate()
    assert list(take_all(path, root)) == ["by name", "open file", "claim", "sweep"]


def test_ours_exclude_one_taken_by_hand_and_leave_what_the_file_holds(tmp_path):
    path = tmp_path / "demo.lock"
    path.write_text("kept")
    with build_lock(path):
        assert (try_by_hand(path), try_by_hand(path, "LOCK_SH")) == ("refused", "refused")
    assert path.read_text() == "kept"
    with path.open("rb") as file:
        assert lock_open(file, shared=True)
        assert (try_by_hand(path), try_by_hand(path, "LOCK_SH")) == ("refused", "held")
        assert list(take_all(path, Root.at(tmp_path))) == ["claim"]
    assert try_by_hand(path) == "held"


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    path = tmp_path / "demo.lock"
    context = multiprocessing.get_context("fork")
    told, telling = context.Pipe(duplex=False)
    with build_lock(path):
        child = context.Process(target=told.recv, daemon=True)
        child.start()
        assert try_by_hand(path) == "refused"
    assert try_by_hand(path) == "held"
    telling.send("end")
    child.join()
    assert child.exitcode == 0


def test_one_thread_takes_a_lock_and_another_gives_it_back(tmp_path):
    ledger = Ledger(Root.at(tmp_path))
    until = ExitStack()
    thread = threading.Thread(target=lambda: ledger.claim("f", until))
    thread.start()
    thread.join()
    with ExitStack() as other:
        assert not ledger.claim("f", other)
    until.close()
    with ExitStack() as other:
        assert ledger.claim("f", other)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"demo\.lock"), build_lock(tmp_path / "demo.lock"):
        pass
