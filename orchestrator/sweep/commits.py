"""How runs end, and who is told of it in which order.

A finished run is committed in this order, and each point between is one at which the process may die:

    1. the worker writes `result.json`    before: the run continues from its last checkpoint
    2. the run's tracker is finished      before: the run is tracked to its end from the result
    3. the ledger enters the run          before: the tracked run is found by its fingerprint
    4. the search is told the trial       before: the trial is told from the ledger, under its number
"""

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.errors import OrchestratorError, RunError
from orchestrator.interfaces import Observer, Search, Tracker
from orchestrator.records.runs import EpochMetrics, RungResult, RunResult
from orchestrator.records.trials import INTERRUPTED, RunRecord, TrialRecord
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.jobs import Job, SweepOutcome
from orchestrator.sweep.strategy import Strategy
from orchestrator.sweep.updates import Updates


class Commits:
    """Commits how runs go and end, to tracker, ledger, observer and strategy, which tells the search.

    Args:
        name: The experiment's.
        strategy: Hears how each run ended.
        tracker: Keeps the runs.
        ledger: Knows the finished trainings.
        observer: Watches.
        updates: Hears that a trial has ended.
        outcome: Counts what happened.
    """

    def __init__(
        self,
        name: str,
        *,
        strategy: Strategy,
        tracker: Tracker,
        ledger: Ledger,
        observer: Observer,
        updates: Updates,
        outcome: SweepOutcome,
    ) -> None:
        self._name = name
        self._strategy = strategy
        self._tracker = tracker
        self._ledger = ledger
        self._observer = observer
        self._updates = updates
        self._outcome = outcome

    def log_epoch(self, job: Job, metrics: EpochMetrics) -> None:
        """Track an epoch; a run that continues repeats earlier ones, which the observer does not see again."""
        if job.tracker is not None:
            job.tracker.log_epoch(metrics)
        if metrics.epoch >= job.epochs:
            job.epochs = metrics.epoch + 1
            self._observer.on_epoch(job.start, metrics)

    def finish(self, job: Job, result: RunResult) -> None:
        """Keep a result, in the order that the module's docstring gives."""
        if job.tracker is not None:
            job.tracker.finish(result)
        record = self._record(job, result)
        self._ledger.enter(self._name, record)
        self._outcome.trained += 1
        self._end(job, record)

    def reuse(self, job: Job, result: RunResult) -> None:
        """Answer a run from a finished training.

        Another experiment's training shows up here as a run of its own, marked; one of this experiment is
        tracked already, and goes over to this trial.
        """
        self._outcome.reused += 1
        entry = self._ledger.find_entry(result.fingerprint)
        if entry is None:  # this or another sweep died before it could enter the run
            self._observer.on_message(f"{job.start.name} was trained by a sweep that died before it said so")
            job.start = replace(job.start, resumes_from=len(result.history))
            self._track_finished(job, result)
            record = self._record(job, result)
            self._ledger.enter(self._name, record)
            self._end(job, record)
            return
        source = f"{entry.experiment}/{entry.run.name}"
        self._observer.on_message(f"{job.start.name} is answered from {source}: the same training is done")
        if entry.experiment == self._name:
            run_id = entry.run.mlflow_run_id  # None: the store heard of the run late, and knows it by its fingerprint
            self._tracker.adopt_run(run_id, job.start)
            record = self._record(job, result, reused_from=source)
            record = record.model_copy(update={"mlflow_run_id": run_id})
            self._ledger.enter(self._name, record)
            self._end(job, record)
            return
        # what an earlier call tracked of it here, before its death or with fewer seeds, goes over to this trial too
        job.start = replace(job.start, reused_from=source, resumes_from=len(result.history))
        self._track_finished(job, result)
        self._end(job, self._record(job, result, reused_from=source))

    def pause(self, job: Job, rung: RungResult) -> None:
        """Hand a run that has paused to the strategy; it is tracked on once it goes on.

        Nothing is claimed meanwhile: two races that wait for each other's runs would wait for ever.
        """
        job.claim.close()
        self._observer.on_run_pause(job.start, rung.epochs)
        self._strategy.pause(job)

    def pause_again(self, job: Job, rung: RungResult) -> None:
        """Take up a run that paused in an earlier call, and track what that call may have missed."""
        job.tracker = self._tracker.start_run(job.start)
        for metrics in rung.history:
            job.tracker.log_epoch(metrics)
        job.epochs = rung.epochs
        self.pause(job, rung)

    def drop(self, job: Job, reason: str) -> None:
        """End a paused run that the strategy drops."""
        if job.tracker is not None:
            job.tracker.kill(reason)
        self._end(job, job.record("pruned", error=reason, pruned_after=job.until))

    def put_off(self, job: Job) -> None:
        """Close a run that was stopped on request; its checkpoint stays."""
        if job.tracker is not None:
            job.tracker.put_off(f"stopped after epoch {job.epochs}" if job.epochs else "stopped before its first epoch")
        job.trial.stopped = True
        self._end(job, job.record("put_off"))

    def fail(self, job: Job, error: OrchestratorError) -> None:
        """End a run that is lost."""
        cause = error.cause if isinstance(error, RunError) else "error"
        detail = f"{cause}: {error.message}\n\n{error.hint}" if error.hint else f"{cause}: {error.message}"
        if job.tracker is not None:
            job.tracker.fail(detail)
        self._outcome.failed_runs += 1
        self._end(job, job.record("failed", error=error.message, cause=cause))

    def end_trial(self, trial: TrialRecord) -> None:
        """Report that a trial has ended."""
        self._observer.on_trial_end(trial)
        self._updates.note_change()

    def abandon(self, jobs: Iterable[Job], search: Search) -> None:
        """Close what was under way when the sweep was torn down, so that no status lies."""
        jobs = tuple(jobs)
        for job in jobs:
            job.claim.close()
        for job in jobs:
            if job.tracker is not None:
                job.tracker.put_off(INTERRUPTED)
        for trial in self._strategy.under_way:
            search.put_off(trial.proposal.number, trial.runs)

    def _track_finished(self, job: Job, result: RunResult) -> None:
        job.tracker = job.tracker or self._tracker.start_run(job.start)
        for metrics in result.history:
            job.tracker.log_epoch(metrics)
        job.tracker.finish(result)

    def _record(self, job: Job, result: RunResult, *, reused_from: str | None = None) -> RunRecord:
        checkpoint = self._ledger.checkpoint(job.start.spec.fingerprint)
        return job.record("complete", result=result, checkpoint=checkpoint, reused_from=reused_from)

    def _end(self, job: Job, record: RunRecord) -> None:
        job.claim.close()
        self._observer.on_run_end(job.start, record)
        trial = self._strategy.end_run(job, record)
        if trial is None:
            return
        if trial.has_failed:
            self._outcome.failed_trials.append(trial)
        elif trial.state == "pruned":
            self._outcome.pruned.append(trial)
        self.end_trial(trial)
