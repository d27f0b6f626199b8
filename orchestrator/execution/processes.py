"""Runs in worker processes, one process a run: memory comes back, and a crash loses one run."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from orchestrator.errors import RunError, RunStoppedError
from orchestrator.execution import later
from orchestrator.execution.child import (
    STARTING,
    ask_to_stop,
    describe_death,
    end_process,
    hidden_main,
    in_environment,
    kill_processes,
    leave_signals_to_the_main_thread,
    start_method,
)
from orchestrator.execution.delivery import Deliveries, RunFuture
from orchestrator.execution.forkserver import find_fork_server
from orchestrator.execution.seats import Seats
from orchestrator.execution.server import (
    end_fork_server,
    is_lost,
    kill_fork_server,
    start_fork_server,
)
from orchestrator.execution.shortage import count_memory_kills
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.target import as_run_error, module_of
from orchestrator.execution.task import Limits, Task
from orchestrator.execution.worker import STOP_AT_ONCE, work
from orchestrator.interfaces import EpochSink
from orchestrator.machine.limits import count_cores
from orchestrator.records.place import Workplace
from orchestrator.records.prepared import Prepared
from orchestrator.records.runs import EpochMetrics, RunOutcome
from orchestrator.records.spec import RunSpec

STOP_GRACE_S = 10.0
"""Seconds that a worker has to end its epoch once it was asked to stop."""
AT_ONCE_S = 2.0
"""Seconds that workers have to keep their last whole epoch where all is ended at once."""
_POLL_S = 0.1
"""Seconds from one look at the workers to the next."""
_SERVERS_LOST = 3
"""Fork servers that a run may lose before it counts as lost itself."""
_CLOSED = "the executor was closed before the run ended"
_NOT_BEGUN = "stopped on request before it began"
_OPEN: set["ProcessExecutor"] = set()
"""Executors within their context: they share one fork server, which ends with the last of them."""


class ProcessExecutor:
    """Runs at most `workers` specifications at a time, each in a fresh process.

    A fork server imports the target's module once, so a worker starts in a fraction of a second. It never touches
    CUDA. A thread of this process receives what a run sends, until `wait` delivers it; one more thread looks after the
    workers, and ends those that hang, take too long or do not stop.

    Args:
        target: `package.module:function` that trains.
        workers: Runs at the same time.
        gpus: GPUs to spread the runs over: each run gets the one with the fewest runs; 0: there is none.
        timeout_s: Seconds after which a run is ended and lost; None: no limit.
        stall_s: Seconds without an epoch after which it likewise is; None: no limit.
    """

    def __init__(
        self,
        target: str,
        *,
        workers: int = 1,
        gpus: int = 0,
        timeout_s: float | None = None,
        stall_s: float | None = None,
    ) -> None:
        self._target = target
        self._workers = workers
        self._gpus = gpus
        self._limits = Limits(timeout_s=timeout_s, stall_s=stall_s)
        self._free = workers
        self._seats = Seats(gpus)
        self._waiting: deque[Task] = deque()
        self._running: list[Task] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._deliveries = Deliveries()
        self._stop = StopRequest()
        self._stop_deadline: float | None = None
        self._closed = threading.Event()
        self._context = start_method(module_of(target))

    @property
    def workers(self) -> int:
        """Runs at the same time."""
        return self._workers

    @property
    def processes(self) -> list[BaseProcess]:
        """Processes of the runs under way. It takes no lock: for a signal handler."""
        return [task.process for task in list(self._running) if task.process is not None]

    def __enter__(self) -> Self:
        _OPEN.add(self)
        with self._lock:
            self._start_thread(self._look_after)
        return self

    def __exit__(self, *exception: object) -> None:
        """End what still runs at once, with its children, and the fork server."""
        with self._lock:
            self._closed.set()
            waiting, threads = list(self._waiting), list(self._threads)
            self._waiting.clear()
            started = self.processes
        for task in waiting:
            task.future.cancel()
        kill_processes(started)
        _OPEN.discard(self)
        for thread in threads:
            while thread.is_alive():  # a start that waits for the fork server's imports fails with it
                self._end_own_fork_server()
                thread.join(_POLL_S)
        self._end_own_fork_server()
        self._deliveries.finish()

    def submit(self, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> Future[RunOutcome]:
        """Queue a run; it starts as soon as a worker is free. Its future raises `RunError` when the run is lost."""
        task = Task(spec=spec, workplace=workplace, on_epoch=on_epoch, future=RunFuture(self.wait))
        if self._stop.asked:
            task.future.set_exception(RunStoppedError(_NOT_BEGUN))
            return task.future
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the executor is closed")
            self._waiting.append(task)
        self._start_waiting()
        return task.future

    def wait(self, timeout_s: float) -> None:
        """Deliver an epoch or complete a future; where nothing has happened, wait for it."""
        self._deliveries.wait(timeout_s)

    def stop(self) -> None:
        """Ask all runs to stop at the end of their epoch; those that have not after 10 s are killed.

        Returns at once. Safe in a signal handler: it sets what the looking thread sees.
        """
        self._stop.ask()

    def _start_thread(self, function: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _look_after(self) -> None:
        """End runs that hang, take too long, or do not stop, until the executor is closed."""
        leave_signals_to_the_main_thread()
        while not self._closed.wait(_POLL_S):
            with self._lock:
                running = list(self._running)
            if self._stop.asked:
                self._stop_all(running)
                continue
            for task in running:
                if task.process is not None and task.verdict is None:
                    task.verdict = self._limits.exceeded(task)
                    if task.verdict is not None:
                        kill_processes([task.process])

    def _stop_all(self, running: Sequence[Task]) -> None:
        """Ask workers to stop, and end those that had their time."""
        if self._stop_deadline is None:
            self._stop_deadline = time.monotonic() + STOP_GRACE_S
        self._refuse_waiting()
        started = [task.process for task in running if task.process is not None]
        for task in running:
            if task.process is not None and not task.asked:
                task.asked = True
                ask_to_stop(task.process)
        if not running or (started and time.monotonic() < self._stop_deadline):
            return
        for task in running:
            task.verdict = RunStoppedError(f"stopped on request: its epoch did not end within {STOP_GRACE_S:g} s")
        kill_processes(started)
        if len(started) < len(running):  # a start waits for the fork server's imports
            self._end_own_fork_server()

    def _end_own_fork_server(self) -> None:
        """End the fork server, unless another executor uses it too."""
        if {self} >= _OPEN:
            end_fork_server()

    def _refuse_waiting(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for task in waiting:
            if task.future.set_running_or_notify_cancel():
                self._deliveries.put(partial(task.settle, RunStoppedError(_NOT_BEGUN)))

    def _start_waiting(self) -> None:
        with self._lock:
            for task in list(self._waiting):
                if not self._free or self._closed.is_set() or self._stop.asked:
                    return
                seat = self._seats.take(task, alone=task.workplace.alone, only=task.workplace.gpu)
                if seat is None:  # it waits for a GPU of its own, or somebody else does
                    continue
                self._waiting.remove(task)
                if not task.future.set_running_or_notify_cancel():
                    self._seats.leave(seat)
                    continue
                self._free -= 1
                task.seat = seat
                self._running.append(task)
                self._start_thread(self._watch, task)

    def _watch(self, task: Task) -> None:
        """Start the worker of a task, and have what it sends and how it ends delivered."""
        leave_signals_to_the_main_thread()
        try:
            outcome = self._run(task)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, this run alone is lost
            outcome = as_run_error(error)
        with self._lock:
            self._running.remove(task)
            self._free += 1
            self._seats.leave(task.seat)
        if isinstance(outcome, RunError):
            outcome = self._judge(task, outcome)
        self._deliveries.put(partial(task.settle, outcome))
        self._start_waiting()

    def _judge(self, task: Task, error: RunError) -> RunError:
        """Explain why a run ended without a result: a worker that was ended died for the reason that it was given."""
        if task.verdict is not None:
            return task.verdict
        if self._closed.is_set():
            return RunStoppedError(_CLOSED)
        if self._stop.asked:
            return RunStoppedError("stopped on request: its worker is gone") if error.cause == "died" else error
        if isinstance(error, RunStoppedError):  # SIGTERM came from elsewhere
            return RunError(f"the worker was told to stop by SIGTERM: {error.message}", cause="died")
        return error

    def _run(self, task: Task) -> RunOutcome | RunError:
        """Run a task; again where the fork server was lost, with all its workers: that says nothing of the run."""
        for _ in range(_SERVERS_LOST):
            before = find_fork_server()
            outcome = self._run_once(task)
            died = isinstance(outcome, RunError) and outcome.cause == "died" and task.verdict is None
            if not died or self._stop.asked or self._closed.is_set() or not is_lost(task.server or before):
                break
            task.process = None
        return outcome

    def _run_once(self, task: Task) -> RunOutcome | RunError:
        place = self._place(task)
        receiver, sender = self._context.Pipe(duplex=False)
        alive_receiver, alive_sender = self._context.Pipe(duplex=False)
        process: BaseProcess = self._context.Process(
            target=work, args=(self._target, task.spec, place, sender, alive_receiver), daemon=False
        )
        kills = count_memory_kills()
        with receiver, alive_sender:
            try:
                with sender, alive_receiver, STARTING, hidden_main():
                    if self._stop.asked or self._closed.is_set():
                        return RunStoppedError(_NOT_BEGUN)
                    start_fork_server(self._context)
                    process.start()
            except Exception as error:  # noqa: BLE001 - of the fork server: it died, or has no memory left
                return RunError(f"the worker could not be started: {error!r}", cause="died")
            try:
                self._enter(task, process)
                outcome = self._receive(receiver, process, task)
            finally:
                code = end_process(process)
        return outcome or describe_death(code, task.folder, memory_was_short=count_memory_kills() > kills)

    def _receive(self, receiver: Connection, process: BaseProcess, task: Task) -> RunOutcome | RunError | None:
        """Have epochs delivered until the result or error comes; None where the worker died without either.

        The pipe's end alone would not tell: children of the worker may hold it open.
        """
        while receiver in wait([receiver, process.sentinel]):
            try:
                message = receiver.recv()
            except (EOFError, OSError):
                return None
            if isinstance(message, EpochMetrics):
                self._deliveries.put(partial(self._tell, task, message))
                task.heard = time.monotonic()
            else:
                outcome: RunOutcome | RunError = message
                return outcome
        return None

    def _tell(self, task: Task, metrics: EpochMetrics) -> None:
        """Deliver an epoch; a run whose sink raises is lost, and hears no more."""
        if task.refused is not None or self._closed.is_set():
            return
        try:
            task.on_epoch(metrics)
        except Exception as error:
            task.refused = as_run_error(error)
            if task.process is not None:
                kill_processes([task.process])
            raise

    def _enter(self, task: Task, process: BaseProcess) -> None:
        """Note the process of a task, so that closing ends it; end it where that came too late."""
        with self._lock:
            task.began = task.heard = time.monotonic()
            task.server = find_fork_server()
            task.process = process
            closed = self._closed.is_set()
        if closed:
            kill_processes([process])

    def _place(self, task: Task) -> Workplace:
        threads = task.workplace.threads or max(1, count_cores() // self._workers)
        gpu = task.workplace.gpu
        if gpu is None and self._gpus:
            gpu = task.seat
        return task.workplace.model_copy(update={"threads": threads, "gpu": gpu})


def build(prepared: Prepared, target: str) -> ProcessExecutor:
    """Build the executor of a sweep."""
    execution = prepared.experiment.execution
    return ProcessExecutor(
        target,
        workers=execution.runs_at_a_time,
        gpus=prepared.gpus,
        timeout_s=None if execution.timeout_min is None else 60 * execution.timeout_min,
        stall_s=None if execution.stall_min is None else 60 * execution.stall_min,
    )


def end_at_once(grace_s: float = AT_ONCE_S) -> None:
    """Let the runs of this process keep their last whole epoch, if that is done in time, and end all else.

    For a signal handler that ends the process next: it takes no lock. Nothing is told to anybody.
    """
    workers = [process for executor in list(_OPEN) for process in executor.processes if process.pid is not None]
    for process in workers:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid or 0, STOP_AT_ONCE)
    deadline = time.monotonic() + grace_s
    while workers and (left := deadline - time.monotonic()) > 0:
        ended = wait([process.sentinel for process in workers], left)
        workers = [process for process in workers if process.sentinel not in ended]
    kill_fork_server()


@contextmanager
def loading_ahead(target: str, first: str | None = None) -> Iterator[None]:
    """Let the fork server load what workers need while this process does other things. It ends with the context.

    Args:
        target: What workers run.
        first: Module that the first process needs; the server loads the rest once that process is forked.
    """
    module = module_of(target)
    context = start_method(module) if first is None else start_method(first, later.__name__)
    with STARTING, hidden_main(), in_environment({} if first is None else {later.LATER: module}):
        start_fork_server(context)
    try:
        yield
    finally:
        if not _OPEN:
            end_fork_server()
