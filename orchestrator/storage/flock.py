"""Locks on files. The system releases them when their owner dies, however it dies.

All of them are those of flock(2): each excludes the others on the same file, whichever function took it.
"""

import fcntl
from pathlib import Path
from typing import IO

from filelock import BaseFileLock, FileLock


def build_lock(path: Path, timeout_s: float = -1) -> BaseFileLock:
    """Build the exclusive lock of a file, which is made where it is not there; `with` takes it.

    A file system without such locks raises an error: the fallback of `filelock` would outlive its owner.

    Args:
        path: The file. What it holds stays.
        timeout_s: Seconds after which taking it raises `filelock.Timeout`; 0: at once, -1: never.
    """
    return FileLock(path, timeout=timeout_s, thread_local=False, fallback_to_soft=False)


def lock_open(file: IO[bytes] | IO[str], *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until it is closed, with all its maps; False where another one has it.

    `filelock` has neither shared locks nor those of a file that may only be read.

    Raises:
        OSError: The file system has no such locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
