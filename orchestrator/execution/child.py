"""One worker process, as its parent sees it: how it is started, how it ended, how it is ended."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import RunError
from orchestrator.execution import mortal
from orchestrator.execution.sockets import settle_socket_folder
from orchestrator.execution.worker import WORKER_LOG
from orchestrator.machine.limits import read_cores

GRACE_S = 5.0
"""Seconds that a worker has to end by itself once it has nothing left to do, and after SIGKILL."""
STARTING = threading.Lock()
"""Held to start a process or to take its exit code: a start polls all children, and a code can be read only once."""
_LOG_TAIL = 2000
"""Characters of a dead worker's output that its error shows."""
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
"""Environment (bytes) in which glibc hands freed memory out again, not back to the system, which would clear its pages.

A training step frees and takes the same gradients and activations each time; all goes when the process ends.
"""


def start_method(*modules: str) -> Any:
    """Return what starts workers: a fork server that loads `modules` in turn; where there is none, fresh processes.

    Raises:
        SetupError: There is no folder for the sockets of processes.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    settle_socket_folder()
    context = multiprocessing.get_context("forkserver")
    # torch would initialise CUDA to look for devices, and no process can use it after a fork
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    cores = read_cores()
    if cores.quota is not None:  # torch would start a thread for each core of the machine, and all wait for their turn
        os.environ.setdefault("OMP_NUM_THREADS", str(cores.usable))
    context.set_forkserver_preload([mortal.__name__, *modules])
    return context


def leave_signals_to_the_main_thread() -> None:
    """Block Ctrl-C and SIGTERM in this thread, and in the fork server and workers that it starts.

    Both reach a whole terminal or service: the main thread alone decides, and workers unblock SIGTERM once they listen.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started meanwhile; what the user has set stays."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def hidden_main() -> Iterator[None]:
    """Keep workers that are started meanwhile from running the user's script once more.

    `multiprocessing` imports the parent's main module in each child, for functions that are defined there; ours are
    not, and a script that sweeps without `if __name__ == "__main__"` would sweep again in each worker.
    """
    main = sys.modules["__main__"]
    anonymous = ModuleType("__main__")
    anonymous.__dict__.update({name: value for name, value in vars(main).items() if name != "__file__"})
    anonymous.__spec__ = None
    sys.modules["__main__"] = anonymous
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def has_ended(process: BaseProcess, timeout_s: float = 0.0) -> bool:
    """Wait for a process's end without taking its exit code, which only one thread may do."""
    return bool(wait([process.sentinel], timeout_s))


def ask_to_stop(process: BaseProcess) -> None:
    """Tell a worker, and none of its children, to stop at the end of its epoch."""
    if process.pid is not None and not has_ended(process):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGTERM)


def kill_processes(processes: Sequence[BaseProcess]) -> None:
    """End workers with all their children, at once; what they write is whole or not there at any moment."""
    for process in processes:
        _kill(process)
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        has_ended(process, max(0.0, deadline - time.monotonic()))


def end_process(process: BaseProcess) -> int | None:
    """Wait for a worker that has nothing left to do, end what hangs, and give its exit code."""
    if not has_ended(process, GRACE_S):
        kill_processes([process])
    _end_children(process)
    with STARTING:
        process.join(0)
        return process.exitcode


def _end_children(process: BaseProcess) -> None:
    """End what a worker that is gone has left in its process group."""
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _kill(process: BaseProcess) -> None:
    if process.pid is None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
        return
    if not has_ended(process):  # before setsid it is in the fork server's group, and must be ended alone
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)


def describe_death(code: int | None, folder: Path, *, memory_was_short: bool = False) -> RunError:
    """Describe how a worker died that sent neither result nor error.

    Args:
        code: Its exit code.
        folder: Of the run.
        memory_was_short: Whether the system has killed for want of memory while it ran.
    """
    if code == -signal.SIGKILL and memory_was_short:
        return RunError(
            "the worker was killed by the system, which had no memory left",
            hint="fewer runs at a time (execution.workers), a smaller data.batch_size or data.memory_mb take less",
            cause="out_of_memory",
        )
    hint = last_output(folder) or "too little memory? see the system's log"
    return RunError(f"the worker died from {name_death(code)}", hint=hint, cause="died")


def name_death(code: int | None) -> str:
    """Name what a process with this exit code died from."""
    return f"signal {-code} ({_signal_name(-code)})" if code is not None and code < 0 else f"exit code {code}"


def last_output(folder: Path) -> str | None:
    """Read what a worker printed last; None where it said nothing."""
    try:
        tail = (folder / WORKER_LOG).read_text(errors="replace")[-_LOG_TAIL:].strip()
    except OSError:
        return None
    return f"its last output:\n{tail}" if tail else None


def _signal_name(number: int) -> str:
    with suppress(ValueError):  # most real-time signals have no name
        return signal.Signals(number).name
    return "unnamed"
