"""The fork server of this process: how it is started, looked for and ended. `multiprocessing` hides all of that."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from typing import Any

from orchestrator.execution.child import KEEP_FREED_MEMORY, in_environment, leave_signals_to_the_main_thread
from orchestrator.execution.forkserver import find_fork_server, stop_fork_server
from orchestrator.execution.mortal import MORTAL

_LOSS_S = 0.2
"""Seconds in which the system says that a fork server is gone whose workers are."""
_KEEPER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork-server-keeper")
"""Its thread starts fork servers, and ends with this process: they hear of it then."""


def start_fork_server(context: Any) -> None:
    """Start the fork server, unless it runs, or `context` starts processes otherwise. The caller holds `STARTING`."""
    if context.get_start_method() == "forkserver":
        _KEEPER.submit(_start).result()


def _start() -> None:
    resource_tracker.ensure_running()  # else the server's start does it, and unblocks the signals again
    leave_signals_to_the_main_thread()
    with in_environment({MORTAL: "1", **KEEP_FREED_MEMORY}):
        forkserver.ensure_running()


def is_lost(server: int | None) -> bool:
    """Return whether a process that was the fork server has ended; its end is left to whoever starts the next one."""
    if server is None:
        return False
    deadline = time.monotonic() + _LOSS_S
    while time.monotonic() < deadline:
        try:
            if os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:  # somebody has started the next one
            return True
        time.sleep(_LOSS_S / 5)
    return False


def kill_fork_server() -> None:
    """Kill the fork server; its children die with it. It takes no lock: for a signal handler."""
    if (pid := find_fork_server()) is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_fork_server() -> None:
    """End the fork server, also one that still imports."""
    kill_fork_server()
    stop_fork_server()
