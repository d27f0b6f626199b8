"""A sweep's runs on their way, and what a call of the sweep did."""

import time
from collections.abc import Callable, Iterator, MutableSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.interfaces import RunTracker
from orchestrator.masking import mask_credentials
from orchestrator.records.spec import Proposal
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord, RunState, TrialRecord


@dataclass(slots=True, kw_only=True)
class SweepOutcome:
    """What a call of the sweep did. Counts of this call alone."""

    trained: int = 0
    """Runs that trained to their end."""
    reused: int = 0
    """Runs that were answered from a finished training."""
    repeated: int = 0
    """Trials that the sampler suggested again and that were answered from their result."""
    resumed: int = 0
    """Runs that continued from a checkpoint."""
    retried: int = 0
    """Times that a lost run was tried again."""
    pruned: list[TrialRecord] = field(default_factory=list)
    """Trials that a race dropped."""
    failed_runs: int = 0
    failed_trials: list[TrialRecord] = field(default_factory=list)
    stopped: bool = False
    """It was stopped on request before its end."""

    def find_excess(self, limit: int | None) -> SweepError | None:
        """Describe that too many runs were lost, by `execution.max_failures`; None where they were not."""
        if limit is None or self.failed_runs < limit:
            return None
        return SweepError(
            f"stopped after {self.failed_runs} lost runs (execution.max_failures={limit}); the last: "
            f"{self.failed_trials[-1].error}",
            hint="what finished is kept: mend the cause and give the same command again",
        )


@dataclass(slots=True, kw_only=True)
class TrialRuns:
    """A trial under way."""

    proposal: Proposal
    waiting: int = 0
    """Runs that have not ended."""
    runs: list[RunRecord] = field(default_factory=list)
    stopped: bool = False

    def add(self, record: RunRecord) -> None:
        """Take in a run that has ended."""
        self.runs.append(record)
        self.waiting -= 1


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A run that waits or is under way."""

    trial: TrialRuns
    start: RunStart
    until: int | None = None
    """Epochs after which it pauses; None: it trains to its end."""
    tracker: RunTracker | None = None
    attempts: int = 0
    alone: bool = False
    """Memory was full: it is tried again with no other run on its GPU."""
    epochs: int = 0
    """Epochs that were seen: a run that continues repeats the earlier ones."""
    claim: ExitStack = field(default_factory=ExitStack)
    """Keeps other sweeps from training the same meanwhile."""
    pieces: int = 0
    """Times that it began or went on."""
    at_once: float | None = None
    """Runs under way during its last piece, itself among them, on average."""

    @property
    def trained_at_once(self) -> bool:
        """Whether it trained in one piece: it neither paused nor continued, and was not tried again."""
        return self.pieces == 1 and self.attempts == 1 and not self.start.resumes_from

    def record(self, state: RunState, **known: Any) -> RunRecord:
        """Write down how the run ended, with `known` fields of the record; its error shows no credentials."""
        if known.get("error") is not None:
            known["error"] = mask_credentials(known["error"])
        return RunRecord(
            name=self.start.name,
            seed=self.start.spec.seed,
            fold=self.start.spec.fold,
            fingerprint=self.start.spec.fingerprint,
            state=state,
            attempts=max(1, self.attempts),
            at_once=self.at_once if self.trained_at_once else None,
            mlflow_run_id=self.tracker.run_id if self.tracker is not None else None,
            **known,
        )


class JobsUnderWay(MutableSet[Job]):
    """The jobs under way. It notes for each how many there were on average while it was one of them.

    Args:
        clock: Seconds from any moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now = clock()
        self._work = 0.0
        """Jobs under way, summed over time: seconds."""
        self._began: dict[Job, tuple[float, float]] = {}

    def __contains__(self, job: object) -> bool:
        return job in self._began

    def __iter__(self) -> Iterator[Job]:
        return iter(self._began)

    def __len__(self) -> int:
        return len(self._began)

    def add(self, value: Job) -> None:
        """Note that a job begins, or goes on after a pause."""
        self._advance()
        value.pieces += 1
        self._began[value] = (self._now, self._work)

    def discard(self, value: Job) -> None:
        """Note that a job has ended or paused, if it is there."""
        self._advance()
        began, work = self._began.pop(value, (self._now, self._work))
        if self._now > began:
            value.at_once = (self._work - work) / (self._now - began)

    def _advance(self) -> None:
        now = self._clock()
        self._work += len(self) * (now - self._now)
        self._now = now
