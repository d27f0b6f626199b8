"""What decides which runs a sweep starts, and when a trial has ended; and the strategy that runs them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.interfaces import Choice, Proposal, RunStart, Search
from orchestrator.jobs import Job, TrialRuns
from orchestrator.labels import describe_values, find_varied
from orchestrator.prepared import Prepared
from orchestrator.records import RunRecord, TrialRecord, run_name


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What a sweep does next.

    Attributes:
        jobs: Runs that begin, or that go on after a pause.
        drops: Paused runs that are dropped, each with the reason.
        repeat: A trial that the search has answered itself.
    """

    jobs: Sequence[Job] = ()
    drops: Sequence[tuple[Job, str]] = ()
    repeat: Proposal | None = None


class Strategy(Protocol):
    """Decides which runs a sweep starts, and tells the search how its trials end."""

    @property
    def left(self) -> Sequence[Choice] | None:
        """Points that are left to run, as far as is known before anything runs; None where a sampler decides."""

    @property
    def paused(self) -> Sequence[Job]:
        """Runs that have paused and not gone on."""

    @property
    def under_way(self) -> Sequence[TrialRuns]:
        """Trials that were proposed and that the search has not been told of."""

    def next_step(self) -> NextStep | None:
        """Say what to do next; None where that depends on runs under way, or where nothing is left."""

    def pause(self, job: Job) -> None:
        """Hear that a run has paused."""

    def end_run(self, job: Job, record: RunRecord) -> TrialRecord | None:
        """Hear how a run ended, and tell the search; returns the trial if it ended with it."""

    def close(self) -> list[TrialRecord]:
        """Tell the search of what is left once no run is under way; returns the trials that ended with it."""


def build_job(prepared: Prepared, trial: TrialRuns, seed: int, until: int | None = None) -> Job:
    """Build the job of one run of a trial, which then waits for one more."""
    proposal = trial.proposal
    frozen = proposal.choice.frozen
    varied = find_varied(prepared.experiment)
    values = describe_values(proposal.choice.hyperparameters, varied)
    start = RunStart(
        name=run_name(proposal.number, frozen, seed, values),
        trial=proposal.number,
        spec=prepared.build_spec(proposal.choice, seed),
        cost=prepared.costs[frozen],
        scores=prepared.score(frozen),
        blocks=prepared.experiment.blocks,
    )
    trial.waiting += 1
    return Job(trial=trial, start=start, until=until)


def fail_or_put_off(search: Search, trial: TrialRuns) -> TrialRecord | None:
    """Tell the search of a trial one of whose runs was lost or stopped; None where all of them are whole."""
    number, runs = trial.proposal.number, trial.runs
    lost = [run for run in runs if run.error is not None and run.cause is not None]
    if lost:
        return search.fail(number, "; ".join(f"seed {run.seed}: {run.error}" for run in lost), runs)
    if trial.stopped:
        return search.put_off(number, runs)
    return None


class FullStrategy:
    """Runs each trial that the search proposes to its end, once for each seed.

    Args:
        prepared: What to run.
        search: Proposes trials.
    """

    def __init__(self, prepared: Prepared, search: Search) -> None:
        self._prepared = prepared
        self._search = search
        self._trials: dict[int, TrialRuns] = {}

    @property
    def left(self) -> Sequence[Choice] | None:
        """Points that are left to run, in order; None where a sampler decides."""
        return self._search.planned()

    @property
    def paused(self) -> Sequence[Job]:
        """None: nothing pauses."""
        return ()

    @property
    def under_way(self) -> Sequence[TrialRuns]:
        """Trials that were proposed and that the search has not been told of."""
        return list(self._trials.values())

    def next_step(self) -> NextStep | None:
        """Give the runs of the next trial."""
        proposal = self._search.propose()
        if proposal is None:
            return None
        if proposal.repeats is not None:
            return NextStep(repeat=proposal)
        trial = self._trials[proposal.number] = TrialRuns(proposal=proposal)
        return NextStep(
            jobs=[build_job(self._prepared, trial, seed) for seed in self._prepared.experiment.search.seeds]
        )

    def pause(self, job: Job) -> None:
        """Refuse: no run of this strategy is told to pause."""
        raise ValueError(f"{job.start.name} paused, and nobody told it to")

    def end_run(self, job: Job, record: RunRecord) -> TrialRecord | None:
        """Tell the search of the trial when its last run ends."""
        trial = job.trial
        trial.add(record)
        if trial.waiting:
            return None
        order = self._prepared.experiment.search.seeds.index
        trial.runs.sort(key=lambda run: order(run.seed))
        del self._trials[trial.proposal.number]
        return fail_or_put_off(self._search, trial) or self._search.tell(trial.proposal.number, trial.runs)

    def close(self) -> list[TrialRecord]:
        """Nothing is left: each trial ends with its last run."""
        return []
