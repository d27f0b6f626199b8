"""What decides which runs a sweep starts, and when a trial has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.interfaces import Search
from orchestrator.records.labels import describe_values, find_varied
from orchestrator.records.prepared import Prepared
from orchestrator.records.spec import Choice, Proposal, run_name
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.sweep.jobs import Job, TrialRuns


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

    def settle(self, prepared: Prepared) -> None:
        """Hear how many runs there are at a time, before the first of them."""

    def next_step(self) -> NextStep | None:
        """Return what to do next; None where that depends on runs under way, or where nothing is left."""

    def pause(self, job: Job) -> None:
        """Hear that a run has paused."""

    def end_run(self, job: Job, record: RunRecord) -> TrialRecord | None:
        """Hear how a run ended, and tell the search; returns the trial if it ended with it."""

    def close(self) -> list[TrialRecord]:
        """Tell the search of what is left once no run is under way; returns the trials that ended with it."""


def build_job(
    prepared: Prepared, trial: TrialRuns, seed: int, until: int | None = None, fold: int | None = None
) -> Job:
    """Build the job of one run of a trial, which then waits for one more."""
    proposal = trial.proposal
    frozen = proposal.choice.frozen
    varied = find_varied(prepared.experiment)
    values = describe_values(proposal.choice.hyperparameters, varied)
    start = RunStart(
        name=run_name(proposal.number, frozen, seed, values, fold),
        trial=proposal.number,
        spec=prepared.build_spec(proposal.choice, seed, fold),
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
        return search.fail(number, "; ".join(f"{run.replicate}: {run.error}" for run in lost), runs)
    if trial.stopped:
        return search.put_off(number, runs)
    return None
