"""The loop of a sweep: it submits runs and collects them, until nothing is left or the sweep is stopped."""

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
from orchestrator.records.runs import EpochMetrics, RungResult, RunOutcome
from orchestrator.records.starts import SweepStart, SweepStatus
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.commits import Commits
from orchestrator.sweep.jobs import Job, JobsUnderWay, SweepOutcome
from orchestrator.sweep.retries import Retries
from orchestrator.sweep.strategy import Strategy
from orchestrator.sweep.updates import Updates

_POLL_S = 0.2
"""Seconds from one look at the stop signal to the next."""


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
        self._stop = stop or threading.Event()
        self._stopping = False
        self._outcome = SweepOutcome()
        self._updates = Updates(search, tracker, summarise)
        self._retries = Retries(self._experiment, observer, executor.workers)
        self._commits = Commits(
            self._experiment.name,
            strategy=strategy,
            tracker=tracker,
            ledger=ledger,
            observer=observer,
            updates=self._updates,
            outcome=self._outcome,
        )
        self._waiting: deque[Job] = deque()
        self._active = JobsUnderWay()
        self._ended: deque[tuple[Job, Future[RunOutcome]]] = deque()

    def run(self, start: SweepStart) -> SweepOutcome:
        """Run what is left of the sweep. A lost run fails its trial; the sweep goes on.

        Raises:
            SetupError: The tracking store cannot be opened; nothing has run.
            SweepError: `execution.max_failures` runs were lost, or the disk is full; what finished is kept.
        """
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
                self._commits.abandon([*self._active, *self._waiting, *self._strategy.paused], self._search)
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
            self._look()
            if not self._ended:
                self._executor.wait(_POLL_S)
            if self._ended:
                self._handle(*self._ended.popleft())
                self._fill()
            elif not self._active:  # what waits is trained by another sweep
                self._fill()

    def _look(self) -> None:
        """Do what is due, between runs and between epochs."""
        if self._stop.is_set():
            self._begin_stop()
        self._updates.update_if_due()

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
        while len(self._active) < self._retries.at_once and not self._stopping:
            if self._stop.is_set():
                self._begin_stop()
            elif self._waiting:
                job = self._waiting.popleft()
                if not self._begin(job):
                    passed_over.append(job)
            elif not self._take_step():
                break
        self._waiting.extendleft(reversed(passed_over))

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
            self._commits.drop(job, reason)
        self._waiting.extend(step.jobs)
        return True

    def _begin(self, job: Job) -> bool:
        """Start a run, or answer it from what is on disk; False where another sweep trains the same right now."""
        fingerprint = job.start.spec.fingerprint
        if not self._ledger.claim(fingerprint, job.claim):
            return False
        result = self._ledger.find_result(fingerprint)
        if result is not None:
            self._commits.reuse(job, result)
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
            self._commits.pause_again(job, rungs[-1])
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

        def on_epoch(metrics: EpochMetrics) -> None:
            self._commits.log_epoch(job, metrics)
            self._look()
            self._fill()  # another sweep may have left what was passed over

        future = self._executor.submit(job.start.spec, workplace, on_epoch)
        future.add_done_callback(lambda done: self._ended.append((job, done)))

    def _handle(self, job: Job, ended: "Future[RunOutcome]") -> None:
        error = ended.exception()
        if isinstance(error, OrchestratorError) and not isinstance(error, RunStoppedError):
            self._lose(job, error)
            return
        self._active.discard(job)
        if isinstance(error, RunStoppedError):
            self._commits.put_off(job)
        elif error is not None:
            raise error
        elif isinstance(result := ended.result(), RungResult):
            self._commits.pause(job, result)
        else:
            try:
                if self._search.has_plan:  # the free worker does not wait until the run is tracked
                    self._fill()
            finally:
                self._commits.finish(job, result)

    def _lose(self, job: Job, error: OrchestratorError) -> None:
        """Try a lost run again, or end it."""
        may_pass = isinstance(error, RunError) and error.may_pass
        if may_pass and self._retries.allow(job) and not self._stopping and not self._stop.is_set():
            self._outcome.retried += 1
            if self._retries.prepare(job, error, under_way=len(self._active)):
                self._active.discard(job)
                job.claim.close()
                self._waiting.appendleft(job)
            else:
                self._submit(job)
            return
        self._active.discard(job)
        if may_pass and self._stop.is_set():  # a terminal's Ctrl-C reaches more processes than this one
            self._commits.put_off(job)
            return
        self._commits.fail(job, error)
        if self._outcome.find_excess(self._experiment.execution.max_failures) is not None:
            self._begin_stop()

    def _close(self) -> None:
        """End the runs that were not begun, or not gone on with, when the sweep was stopped; and what is whole."""
        while self._waiting:
            self._commits.put_off(self._waiting.popleft())
        for job in list(self._strategy.paused):
            self._commits.put_off(job)
        for trial in self._strategy.close():
            self._commits.end_trial(trial)

    def _end(self, status: SweepStatus) -> None:
        self._observer.on_message(Step("drawing the pictures"))
        try:
            self._updates.finish()
        finally:
            self._tracker.end_sweep(status)

    def _status(self) -> SweepStatus:
        if self._outcome.failed_trials:
            return "failed"
        return "put_off" if self._stopping else "finished"
