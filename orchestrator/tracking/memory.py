"""A tracker that keeps everything in memory: for tests, and for programs that want no files."""

from dataclasses import dataclass, field
from typing import Literal

from orchestrator import names
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.tracking.entries import curve_points, epoch_step, run_params, summary_metrics

Status = Literal["running", "finished", "failed", "killed", "put_off"]


@dataclass(slots=True, kw_only=True)
class MemoryRun:
    """A run as it was tracked.

    Attributes:
        start: What was known at its start.
        params: Its params.
        status: `running` until it ends.
        metrics: Summary metrics; empty unless it finished.
        curves: Points as (step, value) by the curve's name.
        reason: Why it failed, was killed or was put off.
        pareto: Whether its trial is on the front, as of the last update of the sweep.
    """

    start: RunStart
    params: dict[str, str | int | float]
    status: Status = "running"
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    reason: str | None = None
    result: RunResult | None = None
    pareto: bool = False

    @property
    def run_id(self) -> str | None:
        """None: there is no MLflow run."""
        return None

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves, unless it is there."""
        if any(step == epoch_step(metrics) for step, _ in self.curves.get(names.CURVE_VAL_ACC, ())):
            return
        for name, value, step in curve_points(metrics):
            self.curves.setdefault(name, []).append((step, value))

    def finish(self, result: RunResult) -> None:
        """Keep the result."""
        self._end("finished")
        self.result = result
        self.metrics = summary_metrics(result)

    def fail(self, error: str) -> None:
        """Keep the error."""
        self._end("failed")
        self.reason = error

    def kill(self, reason: str) -> None:
        """Keep the reason."""
        self._end("killed")
        self.reason = reason

    def put_off(self, reason: str) -> None:
        """Keep the reason."""
        self._end("put_off")
        self.reason = reason

    def reopen(self, start: RunStart) -> None:
        """Go on with the run under the name and trial of `start`."""
        self.start = start
        self.status = "running"
        self.reason = None

    def _end(self, status: Status) -> None:
        if self.status != "running":
            raise ValueError(f"{self.start.name} is {self.status} already and cannot become {status}")
        self.status = status


class MemoryTracker:
    """Keeps what it is told.

    Attributes:
        runs: Every run, in the order of their starts, over all calls of the sweep.
        starts: One a call of the sweep.
        summaries: Every update of the sweep.
        status: Status of the sweep; None before its first start.
    """

    def __init__(self) -> None:
        self.runs: list[MemoryRun] = []
        self.starts: list[SweepStart] = []
        self.summaries: list[SweepSummary] = []
        self.status: Status | None = None

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep; runs that an earlier call left running are put off."""
        self.starts.append(start)
        self.status = "running"
        for run in self.runs:
            if run.status == "running":
                run.put_off("the sweep that ran it is gone")

    def start_run(self, start: RunStart) -> MemoryRun:
        """Open a run, or go on with the newest of its fingerprint that does not run; it takes the place of others."""
        ended = [run for run in self._find(start) if run.status != "running"]
        if start.resumes_from and ended:
            ended[-1].reopen(start)
            return ended[-1]
        self.runs = [run for run in self.runs if run not in ended or run.status != "put_off"]
        run = MemoryRun(start=start, params=run_params(start))
        self.runs.append(run)
        return run

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:  # noqa: ARG002 - there are no MLflow runs here
        """Hand the finished run of this fingerprint to another trial."""
        for run in [run for run in self._find(start) if run.status == "finished"][-1:]:
            run.start = start

    def update_sweep(self, summary: SweepSummary) -> None:
        """Keep the summary and mark the runs of the front."""
        self.summaries.append(summary)
        for run in self.runs:
            run.pareto = run.start.trial in summary.front

    def end_sweep(self, status: SweepStatus) -> None:
        """Keep the status; what a finished sweep has not gone on with is killed."""
        self.status = status
        for run in self.runs:
            if status == "finished" and run.status == "put_off":
                run.status = "killed"

    def _find(self, start: RunStart) -> list[MemoryRun]:
        return [run for run in self.runs if run.start.spec.fingerprint == start.spec.fingerprint]
