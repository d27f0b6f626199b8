"""How far a sweep is, in a small file that another shell can read at any time."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.config.models import Experiment
from orchestrator.files import write_atomically
from orchestrator.interfaces import Choice, RunStart
from orchestrator.records import EpochMetrics, Record, RunRecord, TrialRecord


class RunProgress(Record):
    """A run under way."""

    name: str
    trial: int
    frozen: str
    seed: int
    epochs: int
    """Epochs that are done."""
    max_epochs: int
    val_acc: float | None = None
    """Of the last epoch."""
    started: str
    """UTC, ISO 8601."""
    notes: tuple[str, ...] = ()
    """What the user should hear of it, a sentence each."""


class Progress(Record):
    """How far a sweep is."""

    planned: int | None = None
    """Trials of the whole study; None where a sampler decides as it goes."""
    runs: tuple[RunProgress, ...] = ()
    """Runs under way, or that were when the sweep died."""
    to_go_s: float | None = None
    """Estimate of the seconds that are left; None before a run has ended."""
    updated: str
    """UTC, ISO 8601."""


def read_progress(path: Path) -> Progress | None:
    """Read how far a sweep is; None where it never said so."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def estimate_to_go(
    experiment: Experiment, trials: int, *, ended: Sequence[float], under_way: Sequence[float]
) -> float | None:
    """Estimate the seconds until `trials` more are complete; None before a run has ended, and in a race.

    Args:
        experiment: Says how many runs a trial has, and how many run at a time.
        trials: Trials that are not complete, those under way among them.
        ended: Seconds that each run took which has ended.
        under_way: Seconds since each run began that has not.
    """
    if not ended or experiment.search.strategy == "race":  # nobody knows how many it drops
        return None
    runs = trials * len(experiment.search.seeds)
    return max(0.0, runs * sum(ended) / len(ended) - sum(under_way)) / experiment.execution.runs_at_a_time


class ProgressFile:
    """An observer that keeps the file up to date; it is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._planned: int | None = None
        self._left: int | None = None
        self._experiment: Experiment | None = None
        self._runs: dict[str, RunProgress] = {}
        self._began: dict[str, float] = {}
        self._durations: list[float] = []

    def on_message(self, text: str) -> None:
        """Leave messages to others."""

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Note how many trials there are."""
        self._experiment = experiment
        if choices is not None:
            self._left, self._planned = len(choices), len(choices) + len(done)
        self._write()

    def on_run_start(self, start: RunStart) -> None:
        """Note a run."""
        self._began[start.name] = time.monotonic()
        self._runs[start.name] = RunProgress(
            name=start.name,
            trial=start.trial,
            frozen=start.spec.frozen,
            seed=start.spec.seed,
            epochs=start.resumes_from,
            max_epochs=start.spec.trainer.max_epochs,
            started=_now(),
        )
        self._write()

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Note an epoch."""
        run = self._runs[start.name]
        notes = tuple(dict.fromkeys((*run.notes, *metrics.notes)))
        known = {"epochs": metrics.epoch + 1, "val_acc": metrics.val_acc, "notes": notes}
        self._runs[start.name] = run.model_copy(update=known)
        self._write()

    def on_run_pause(self, start: RunStart, epochs: int) -> None:  # noqa: ARG002 - its last epoch was seen
        """Forget a run until it starts again."""
        self._began.pop(start.name, None)
        self._runs.pop(start.name, None)
        self._write()

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Forget a run."""
        began = self._began.pop(start.name, None)
        if self._runs.pop(start.name, None) is not None and began is not None and record.result is not None:
            self._durations.append(time.monotonic() - began)
        self._write()

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Count a trial."""
        if self._left is not None and trial.is_settled:
            self._left -= 1
        self._write()

    def _write(self) -> None:
        progress = Progress(
            planned=self._planned, runs=tuple(self._runs.values()), to_go_s=self._estimate(), updated=_now()
        )
        write_atomically(self._path, progress.model_dump_json(indent=1))

    def _estimate(self) -> float | None:
        if self._left is None or self._experiment is None:
            return None
        under_way = [time.monotonic() - began for began in self._began.values()]
        return estimate_to_go(self._experiment, self._left, ended=self._durations, under_way=under_way)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
