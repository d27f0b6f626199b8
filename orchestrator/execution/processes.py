"""Runs in worker processes, one process a run: memory comes back, and a crash loses one run."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import RunError
from orchestrator.execution.worker import WORKER_LOG, work
from orchestrator.interfaces import EpochSink
from orchestrator.records import EpochMetrics, RunResult, RunSpec, Workplace

_GRACE_S = 5.0
"""Seconds from SIGTERM to SIGKILL."""
_LOG_TAIL = 2000
"""Characters of a dead worker's output that its error shows."""


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
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop what still runs, with its children, and the fork server."""
        with self._lock:
            self._closed = True
            for task in self._waiting:
                task.future.cancel()
            self._waiting.clear()
            running = list(self._running)
        for task in running:
            _stop(task.process)
        for thread in self._threads:
            thread.join()
        if self._context.get_start_method() == "forkserver":
            forkserver._forkserver._stop()  # type: ignore[attr-defined] # noqa: SLF001 - it has no public end

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
                task.slot = self._free.pop(0)
                self._running.append(task)
                thread = threading.Thread(target=self._watch, args=(task,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _watch(self, task: _Task) -> None:
        """Start the worker of a task, deliver what it sends, and settle the future."""
        try:
            outcome = self._run(task)
        except Exception as error:  # noqa: BLE001 - a start that fails loses this run only
            outcome = RunError(f"the worker could not be started: {error!r}")
        with self._lock:
            self._running.remove(task)
            self._free.append(task.slot)
            self._free.sort()
        if isinstance(outcome, RunResult):
            task.future.set_result(outcome)
        else:
            task.future.set_exception(outcome)
        self._start_waiting()

    def _run(self, task: _Task) -> RunResult | RunError:
        receiver, sender = self._context.Pipe(duplex=False)
        alive_receiver, alive_sender = self._context.Pipe(duplex=False)
        with receiver, alive_sender:
            place = self._place(task)
            process = self._context.Process(
                target=work, args=(self._target, task.spec, place, sender, alive_receiver), daemon=False
            )
            with self._lock:
                if self._closed:
                    return RunError("the sweep was stopped")
                process.start()
                task.process = process
            sender.close()
            alive_receiver.close()
            outcome = _receive(receiver, task.on_epoch)
            process.join()
        return outcome or _describe_death(process.exitcode, Path(place.directory))

    def _place(self, task: _Task) -> Workplace:
        threads = task.workplace.threads or max(1, len(os.sched_getaffinity(0)) // self._workers)
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


def _receive(receiver: Connection, on_epoch: EpochSink) -> RunResult | RunError | None:
    """Deliver epochs until the result or error comes; None where the worker died without either."""
    while True:
        try:
            message = receiver.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, EpochMetrics):
            on_epoch(message)
        else:
            outcome: RunResult | RunError = message
            return outcome


def _describe_death(code: int | None, folder: Path) -> RunError:
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = f"signal {-code} ({signal.Signals(-code).name})"
    with suppress(OSError):
        tail = (folder / WORKER_LOG).read_text(errors="replace")[-_LOG_TAIL:].strip()
        if tail:
            return RunError(f"the worker died from {how}", hint=f"its last output:\n{tail}")
    return RunError(f"the worker died from {how}", hint="too little memory? see the system's log")


def _stop(process: BaseProcess | None) -> None:
    """End a worker and its children: politely, then for sure."""
    if process is None or process.pid is None:
        return
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            # before setsid the worker still is in the fork server's group, and must be ended alone
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, sent)
            else:
                os.kill(process.pid, sent)
        process.join(_GRACE_S)
        if process.exitcode is not None:
            return
