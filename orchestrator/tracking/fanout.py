"""Several trackers as one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.interfaces import RunTracker, Tracker
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary

T = TypeVar("T")


class FanoutRun:
    """A run in several trackers. All are told before the first error is raised."""

    def __init__(self, runs: Sequence[RunTracker]) -> None:
        self._runs = tuple(runs)

    @property
    def run_id(self) -> str | None:
        """The first MLflow run among them."""
        return next((run.run_id for run in self._runs if run.run_id is not None), None)

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves."""
        _tell_all(self._runs, lambda run: run.log_epoch(metrics))

    def finish(self, result: RunResult) -> None:
        """End as finished."""
        _tell_all(self._runs, lambda run: run.finish(result))

    def fail(self, error: str) -> None:
        """End as failed."""
        _tell_all(self._runs, lambda run: run.fail(error))

    def kill(self, reason: str) -> None:
        """End as killed."""
        _tell_all(self._runs, lambda run: run.kill(reason))

    def put_off(self, reason: str) -> None:
        """Leave it to the next start of the sweep."""
        _tell_all(self._runs, lambda run: run.put_off(reason))


class FanoutTracker:
    """Tracks a sweep in several trackers. One that fails does not keep the others from closing."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep everywhere, in order; where one fails, those before it end as failed.

        Raises:
            SetupError: A store cannot be reached or opened.
        """
        opened: list[Tracker] = []
        try:
            for tracker in self._trackers:
                tracker.start_sweep(start)
                opened.append(tracker)
        except BaseException as error:
            _try_all(error, opened, lambda tracker: tracker.end_sweep("failed"))
            raise

    def start_run(self, start: RunStart) -> FanoutRun:
        """Open a run everywhere, in order; where one fails, those before it end as killed."""
        opened: list[RunTracker] = []
        try:
            for tracker in self._trackers:
                opened.append(tracker.start_run(start))  # noqa: PERF401 - a comprehension would lose what is open
        except BaseException as error:
            _try_all(error, opened, lambda run: run.kill("another tracker could not open this run"))
            raise
        return FanoutRun(opened)

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:
        """Hand a finished run to another trial, everywhere."""
        _tell_all(self._trackers, lambda tracker: tracker.adopt_run(run_id, start))

    def update_sweep(self, summary: SweepSummary) -> None:
        """Update the sweep everywhere."""
        _tell_all(self._trackers, lambda tracker: tracker.update_sweep(summary))

    def end_sweep(self, status: SweepStatus) -> None:
        """End the sweep everywhere."""
        _tell_all(self._trackers, lambda tracker: tracker.end_sweep(status))


def _tell_all(targets: Sequence[T], tell: Callable[[T], None]) -> None:
    """Tell every target, whatever the others do.

    Raises:
        BaseException: The first error, once all are told; the later ones stand in its notes.
    """
    first: BaseException | None = None
    for target in targets:
        try:
            tell(target)
        except BaseException as error:  # noqa: BLE001 - raised below
            if first is None:
                first = error
            else:
                first.add_note(f"and then, in {type(target).__name__}: {error!r}")
    if first is not None:
        raise first


def _try_all(error: BaseException, targets: Sequence[T], tell: Callable[[T], None]) -> None:
    """Tell every target while `error` is on its way; what fails besides becomes a note of it."""
    try:
        _tell_all(targets, tell)
    except BaseException as second:  # noqa: BLE001 - the first error is the one to show
        error.add_note(f"and then, while closing: {second!r}")
