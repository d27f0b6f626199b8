"""Runs in this process and thread, one after the other: for debugging."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Self

from orchestrator.errors import RunStoppedError
from orchestrator.execution.delivery import RunFuture
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.target import as_run_error, load_function
from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.prepared import Prepared
from orchestrator.records.runs import EpochMetrics, RunOutcome
from orchestrator.records.spec import RunSpec


class InlineExecutor:
    """Runs a specification within `wait`, so that a debugger stops in the thread that called it.

    Args:
        target: `package.module:function` that trains.
    """

    workers = 1

    def __init__(self, target: str) -> None:
        self._target = target
        self._stop = StopRequest()
        self._waiting: deque[tuple[RunFuture, Callable[[], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Cancel what has not begun."""
        for future, _ in self._waiting:
            future.cancel()

    def submit(self, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> Future[RunOutcome]:
        """Queue a run: `wait` runs it, or whoever asks its future."""
        future = RunFuture(self.wait)
        self._waiting.append((future, partial(self._run, future, spec, workplace, on_epoch)))
        return future

    def wait(self, timeout_s: float) -> None:
        """Run what was submitted first, to its end; where there is nothing, sleep.

        Raises:
            KeyboardInterrupt: The user stopped it.
        """
        if not self._waiting:
            time.sleep(timeout_s)
            return
        future, run = self._waiting.popleft()
        if future.set_running_or_notify_cancel():
            run()

    def stop(self) -> None:
        """Let the run that runs end with its epoch, and no other begin. For a signal handler, or a sink."""
        self._stop.ask()

    def _run(self, future: RunFuture, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> None:
        raised: list[Exception] = []

        def deliver(metrics: EpochMetrics) -> None:
            try:
                on_epoch(metrics)
            except Exception as error:
                raised.append(error)
                raise

        if self._stop.asked:
            future.set_exception(RunStoppedError("stopped on request before it began"))
            return
        try:
            result = load_function(self._target)(spec, workplace, self._stop.ending(deliver))
        except Exception as error:  # noqa: BLE001 - whatever a run raises, the run alone is lost
            future.set_exception(as_run_error(error))
        else:
            future.set_result(result)
        if raised:
            raise raised[0]


def build(prepared: Prepared, target: str) -> InlineExecutor:  # noqa: ARG001 - the same for each
    """Build the executor of a sweep."""
    return InlineExecutor(target)
