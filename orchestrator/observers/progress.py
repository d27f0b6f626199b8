"""How far a sweep is, in a small file that another shell can read at any time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.config.models import Experiment
from orchestrator.errors import SetupError
from orchestrator.records.document import read_document, write_document
from orchestrator.records.record import Record
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.spec import Choice
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.storage.files import write_atomically


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


class SweepProgress(Record):
    """How far a sweep is."""

    planned: int | None = None
    """Trials of the whole study; None where a sampler decides as it goes."""
    runs: tuple[RunProgress, ...] = ()
    """Runs under way, or that were when the sweep died."""
    to_go_s: float | None = None
    """Estimate of the seconds that are left; None where that is not known (yet)."""
    updated: str
    """UTC, ISO 8601."""


def read_progress(path: Path) -> SweepProgress | None:
    """Read how far a sweep is; None where it never said so."""
    try:
        return read_document(SweepProgress, path.read_bytes(), str(path))
    except (OSError, ValueError, SetupError):
        return None


@dataclass(slots=True, kw_only=True)
class _Lap:
    """A run under way: when it began in this call (monotonic seconds), and its epochs before and so far."""

    began: float
    before: int
    epochs: int
    of: int


class Pace:
    """Estimates how long a sweep still takes, from what runs took that trained in this call: for an observer."""

    def __init__(self) -> None:
        self._experiment: Experiment | None = None
        self._waiting: int | None = None
        self._laps: dict[str, _Lap] = {}
        self._took: list[float] = []

    def plan(self, experiment: Experiment, choices: Sequence[Choice] | None) -> None:
        """Hear what is to run; None: a sampler decides."""
        self._experiment = experiment
        self._waiting = None if choices is None else len(choices) * len(experiment.replicates)

    def start(self, start: RunStart) -> None:
        """Hear that a run has started."""
        self._laps[start.name] = _Lap(
            began=time.monotonic(),
            before=start.resumes_from,
            epochs=start.resumes_from,
            of=start.spec.trainer.max_epochs,
        )

    def epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Hear of an epoch; one of an earlier attempt took no time in this call."""
        lap = self._laps.get(start.name)
        if lap is not None:
            lap.epochs = max(lap.epochs, metrics.epoch + 1)

    def end(self, start: RunStart, record: RunRecord) -> None:
        """Hear how a run has ended. One that was answered from a finished training says nothing of the others."""
        lap = self._laps.pop(start.name, None)
        if self._waiting is not None:
            self._waiting -= 1
        if lap is not None and record.result is not None and record.reused_from is None:
            self._took.append(record.result.duration_s if lap.before else time.monotonic() - lap.began)

    def estimate_s(self) -> float | None:
        """Estimate the seconds until all runs have ended; None where that is not known (yet).

        It is not before a run has ended that trained in this call, while a run takes longer than those and has had no
        epoch, where a sampler decides, and in a race: nobody knows how many it drops.
        """
        if self._experiment is None or self._waiting is None or self._experiment.search.strategy == "race":
            return None
        waiting = self._waiting - len(self._laps)  # those under way have not ended
        if not self._took:
            return None
        mean = sum(self._took) / len(self._took)
        left = [self._left(lap, mean) for lap in self._laps.values()]
        known = [seconds for seconds in left if seconds is not None]
        if len(known) < len(left):
            return None
        return max([(max(0, waiting) * mean + sum(known)) / self._experiment.execution.runs_at_a_time, *known])

    @staticmethod
    def _left(lap: _Lap, mean: float) -> float | None:
        took = time.monotonic() - lap.began
        if lap.epochs > lap.before:
            return took / (lap.epochs - lap.before) * (lap.of - lap.epochs)
        return mean - took if took <= mean else None


class ProgressFile:
    """An observer that keeps the file up to date; it is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._planned: int | None = None
        self._pace = Pace()
        self._runs: dict[str, RunProgress] = {}

    def on_message(self, text: str) -> None:
        """Leave messages to others."""

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Note how many trials there are."""
        self._pace.plan(experiment, choices)
        if choices is not None:
            self._planned = len(choices) + len(done)
        self._write()

    def on_run_start(self, start: RunStart) -> None:
        """Note a run."""
        self._pace.start(start)
        self._runs[start.name] = RunProgress(
            name=start.name,
            trial=start.trial,
            frozen=start.spec.frozen.key,
            seed=start.spec.seed,
            epochs=start.resumes_from,
            max_epochs=start.spec.trainer.max_epochs,
            started=_now(),
        )
        self._write()

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Note an epoch."""
        self._pace.epoch(start, metrics)
        run = self._runs[start.name]
        notes = tuple(dict.fromkeys((*run.notes, *metrics.notes)))
        known = {"epochs": metrics.epoch + 1, "val_acc": metrics.val_acc, "notes": notes}
        self._runs[start.name] = run.model_copy(update=known)
        self._write()

    def on_run_pause(self, start: RunStart, epochs: int) -> None:  # noqa: ARG002 - its last epoch was seen
        """Forget a run until it starts again."""
        self._runs.pop(start.name, None)
        self._write()

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Forget a run."""
        self._pace.end(start, record)
        self._runs.pop(start.name, None)
        self._write()

    def on_trial_end(self, trial: TrialRecord) -> None:  # noqa: ARG002 - its runs were heard of
        """Note how long the rest takes."""
        self._write()

    def _write(self) -> None:
        progress = SweepProgress(
            planned=self._planned, runs=tuple(self._runs.values()), to_go_s=self._pace.estimate_s(), updated=_now()
        )
        write_atomically(self._path, write_document(progress, indent=1))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
