"""What a person sees while a sweep runs: one live table in a terminal, else a plain line an epoch."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.status import Status
from rich.text import Text

from orchestrator.cli.run_table import RunRow, build_table, format_duration
from orchestrator.config.models import Experiment
from orchestrator.masking import mask_credentials
from orchestrator.observers.progress import Pace
from orchestrator.records.labels import find_varied
from orchestrator.records.record import Step
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.spec import Choice
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord, TrialRecord

SILENCE_S = 4.0
"""Seconds without a line after which what is being done is said again."""
_POLL_S = 0.5


class PlainObserver:
    """Writes one line an event to standard error: for logs and pipes. A context manager.

    Within its context, whatever is being done that takes long is said again every few seconds.

    Args:
        console: Where the lines go.
        verbosity: -1: messages and failures only; 0: a line an epoch; 1: the lower losses too.
    """

    def __init__(self, console: Console, *, verbosity: int = 0) -> None:
        self._console = console
        self._verbosity = verbosity
        self.on_prepared: Callable[[], None] = lambda: None
        """Called once it is known what will run."""
        self._done = 0
        self._total: int | None = None
        self._step: tuple[str, float] | None = None
        self._wrote = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self._thread.join()

    def on_message(self, text: str) -> None:
        """Write the message."""
        if isinstance(text, Step):
            self._step = (text, time.monotonic())
            if self._verbosity < 0:
                return
        self._write(text)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Write how many trials are done and left."""
        self.on_prepared()
        self._done = len(done)
        self._total = None if choices is None else len(choices) + len(done)
        self._write(describe_plan(experiment, choices, done))

    def on_run_start(self, start: RunStart) -> None:
        """Write which run starts."""
        self._step = None
        if self._verbosity >= 0:
            self._write(f"{start.name}: starts, {start.cost.trainable_params:,} parameters train")

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Write the epoch."""
        if self._verbosity < 0:
            return
        line = (
            f"{start.name}: epoch {metrics.number}/{start.spec.trainer.max_epochs}"
            f"  val_acc {metrics.val_acc:.4f}  val_loss {metrics.val_loss:.4f}"
        )
        if self._verbosity > 0:
            line += f"  train_acc {metrics.train_acc:.4f}  train_loss {metrics.train_loss:.4f}  lr {metrics.lr:.2e}"
        self._write(f"{line}  {metrics.duration_s:.1f} s")

    def on_run_pause(self, start: RunStart, epochs: int) -> None:
        """Write that the run waits."""
        if self._verbosity >= 0:
            self._write(f"{start.name}: waits for the others after epoch {epochs}")

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Write how the run ended."""
        if record.pruned_after is not None:
            if self._verbosity >= 0:
                self._write(f"{start.name}: {record.error}")
        elif record.result is None:
            put_off = record.state == "put_off"
            self._write(f"{start.name}: stopped" if put_off else f"{start.name}: lost: {record.error}")
        elif self._verbosity >= 0 and record.reused_from is None:
            result = record.result
            self._write(
                f"{start.name}: done, val_acc {result.val_acc:.4f} at epoch {result.best_epoch_number}"
                f" of {result.epochs_run}, {format_duration(result.duration_s)}"
            )

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Write how many trials are left."""
        self._done += trial.is_settled
        if self._verbosity >= 0 and self._total is not None:
            self._write(f"{self._done} of {self._total} trials done")

    def _write(self, text: str) -> None:
        self._wrote = time.monotonic()
        self._console.print(
            mask_credentials(text), markup=False, highlight=False, soft_wrap=not self._console.is_terminal
        )

    def _keep_saying(self) -> None:
        while not self._closed.wait(_POLL_S):
            step, now = self._step, time.monotonic()
            if step is not None and self._verbosity >= 0 and now - self._wrote >= SILENCE_S:
                self._write(f"{step[0]}, for {format_duration(now - step[1])} so far")


class LiveObserver:
    """Keeps one live table on standard error: for terminals. A context manager."""

    def __init__(self, console: Console) -> None:
        self.on_prepared: Callable[[], None] = lambda: None
        """Called once it is known what will run."""
        self._console = console
        self._rows: dict[str, RunRow] = {}
        self._done: list[TrialRecord] = []
        self._total: int | None = None
        self._varied: tuple[str, ...] = ()
        self._pace = Pace()
        self._is_race = False
        self._began = time.monotonic()
        self._step: str | None = None
        self._status: Status | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=False)
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_status()
        if self._started:
            self._live.stop()

    def on_message(self, text: str) -> None:
        """Print the message above the table; what is being done is shown until the next thing is."""
        if isinstance(text, Step):
            self._step = text
            if self._started:
                return
            if self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            self._status.update(text)
            return
        self._console.print(mask_credentials(text), markup=False, highlight=False)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Print the plan and start the table where something is left."""
        self.on_prepared()
        self._done = list(done)
        self._total = None if choices is None else len(choices) + len(done)
        self._varied = find_varied(experiment)
        self._pace.plan(experiment, choices)
        self._is_race = experiment.search.strategy == "race"
        self.on_message(describe_plan(experiment, choices, done))
        if choices != []:
            self._end_status()
            self._live.start()
            self._started = True

    def on_run_start(self, start: RunStart) -> None:
        """Add the run's row; one that has waited comes to the end."""
        self._step = None
        self._pace.start(start)
        before = self._rows.pop(start.name, None)
        history = before.history if before is not None and before.waits else []
        self._rows[start.name] = RunRow(start, time.monotonic(), history=history)

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Update the run's row."""
        self._pace.epoch(start, metrics)
        self._rows[start.name].history.append(metrics)

    def on_run_pause(self, start: RunStart, epochs: int) -> None:  # noqa: ARG002 - its last epoch was seen
        """Show that the run waits."""
        row = self._rows.setdefault(start.name, RunRow(start, time.monotonic()))
        row.waits, row.ended = True, time.monotonic()

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Show the result in the run's row."""
        self._pace.end(start, record)
        row = self._rows.setdefault(start.name, RunRow(start, time.monotonic()))
        row.record, row.ended = record, time.monotonic()

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Count the trial."""
        self._done.append(trial)

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _render(self) -> RenderableType:
        rows = list(self._rows.values())
        room = max(3, self._console.height - 5)
        table = build_table(rows[-room:], self._varied, self._console.width)
        return Group(table, Text(self._summary(len(rows) - room), style="dim"))

    def _summary(self, hidden: int) -> str:
        done = sum(trial.is_settled for trial in self._done)
        pruned = sum(trial.state == "pruned" for trial in self._done)
        failed = sum(trial.has_failed for trial in self._done)
        parts = [f"{done} of {self._total} trials done" if self._total else f"{done} trials done"]
        if pruned:
            parts.append(f"{pruned} of them pruned")
        if failed:
            parts.append(f"{failed} failed")
        reused = sum(row.is_reused for row in self._rows.values())
        if reused:
            parts.append(f"{reused} {'run' if reused == 1 else 'runs'} answered from finished trainings")
        accuracies = [trial.val_acc for trial in self._done if trial.val_acc is not None]
        if accuracies:
            parts.append(f"highest measured val_acc {max(accuracies):.4f}")
        parts.append(format_duration(time.monotonic() - self._began))
        if self._total and done < self._total and not self._is_race:
            to_go = self._pace.estimate_s()
            parts.append("time to go unknown yet" if to_go is None else f"about {format_duration(max(1, to_go))} to go")
        if self._step is not None:
            parts.append(self._step)
        if hidden > 0:
            parts.append(f"{hidden} earlier runs above")
        return " · ".join(parts)


def describe_plan(experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> str:
    """Describe in a sentence what is done and what is left."""
    if choices is None:
        sampler = "a sampler" if experiment.search.sampler == "auto" else experiment.search.sampler
        return f"{experiment.name}: {len(done)} of {experiment.search.n_trials} trials done; {sampler} chooses the rest"
    if not choices:
        return (
            f"{experiment.name}: nothing to train: all {len(done)} trials of the search space are finished "
            "with this configuration"
        )
    seeds = len(experiment.replicates) if experiment.search.strategy == "full" else 1
    runs = f", {len(choices) * seeds} runs" if seeds > 1 else ""
    return f"{experiment.name}: {len(choices)} trials to run{runs}, {len(done)} done"
