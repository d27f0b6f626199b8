"""Runs handed to workers, and what becomes of their processes."""

import time
from pathlib import Path

import psutil

from orchestrator.records.place import Workplace
from tests.execution.targets import ignore, spec

TIMEOUT_S = 60


def submit(executor, folder: Path, seed: int = 0, **workplace):
    return executor.submit(spec(seed), Workplace(directory=str(folder), **workplace), ignore)


def wait_until(condition, timeout_s: float = 20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def read_pid(path: Path) -> int:
    wait_until(path.exists)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
