"""What the sweep needs of its parts. Each part has one or more adapters, wired in `app.py`."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.config.models import Experiment
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunOutcome, RunResult
from orchestrator.records.spec import Choice, Proposal, RunSpec
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.records.trials import RunRecord, TrialRecord


class Search(Protocol):
    """The study: proposes trials and is told what they gave."""

    @property
    def has_plan(self) -> bool:
        """Whether all points are known before anything runs; else a sampler learns from each trial."""

    def planned(self) -> list[Choice] | None:
        """List what is left to run, in order; None where a sampler decides as it goes."""

    def propose(self) -> Proposal | None:
        """Start the next trial; None when nothing is left.

        A point equal to a complete trial is told that trial's values and comes back with `repeats` set.
        """

    def start(self, choice: Choice) -> Proposal:
        """Start a trial of a point, whether an earlier trial has answered it or not."""

    def tell(self, number: int, runs: Sequence[RunRecord]) -> TrialRecord:
        """Complete a trial with the results of all its runs: mean `val_acc`, `trainable_params`."""

    def fail(self, number: int, error: str, runs: Sequence[RunRecord]) -> TrialRecord:
        """Mark a trial as failed, with the reason and the runs it has."""

    def put_off(self, number: int, runs: Sequence[RunRecord]) -> TrialRecord:
        """Leave a trial to the next start of the sweep, which goes on with it under the same number."""

    def prune(self, number: int, reason: str, runs: Sequence[RunRecord]) -> TrialRecord:
        """Mark a trial as dropped, with the reason and the runs it has; it has not failed, and is not run again."""

    def reconcile(self) -> list[TrialRecord]:
        """Put off the trials that a dead owner left running, so that they are gone on with. Returns them."""

    def trials(self) -> list[TrialRecord]:
        """List all trials by number, whatever their state, but for those that merely wait in the queue."""


EpochSink = Callable[[EpochMetrics], None]


class Executor(AbstractContextManager["Executor", None], Protocol):
    """Where runs happen. Leaving the context stops what still runs and frees everything.

    Sinks are called and futures completed while somebody waits, in that thread: within `wait`, or where a future is
    asked for its outcome. What a sink raises comes out there, and that run is lost.
    """

    @property
    def workers(self) -> int:
        """Runs at the same time."""

    def submit(self, spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> "Future[RunOutcome]":
        """Start a run, or queue it; `on_epoch` is called after each epoch. Returns at once.

        Where `workplace.until_epoch` is set, it pauses there unless it is over, and says where it stands.
        A run whose folder holds a whole checkpoint continues from it; its earlier epochs are given to `on_epoch`
        first, once more. The future raises `RunError` when the run is lost, whatever the reason: an exception in the
        run (its traceback in the hint's place, `RunError.hint`), a worker that died; `RunStoppedError` after `stop`.
        """

    def wait(self, timeout_s: float) -> None:
        """Deliver what happens next: an epoch, or the end of a run. Returns after `timeout_s` where nothing does.

        An executor that has no other place for runs runs the next one here, to its end.
        """

    def stop(self) -> None:
        """Ask all runs to stop at the end of their epoch, and end those that have not within ten seconds.

        Returns at once; the futures raise `RunStoppedError`. What waits is not started. May be called from a signal
        handler and more than once.
        """


class Summarise(Protocol):
    """Turns the trials so far into what the tracker keeps; pictures only when `final`."""

    def __call__(self, trials: Sequence[TrialRecord], *, final: bool) -> SweepSummary:
        """Summarise `trials`, in the order of their numbers."""
        ...


class RunTracker(Protocol):
    """Tracks one run. Exactly one of `finish`, `fail`, `kill` and `put_off` ends it."""

    @property
    def run_id(self) -> str | None:
        """The MLflow run, if there is one."""

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves; one that is there already (a run that continues repeats them) is passed over."""

    def finish(self, result: RunResult) -> None:
        """End as FINISHED with the summary metrics, the confusion matrices and the HParams row."""

    def fail(self, error: str) -> None:
        """End as FAILED, with the reason as a note."""

    def kill(self, reason: str) -> None:
        """End as KILLED, with the reason as a note."""

    def put_off(self, reason: str) -> None:
        """Leave it to the next start of the sweep, which goes on with it; with the reason as a note."""


class Tracker(Protocol):
    """Tracks one sweep: a parent run with a child for each run."""

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep's parent run, or go on with an earlier call's; close its stale children.

        Raises:
            SetupError: The store cannot be reached or opened.
        """

    def start_run(self, start: RunStart) -> RunTracker:
        """Open a child run; where `start.resumes_from` is not 0, go on with that of its fingerprint, finished or not.

        That one takes the name and trial of `start`. Where it is gone, or where the run starts over, a new one opens
        and unfinished ones of its fingerprint are closed as KILLED.
        """

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:
        """Hand a finished child run to another trial of this sweep: it takes the name and trial of `start`.

        Where `run_id` is None (the store heard of the run late), it is found by its fingerprint.
        """

    def update_sweep(self, summary: SweepSummary) -> None:
        """Write table, metrics, note and files to the parent, and the `pareto` tag to each child."""

    def end_sweep(self, status: SweepStatus) -> None:
        """End the parent run with a true status and close all files."""


class Observer(Protocol):
    """Watches a sweep on behalf of a person. Called from the sweep's own thread only."""

    def on_message(self, text: str) -> None:
        """Hear what the user should know, a sentence; or, as a `Step`, what is being done now and may take a while."""

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """See what will run (None: a sampler decides) and what is done already."""

    def on_run_start(self, start: RunStart) -> None:
        """See a run start."""

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """See an epoch of a run."""

    def on_run_pause(self, start: RunStart, epochs: int) -> None:
        """See a run pause after so many epochs: it waits for others. It may start again, or end."""

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """See a run end, with its result or its error."""

    def on_trial_end(self, trial: TrialRecord) -> None:
        """See a trial end."""
