"""The loop of a sweep: plan, submit, collect, tell, track; and what happens when a run is lost."""

import queue
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from orchestrator.blocks import NONE_KEY
from orchestrator.config.models import Experiment
from orchestrator.errors import OrchestratorError
from orchestrator.interfaces import (
    Choice,
    Executor,
    Observer,
    Proposal,
    RunStart,
    RunTracker,
    Search,
    SweepStart,
    SweepStatus,
    SweepSummary,
    Tracker,
)
from orchestrator.ledger import Ledger
from orchestrator.records import (
    Cost,
    DatasetInfo,
    EpochMetrics,
    Hyperparameters,
    RunRecord,
    RunResult,
    RunSpec,
    TrialRecord,
    Workplace,
    flatten,
    run_name,
)

INTERRUPTED = "interrupted"
_PLACES = {
    "lr": "trainer.lr",
    "weight_decay": "trainer.weight_decay",
    "batch_size": "data.batch_size",
    "optimizer": "trainer.optimizer",
}
"""Where each further dimension stands in a run's identity."""


class Summarise(Protocol):
    """Turns the trials so far into what the tracker keeps; pictures only when `final`."""

    def __call__(self, trials: Sequence[TrialRecord], *, final: bool) -> SweepSummary:
        """Summarise `trials`, in the order of their numbers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is found out once before anything trains. The experiment's `auto` values are concrete here."""

    experiment: Experiment
    data: DatasetInfo
    weights_sha256: str | None
    costs: Mapping[str, Cost]
    """By key of the frozen set."""

    @property
    def identity(self) -> dict[str, object]:
        """What all trials of the study have in common and what identifies their results, as plain values."""
        base = self.experiment
        spec = self.build_spec(Choice(frozen=NONE_KEY, hyperparameters=Hyperparameters.of(base)), seed=0)
        varied = {"frozen", "seed", *(_PLACES[name] for name in base.search.dimensions)}
        return {key: value for key, value in flatten(spec.identity).items() if key not in varied}

    def build_spec(self, choice: Choice, seed: int) -> RunSpec:
        """Write down all that the run of `choice` with `seed` needs."""
        chosen = choice.hyperparameters
        base = self.experiment
        return RunSpec(
            data=base.data.model_copy(update={"batch_size": chosen.batch_size}),
            model=base.model.model_copy(update={"num_classes": len(self.data.class_names)}),
            trainer=base.trainer.model_copy(
                update={"lr": chosen.lr, "weight_decay": chosen.weight_decay, "optimizer": chosen.optimizer}
            ),
            frozen=choice.frozen,
            seed=seed,
            data_fingerprint=self.data.fingerprint,
            weights_sha256=self.weights_sha256,
        )


@dataclass(slots=True, kw_only=True)
class SweepOutcome:
    """What a call of the sweep did. Counts of this call alone."""

    trained: int = 0
    """Runs that trained to their end."""
    reused: int = 0
    """Runs that were answered from a finished training."""
    repeated: int = 0
    """Trials that the sampler suggested again and that were answered from their result."""
    failed_runs: int = 0
    failed_trials: list[TrialRecord] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Trial:
    """A trial under way."""

    proposal: Proposal
    waiting: int
    """Runs that have not ended."""
    runs: list[RunRecord] = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """A run that waits or is under way."""

    trial: _Trial
    start: RunStart
    tracker: RunTracker | None = None


class SweepLoop:
    """Runs a sweep to its end. All of search, tracker and observer is called from the calling thread only."""

    def __init__(
        self,
        prepared: Prepared,
        *,
        search: Search,
        executor: Executor,
        tracker: Tracker,
        observer: Observer,
        ledger: Ledger,
        summarise: Summarise,
    ) -> None:
        self._prepared = prepared
        self._experiment = prepared.experiment
        self._search = search
        self._executor = executor
        self._tracker = tracker
        self._observer = observer
        self._ledger = ledger
        self._summarise = summarise
        self._outcome = SweepOutcome()
        self._waiting: deque[_Job] = deque()
        self._active: set[_Job] = set()
        self._events: queue.SimpleQueue[tuple[_Job, EpochMetrics | Future[RunResult]]] = queue.SimpleQueue()
        self._thread = threading.get_ident()

    def run(self, start: SweepStart) -> SweepOutcome:
        """Run what is left of the sweep. A lost run fails its trial; the sweep goes on.

        Raises:
            SetupError: The tracking store cannot be opened; nothing has run.
        """
        self._thread = threading.get_ident()
        self._tracker.start_sweep(start)
        status: SweepStatus = "killed"
        try:
            with self._executor:
                self._fill()
                while self._active:
                    self._handle(*self._events.get())
                    self._fill()
            status = "failed" if self._outcome.failed_trials else "finished"
        except BaseException:
            self._abandon()
            raise
        finally:
            try:
                self._tracker.update_sweep(self._summarise(self._search.trials(), final=True))
            finally:
                self._tracker.end_sweep(status)
        return self._outcome

    def _fill(self) -> None:
        """Start runs while there are free workers and runs to start."""
        while len(self._active) < self._executor.workers:
            if self._waiting:
                self._begin(self._waiting.popleft())
                continue
            proposal = self._search.propose()
            if proposal is None:
                return
            if proposal.repeats is not None:
                self._outcome.repeated += 1
                self._observer.on_message(
                    f"trial {proposal.number} ({proposal.choice.frozen}) repeats trial {proposal.repeats}: "
                    "answered from its result"
                )
                continue
            self._plan(proposal)

    def _plan(self, proposal: Proposal) -> None:
        seeds = self._experiment.search.seeds
        trial = _Trial(proposal=proposal, waiting=len(seeds))
        frozen = proposal.choice.frozen
        for seed in seeds:
            start = RunStart(
                name=run_name(proposal.number, frozen, seed),
                trial=proposal.number,
                spec=self._prepared.build_spec(proposal.choice, seed),
                cost=self._prepared.costs[frozen],
                blocks=self._experiment.blocks,
            )
            self._waiting.append(_Job(trial=trial, start=start))

    def _begin(self, job: _Job) -> None:
        fingerprint = job.start.spec.fingerprint
        result = self._ledger.find_result(fingerprint)
        if result is not None:
            self._reuse(job, result)
            return
        job.tracker = self._tracker.start_run(job.start)
        self._observer.on_run_start(job.start)
        self._active.add(job)
        workplace = Workplace(directory=str(self._ledger.directory(fingerprint)))
        future = self._executor.submit(job.start.spec, workplace, lambda metrics: self._on_epoch(job, metrics))
        future.add_done_callback(lambda done: self._events.put((job, done)))

    def _on_epoch(self, job: _Job, metrics: EpochMetrics) -> None:
        if threading.get_ident() == self._thread:  # an executor that runs in this thread blocks the queue's reader
            self._handle(job, metrics)
        else:
            self._events.put((job, metrics))

    def _handle(self, job: _Job, event: "EpochMetrics | Future[RunResult]") -> None:
        if isinstance(event, EpochMetrics):
            if job.tracker is not None:
                job.tracker.log_epoch(event)
            self._observer.on_epoch(job.start, event)
            return
        self._active.discard(job)
        error = event.exception()
        if error is None:
            self._finish(job, event.result())
        elif isinstance(error, OrchestratorError):
            self._lose(job, error)
        else:
            raise error

    def _finish(self, job: _Job, result: RunResult) -> None:
        """Keep a result. It is on disk already; a death between these lines is mended by the ledger."""
        if job.tracker is not None:
            job.tracker.finish(result)
        record = self._record(job, result=result)
        self._ledger.enter(self._experiment.name, record)
        self._outcome.trained += 1
        self._end_run(job, record)

    def _lose(self, job: _Job, error: OrchestratorError) -> None:
        detail = f"{error.message}\n\n{error.hint}" if error.hint else error.message
        if job.tracker is not None:
            job.tracker.fail(detail)
        self._outcome.failed_runs += 1
        self._end_run(job, self._record(job, error=error.message))

    def _reuse(self, job: _Job, result: RunResult) -> None:
        """Answer a run from a finished training.

        Another experiment's training shows up here as a run of its own, marked; one of this experiment is
        tracked already.
        """
        entry = self._ledger.find_entry(result.fingerprint)
        source = f"{entry.experiment}/{entry.run.name}" if entry else f"training {result.fingerprint}"
        self._observer.on_message(f"{job.start.name} is answered from {source}: the same training is done")
        self._outcome.reused += 1
        if entry is not None and entry.experiment == self._experiment.name:
            record = self._record(job, result=result, reused_from=source)
            self._end_run(job, record.model_copy(update={"mlflow_run_id": entry.run.mlflow_run_id}))
            return
        job.tracker = self._tracker.start_run(replace(job.start, reused_from=source))
        for metrics in result.history:
            job.tracker.log_epoch(metrics)
        job.tracker.finish(result)
        record = self._record(job, result=result, reused_from=source)
        if entry is None:
            self._ledger.enter(self._experiment.name, record)
        self._end_run(job, record)

    def _record(
        self,
        job: _Job,
        *,
        result: RunResult | None = None,
        error: str | None = None,
        reused_from: str | None = None,
    ) -> RunRecord:
        fingerprint = job.start.spec.fingerprint
        return RunRecord(
            name=job.start.name,
            seed=job.start.spec.seed,
            fingerprint=fingerprint,
            result=result,
            error=error,
            mlflow_run_id=job.tracker.run_id if job.tracker is not None else None,
            reused_from=reused_from,
            checkpoint=self._ledger.checkpoint(fingerprint) if result is not None else None,
        )

    def _end_run(self, job: _Job, record: RunRecord) -> None:
        self._observer.on_run_end(job.start, record)
        trial = job.trial
        trial.runs.append(record)
        trial.waiting -= 1
        if trial.waiting:
            return
        runs = sorted(trial.runs, key=lambda run: self._experiment.search.seeds.index(run.seed))
        lost = [run for run in runs if run.error is not None]
        if lost:
            reason = "; ".join(f"seed {run.seed}: {run.error}" for run in lost)
            ended = self._search.fail(trial.proposal.number, reason, runs)
            self._outcome.failed_trials.append(ended)
        else:
            ended = self._search.tell(trial.proposal.number, runs)
        self._observer.on_trial_end(ended)
        self._tracker.update_sweep(self._summarise(self._search.trials(), final=False))

    def _abandon(self) -> None:
        """Close what was under way when the sweep was stopped, so that no status lies."""
        for job in self._active:
            if job.tracker is not None:
                job.tracker.kill(INTERRUPTED)
        trials = {id(job.trial): job.trial for job in [*self._active, *self._waiting]}
        for trial in trials.values():
            self._search.fail(trial.proposal.number, INTERRUPTED, trial.runs)
