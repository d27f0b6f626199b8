"""The fork server of `multiprocessing`, which has no public names for it: all that we know of its inside."""

import os
from multiprocessing import forkserver
from typing import Any

_SERVER: Any = forkserver._forkserver  # noqa: SLF001


def find_fork_server() -> int | None:
    """Name the process that is the fork server; None where there is none."""
    pid: int | None = _SERVER._forkserver_pid  # noqa: SLF001
    return pid


def stop_fork_server() -> None:
    """Wait for the end of the fork server, if there is one; the next start makes another."""
    _SERVER._stop()  # noqa: SLF001


def let_fork_server_go() -> None:
    """Close the end of the pipe that a worker inherits: else the fork server lives as long as the worker."""
    if _SERVER._forkserver_alive_fd is not None:  # noqa: SLF001
        os.close(_SERVER._forkserver_alive_fd)  # noqa: SLF001
        _SERVER._forkserver_alive_fd = None  # noqa: SLF001
