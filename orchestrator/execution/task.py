"""A run in the hands of an executor, and how long it may take."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from orchestrator.errors import RunError
from orchestrator.execution.child import last_output
from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunOutcome
from orchestrator.records.spec import RunSpec


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """A run that was submitted.

    Attributes:
        seat: GPU that it was given, or 0.
        process: Its worker; None until that has started.
        server: Process id of the fork server that forked it.
        began: When the worker was there (monotonic seconds).
        heard: When it was last heard of.
        asked: Whether it was asked to stop.
        verdict: Why the executor ended it; None where it did not.
        refused: What its sink raised; None where it did not.
    """

    spec: RunSpec
    workplace: Workplace
    on_epoch: EpochSink
    future: Future[RunOutcome]
    seat: int = 0
    process: BaseProcess | None = None
    server: int | None = None
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    asked: bool = False
    verdict: RunError | None = None
    refused: RunError | None = None

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(self.workplace.directory)

    def settle(self, outcome: RunOutcome | RunError) -> None:
        """Complete the future."""
        final = self.refused or outcome
        if isinstance(final, RunError):
            self.future.set_exception(final)
        else:
            self.future.set_result(final)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a run may take.

    Attributes:
        timeout_s: Seconds that one attempt may take; None: no limit.
        stall_s: Seconds that may pass without an epoch; None: no limit.
    """

    timeout_s: float | None = None
    stall_s: float | None = None

    def exceeded(self, task: Task) -> RunError | None:
        """Return which limit a task has exceeded; None where it has not."""
        now = time.monotonic()
        if self.timeout_s is not None and now - task.began > self.timeout_s:
            message = f"the run took longer than {_minutes(self.timeout_s)}"
            advice = "raise execution.timeout_min, or train fewer epochs"
        elif self.stall_s is not None and now - task.heard > self.stall_s:
            message = f"the worker hangs: no epoch for {_minutes(self.stall_s)}"
            advice = "raise execution.stall_min where an epoch may take longer"
        else:
            return None
        output = last_output(task.folder)
        return RunError(message, hint=f"{advice}; {output}" if output else advice, cause="timeout")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g} min"
