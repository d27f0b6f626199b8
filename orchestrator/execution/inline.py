"""Runs in this process, one after the other: for debugging."""

from concurrent.futures import Future
from typing import Self

from orchestrator.errors import RunStoppedError
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.target import as_run_error, load_function
from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunOutcome
from orchestrator.records.spec import RunSpec


class InlineExecutor:
    """Runs each specification within `submit`.

    Args:
        target: `package.module:function` that trains.
    """

    workers = 1
    blocking = True

    def __init__(self, target: str) -> None:
        self._target = target
        self._stop = StopRequest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left to stop."""

    def submit(self, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> Future[RunOutcome]:
        """Run `spec` now; the future is done when this returns.

        Raises:
            KeyboardInterrupt: The user stopped it.
        """
        future: Future[RunOutcome] = Future()
        if self._stop.asked:
            future.set_exception(RunStoppedError("stopped on request before it began"))
            return future
        try:
            result = load_function(self._target)(spec, workplace, self._stop.ending(on_epoch))
        except Exception as error:  # noqa: BLE001 - whatever a run raises, the run alone is lost
            future.set_exception(as_run_error(error))
        else:
            future.set_result(result)
        return future

    def stop(self) -> None:
        """Let the run that runs end with its epoch, and no other begin. For a signal handler, or a sink."""
        self._stop.ask()
