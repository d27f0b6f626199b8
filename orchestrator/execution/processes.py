"""Runs in worker processes, one process a run: memory comes back, and a crash loses one run."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import RunError
from orchestrator.execution.child import (
    GRACE_S,
    STARTING,
    describe_death,
    end_children,
    end_processes,
    has_ended,
    hidden_main,
)
from orchestrator.execution.target import as_run_error
from orchestrator.execution.worker import work
from orchestrator.interfaces import EpochSink
from orchestrator.records import EpochMetrics, RunResult, RunSpec, Workplace

_STOPPED = "the executor was closed before the run ended"
_OPEN: set["ProcessExecutor"] = set()
"""Executors within their context: they share one fork server, which ends with the last of them."""


@dataclass(slots=True, kw_only=True)
class _Task:
    """A run that was submitted."""

    spec: RunSpec
    workplace: Workplace
    on_epoch: EpochSink
    future: Future[RunResult]
    slot: int = 0
    process: BaseProcess | None = None


class ProcessExecutor:
    """Runs at most `workers` specifications at a time, each in a fresh process.

    A fork server imports the target's module once, so a worker starts in a fraction of a second. It never touches
    CUDA. Epochs are delivered from a thread of this process, one thread a run.

    Args:
        target: `package.module:function` that trains.
        workers: Runs at the same time.
        gpus: GPUs to spread the runs over; 0 or 1 leaves the choice to the run.
    """

    def __init__(self, target: str, *, workers: int = 1, gpus: int = 0) -> None:
        self._target = target
        self._workers = workers
        self._gpus = gpus
        self._free = list(range(workers))
        self._waiting: deque[_Task] = deque()
        self._running: list[_Task] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._context = _start_method(target)

    @property
    def workers(self) -> int:
        """Runs at the same time."""
        return self._workers

    def __enter__(self) -> Self:
        _OPEN.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop what still runs, with its children, and the fork server."""
        with self._lock:
            self._closed = True
            waiting, threads = list(self._waiting), list(self._threads)
            self._waiting.clear()
            started = [task.process for task in self._running if task.process is not None]
        for task in waiting:
            task.future.cancel()
        end_processes(started)
        _OPEN.discard(self)
        if not _OPEN:  # a start that waits for the fork server's imports fails with it, and need not be waited for
            _end_fork_server()
        for thread in threads:
            thread.join()

    def submit(self, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> Future[RunResult]:
        """Queue a run; it starts as soon as a worker is free. Its future raises `RunError` when the run is lost."""
        task = _Task(spec=spec, workplace=workplace, on_epoch=on_epoch, future=Future())
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._waiting.append(task)
        self._start_waiting()
        return task.future

    def _start_waiting(self) -> None:
        with self._lock:
            while self._free and self._waiting and not self._closed:
                task = self._waiting.popleft()
                if not task.future.set_running_or_notify_cancel():
                    continue
                task.slot = self._free.pop(0)
                self._running.append(task)
                thread = threading.Thread(target=self._watch, args=(task,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _watch(self, task: _Task) -> None:
        """Start the worker of a task, deliver what it sends, and settle the future."""
        # inherited by fork server and workers: Ctrl-C reaches the whole terminal, and the main thread alone decides
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            outcome = self._run(task)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, this run alone is lost
            outcome = as_run_error(error)
        with self._lock:
            self._running.remove(task)
            self._free.append(task.slot)
            self._free.sort()
            stopped = self._closed
        if isinstance(outcome, RunResult):
            task.future.set_result(outcome)
        else:
            task.future.set_exception(RunError(_STOPPED) if stopped else outcome)
        self._start_waiting()

    def _run(self, task: _Task) -> RunResult | RunError:
        place = self._place(task)
        receiver, sender = self._context.Pipe(duplex=False)
        alive_receiver, alive_sender = self._context.Pipe(duplex=False)
        process: BaseProcess = self._context.Process(
            target=work, args=(self._target, task.spec, place, sender, alive_receiver), daemon=False
        )
        with receiver, alive_sender:
            try:
                with sender, alive_receiver, STARTING, hidden_main():
                    process.start()
            except Exception as error:  # noqa: BLE001 - of the fork server: it died, or has no memory left
                return RunError(f"the worker could not be started: {error!r}")
            try:
                self._enter(task, process)
                outcome = _receive(receiver, process, task.on_epoch)
            finally:
                code = self._end(process)
        return outcome or describe_death(code, Path(place.directory))

    def _enter(self, task: _Task, process: BaseProcess) -> None:
        """Note the process of a task, so that closing ends it; end it where that came too late."""
        with self._lock:
            task.process = process
            closed = self._closed
        if closed:
            end_processes([process])

    def _end(self, process: BaseProcess) -> int | None:
        """Wait for a worker that has nothing left to do, end what hangs, and give its exit code."""
        if not has_ended(process, GRACE_S):
            end_processes([process])
        end_children(process)
        with STARTING:
            process.join(0)
            return process.exitcode

    def _place(self, task: _Task) -> Workplace:
        threads = task.workplace.threads or max(1, _count_cores() // self._workers)
        gpu = task.workplace.gpu
        if gpu is None and self._gpus > 1:
            gpu = task.slot % self._gpus
        return task.workplace.model_copy(update={"threads": threads, "gpu": gpu})


def _start_method(target: str) -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # torch would initialise CUDA to look for devices, and no process can use it after a fork
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context.set_forkserver_preload([target.partition(":")[0]])
    return context


def _count_cores() -> int:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_fork_server() -> None:
    """End the fork server, also one that still imports. `multiprocessing` has no public end of it."""
    server: Any = forkserver._forkserver  # noqa: SLF001
    if server._forkserver_pid is not None:  # noqa: SLF001
        os.kill(server._forkserver_pid, signal.SIGKILL)  # noqa: SLF001
    server._stop()  # noqa: SLF001


def _receive(receiver: Connection, process: BaseProcess, on_epoch: EpochSink) -> RunResult | RunError | None:
    """Deliver epochs until the result or error comes; None where the worker died without either.

    The pipe's end alone would not tell: children of the worker may hold it open.
    """
    while receiver in wait([receiver, process.sentinel]):
        try:
            message = receiver.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, EpochMetrics):
            on_epoch(message)
        else:
            outcome: RunResult | RunError = message
            return outcome
    return None
