"""The loop of a sweep: submit, collect, track; and what happens when a run is lost or the sweep stopped.

A finished run is committed in this order, and each point between is one at which the process may die:

    1. the worker writes `result.json`    before: the run continues from its last checkpoint
    2. the run's tracker is finished      before: the run is tracked to its end from the result
    3. the ledger enters the run          before: the tracked run is found by its fingerprint
    4. the search is told the trial       before: the trial is told from the ledger, under its number
"""

import queue
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from orchestrator.errors import OrchestratorError, RunError, RunStoppedError
from orchestrator.interfaces import Executor, Observer, Search, Summarise, Tracker
from orchestrator.records.labels import label_planned
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.records.runs import EpochMetrics, RungResult, RunOutcome, RunResult
from orchestrator.records.starts import SweepStart, SweepStatus
from orchestrator.records.trials import INTERRUPTED, RunRecord
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.jobs import Job, JobsUnderWay, SweepOutcome
from orchestrator.sweep.strategy import Strategy

_POLL_S = 0.2
"""Seconds from one look at the stop signal to the next."""
_Event = tuple[Job, "EpochMetrics | Future[RunOutcome]"]


class SweepLoop:
    """Runs a sweep to its end. All of search, tracker and observer is called from the calling thread only.

    Args:
        prepared: What to run.
        strategy: Says which runs to start, and when a trial has ended.
        search: Knows the trials.
        executor: Runs them.
        tracker: Keeps them.
        observer: Watches.
        ledger: Knows the finished trainings.
        summarise: Sums the trials up for the tracker.
        stop: Once set, no new run starts, those under way end with their epoch, and `run` returns.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        strategy: Strategy,
        search: Search,
        executor: Executor,
        tracker: Tracker,
        observer: Observer,
        ledger: Ledger,
        summarise: Summarise,
        stop: threading.Event | None = None,
    ) -> None:
        self._prepared = prepared
        self._experiment = prepared.experiment
        self._strategy = strategy
        self._search = search
        self._executor = executor
        self._tracker = tracker
        self._observer = observer
        self._ledger = ledger
        self._summarise = summarise
        self._stop = stop or threading.Event()
        self._stopping = False
        self._at_once = executor.workers
        self._outcome = SweepOutcome()
        self._waiting: deque[Job] = deque()
        self._active = JobsUnderWay()
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

    def run(self, start: SweepStart) -> SweepOutcome:
        """Run what is left of the sweep. A lost run fails its trial; the sweep goes on.

        Raises:
            SetupError: The tracking store cannot be opened; nothing has run.
            SweepError: `execution.max_failures` runs were lost, or the disk is full; what finished is kept.
        """
        self._thread = threading.get_ident()
        self._observer.on_message(Step("opening the sweep in its stores"))
        self._tracker.start_sweep(start)
        try:
            with self._executor:
                self._loop()
            self._close()
            self._outcome.stopped = self._stopping
            status = self._status()
        except BaseException as error:
            with suppress(Exception):  # what fails now follows from the first error, which says more
                self._abandon()
            with suppress(Exception):
                self._end("put_off" if isinstance(error, KeyboardInterrupt) else "killed")
            raise
        self._end(status)
        if excess := self._outcome.find_excess(self._experiment.execution.max_failures):
            raise excess
        return self._outcome

    def _loop(self) -> None:
        self._fill()
        while self._active or (self._waiting and not self._stopping):
            if self._stop.is_set():
                self._begin_stop()
            try:
                event = self._events.get(timeout=_POLL_S)
            except queue.Empty:
                if not self._active:  # what waits is trained by another sweep
                    self._fill()
                continue
            self._handle(*event)
            self._fill()

    def _begin_stop(self) -> None:
        """Start nothing more, and ask what runs to end with its epoch."""
        if not self._stopping:
            self._stopping = True
            self._executor.stop()
            if self._active:
                self._observer.on_message("stopping: the runs under way end with their epoch, or within ten seconds")

    def _fill(self) -> None:
        """Start runs while there are free workers and runs to start."""
        passed_over: list[Job] = []
        while len(self._active) < self._at_once and not self._stopping:
            if self._stop.is_set():
                self._begin_stop()
            elif self._waiting:
                job = self._waiting.popleft()
                if not self._begin(job):
                    passed_over.append(job)
            elif not self._take_step():
                break
        self._waiting.extendleft(reversed(passed_over))

    def _fill_early(self) -> None:
        """Give the worker of a run that is over its next one before the run is tracked, where that is known by then."""
        if self._search.has_plan and not self._executor.blocking:
            self._fill()

    def _take_step(self) -> bool:
        """Do what the strategy says next; False where it has nothing to say."""
        step = self._strategy.next_step()
        if step is None:
            return False
        if step.repeat is not None:
            self._outcome.repeated += 1
            number, label = step.repeat.number, label_planned(self._experiment, step.repeat.choice)
            self._observer.on_message(
                f"trial {number} ({label}) repeats trial {step.repeat.repeats}: answered from its result"
            )
        for job, reason in step.drops:
            self._drop(job, reason)
        self._waiting.extend(step.jobs)
        return True

    def _begin(self, job: Job) -> bool:
        """Start a run, or answer it from what is on disk; False where another sweep trains the same right now."""
        fingerprint = job.start.spec.fingerprint
        if not self._ledger.claim(fingerprint, job.claim):
            return False
        result = self._ledger.find_result(fingerprint)
        if result is not None:
            self._reuse(job, result)
            return True
        if job.tracker is not None:  # it has paused
            self._start(job)
            return True
        job.attempts = 1
        epochs, damaged = self._ledger.find_checkpoint(fingerprint)
        for path in damaged:
            self._observer.on_message(f"{job.start.name}: checkpoint or best weights are damaged; set aside: {path}")
        job.start = replace(job.start, resumes_from=epochs)
        job.epochs = epochs
        rungs = self._ledger.find_rungs(fingerprint)
        if job.until is not None and rungs and rungs[-1].epochs >= job.until:
            self._pause_again(job, rungs[-1])
            return True
        if epochs:
            self._outcome.resumed += 1
            self._observer.on_message(f"{job.start.name} continues after epoch {epochs}")
        job.tracker = self._tracker.start_run(job.start)
        self._start(job)
        return True

    def _start(self, job: Job) -> None:
        self._observer.on_run_start(job.start)
        self._active.add(job)
        self._submit(job)

    def _submit(self, job: Job) -> None:
        directory = str(self._ledger.directory(job.start.spec.fingerprint))
        workplace = self._prepared.build_workplace(directory, job.start.spec, until=job.until, alone=job.alone)
        future = self._executor.submit(job.start.spec, workplace, lambda metrics: self._on_epoch(job, metrics))
        future.add_done_callback(lambda done: self._events.put((job, done)))

    def _on_epoch(self, job: Job, metrics: EpochMetrics) -> None:
        if threading.get_ident() == self._thread:  # an executor that runs in this thread blocks the queue's reader
            self._handle(job, metrics)
            if self._stop.is_set():
                self._begin_stop()
        else:
            self._events.put((job, metrics))

    def _handle(self, job: Job, event: "EpochMetrics | Future[RunOutcome]") -> None:
        if isinstance(event, EpochMetrics):
            if job.tracker is not None:
                job.tracker.log_epoch(event)
            if event.epoch >= job.epochs:
                job.epochs = event.epoch + 1
                self._observer.on_epoch(job.start, event)
            return
        error = event.exception()
        if error is None:
            self._active.discard(job)
            result = event.result()
            if isinstance(result, RungResult):
                self._pause(job, result)
            else:
                try:
                    self._fill_early()
                finally:
                    self._finish(job, result)
        elif isinstance(error, RunStoppedError):
            self._active.discard(job)
            self._put_off(job)
        elif isinstance(error, OrchestratorError):
            self._lose(job, error)
        else:
            self._active.discard(job)
            raise error

    def _finish(self, job: Job, result: RunResult) -> None:
        """Keep a result, in the order that the module's docstring gives."""
        if job.tracker is not None:
            job.tracker.finish(result)
        record = self._record(job, result)
        self._ledger.enter(self._experiment.name, record)
        self._outcome.trained += 1
        self._end_run(job, record)

    def _pause(self, job: Job, rung: RungResult) -> None:
        """Hand a run that has paused to the strategy; it is tracked on once it goes on.

        Nothing is claimed meanwhile: two races that wait for each other's runs would wait for ever.
        """
        job.claim.close()
        self._observer.on_run_pause(job.start, rung.epochs)
        self._strategy.pause(job)

    def _pause_again(self, job: Job, rung: RungResult) -> None:
        """Take up a run that paused in an earlier call, and track what that call may have missed."""
        job.tracker = self._tracker.start_run(job.start)
        for metrics in rung.history:
            job.tracker.log_epoch(metrics)
        job.epochs = rung.epochs
        self._pause(job, rung)

    def _drop(self, job: Job, reason: str) -> None:
        """End a paused run that the strategy drops."""
        if job.tracker is not None:
            job.tracker.kill(reason)
        self._end_run(job, job.record("pruned", error=reason, pruned_after=job.until))

    def _put_off(self, job: Job) -> None:
        """Close a run that was stopped on request; its checkpoint stays."""
        if job.tracker is not None:
            job.tracker.put_off(f"stopped after epoch {job.epochs}" if job.epochs else "stopped before its first epoch")
        job.trial.stopped = True
        self._end_run(job, job.record("put_off"))

    def _lose(self, job: Job, error: OrchestratorError) -> None:
        cause = error.cause if isinstance(error, RunError) else "error"
        may_pass = isinstance(error, RunError) and error.may_pass
        if may_pass and self._stop.is_set():  # a terminal's Ctrl-C reaches more processes than this one
            self._active.discard(job)
            self._put_off(job)
            return
        if may_pass and job.attempts <= self._experiment.execution.retries and not self._stopping:
            self._outcome.retried += 1
            job.attempts += 1
            crowded = cause == "out_of_memory"
            job.alone = crowded and self._experiment.trainer.accelerator == "gpu"  # there its GPU is what was full
            self._observer.on_message(f"{job.start.name} is tried again{' alone' * job.alone}: {error.message}")
            if crowded and not job.alone and len(self._active) > 1:
                self._make_room(job)
            else:
                self._submit(job)
            return
        self._active.discard(job)
        detail = f"{cause}: {error.message}\n\n{error.hint}" if error.hint else f"{cause}: {error.message}"
        if job.tracker is not None:
            job.tracker.fail(detail)
        self._outcome.failed_runs += 1
        self._end_run(job, job.record("failed", error=error.message, cause=cause))
        if self._outcome.find_excess(self._experiment.execution.max_failures) is not None:
            self._begin_stop()

    def _make_room(self, job: Job) -> None:
        """Let a run that found no memory beside others wait until there is one less of them, now and from now on."""
        self._at_once = max(1, min(self._at_once, len(self._active)) - 1)
        self._observer.on_message(f"memory does not suffice: from now on at most {self._at_once} at a time")
        self._active.discard(job)
        job.claim.close()
        self._waiting.appendleft(job)

    def _reuse(self, job: Job, result: RunResult) -> None:
        """Answer a run from a finished training.

        Another experiment's training shows up here as a run of its own, marked; one of this experiment is
        tracked already, and goes over to this trial.
        """
        entry = self._ledger.find_entry(result.fingerprint)
        if entry is None:  # this or another sweep died before it could enter the run
            self._observer.on_message(f"{job.start.name} was trained by a sweep that died before it said so")
            self._outcome.reused += 1
            job.start = replace(job.start, resumes_from=len(result.history))
            self._track_finished(job, result)
            record = self._record(job, result)
            self._ledger.enter(self._experiment.name, record)
            self._end_run(job, record)
            return
        source = f"{entry.experiment}/{entry.run.name}"
        self._observer.on_message(f"{job.start.name} is answered from {source}: the same training is done")
        self._outcome.reused += 1
        if entry.experiment == self._experiment.name:
            run_id = entry.run.mlflow_run_id  # None: the store heard of the run late, and knows it by its fingerprint
            self._tracker.adopt_run(run_id, job.start)
            record = self._record(job, result, reused_from=source)
            record = record.model_copy(update={"mlflow_run_id": run_id})
            self._ledger.enter(self._experiment.name, record)
            self._end_run(job, record)
            return
        # what an earlier call tracked of it here, before its death or with fewer seeds, goes over to this trial too
        job.start = replace(job.start, reused_from=source, resumes_from=len(result.history))
        self._track_finished(job, result)
        self._end_run(job, self._record(job, result, reused_from=source))

    def _track_finished(self, job: Job, result: RunResult) -> None:
        job.tracker = job.tracker or self._tracker.start_run(job.start)
        for metrics in result.history:
            job.tracker.log_epoch(metrics)
        job.tracker.finish(result)

    def _record(self, job: Job, result: RunResult, *, reused_from: str | None = None) -> RunRecord:
        checkpoint = self._ledger.checkpoint(job.start.spec.fingerprint)
        return job.record("complete", result=result, checkpoint=checkpoint, reused_from=reused_from)

    def _end_run(self, job: Job, record: RunRecord) -> None:
        job.claim.close()
        self._observer.on_run_end(job.start, record)
        trial = self._strategy.end_run(job, record)
        if trial is None:
            return
        if trial.has_failed:
            self._outcome.failed_trials.append(trial)
        elif trial.state == "pruned":
            self._outcome.pruned.append(trial)
        self._observer.on_trial_end(trial)
        self._tracker.update_sweep(self._summarise(self._search.trials(), final=False))

    def _close(self) -> None:
        """End the runs that were not begun, or not gone on with, when the sweep was stopped; and what is whole."""
        while self._waiting:
            self._put_off(self._waiting.popleft())
        for job in list(self._strategy.paused):
            self._put_off(job)
        for trial in self._strategy.close():
            self._observer.on_trial_end(trial)

    def _end(self, status: SweepStatus) -> None:
        self._observer.on_message(Step("drawing the pictures"))
        try:
            self._tracker.update_sweep(self._summarise(self._search.trials(), final=True))
        finally:
            self._tracker.end_sweep(status)

    def _status(self) -> SweepStatus:
        if self._outcome.failed_trials:
            return "failed"
        return "put_off" if self._stopping else "finished"

    def _abandon(self) -> None:
        """Close what was under way when the sweep was torn down, so that no status lies."""
        jobs = [*self._active, *self._waiting, *self._strategy.paused]
        for job in jobs:
            job.claim.close()
        for job in jobs:
            if job.tracker is not None:
                job.tracker.put_off(INTERRUPTED)
        for trial in self._strategy.under_way:
            self._search.put_off(trial.proposal.number, trial.runs)
