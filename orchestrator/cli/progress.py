"""What a person sees while a sweep runs: one live table in a terminal, else a plain line an epoch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.config.models import Experiment
from orchestrator.interfaces import Choice, RunStart
from orchestrator.masking import mask_credentials
from orchestrator.progress import estimate_to_go
from orchestrator.records import EpochMetrics, RunRecord, TrialRecord


def format_duration(seconds: float) -> str:
    """Write seconds as `5 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(slots=True)
class _Row:
    """A run as the table shows it."""

    start: RunStart
    began: float
    history: list[EpochMetrics] = field(default_factory=list)
    record: RunRecord | None = None
    ended: float | None = None
    waits: bool = False

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began


class PlainObserver:
    """Writes one line an event to standard error: for logs and pipes.

    Args:
        console: Where the lines go.
        verbosity: -1: messages and failures only; 0: a line an epoch; 1: the lower losses too.
    """

    def __init__(self, console: Console, *, verbosity: int = 0) -> None:
        self._console = console
        self._verbosity = verbosity
        self._done = 0
        self._total: int | None = None

    def on_message(self, text: str) -> None:
        """Write the message."""
        self._write(text)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Write how many trials are done and left."""
        self._done = len(done)
        self._total = None if choices is None else len(choices) + len(done)
        self._write(describe_plan(experiment, choices, done))

    def on_run_start(self, start: RunStart) -> None:
        """Write which run starts."""
        if self._verbosity >= 0:
            self._write(f"{start.name}: starts, {start.cost.trainable_params:,} parameters train")

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Write the epoch."""
        if self._verbosity < 0:
            return
        line = (
            f"{start.name}: epoch {metrics.epoch + 1}/{start.spec.trainer.max_epochs}"
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
            self._write(f"{start.name}: stopped" if record.was_stopped else f"{start.name}: lost: {record.error}")
        elif self._verbosity >= 0 and record.reused_from is None:
            result = record.result
            self._write(
                f"{start.name}: done, val_acc {result.val_acc:.4f} at epoch {result.best_epoch + 1}"
                f" of {result.epochs_run}, {format_duration(result.duration_s)}"
            )

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Write how many trials are left."""
        self._done += trial.is_settled
        if self._verbosity >= 0 and self._total is not None:
            self._write(f"{self._done} of {self._total} trials done")

    def _write(self, text: str) -> None:
        self._console.print(mask_credentials(text), markup=False, highlight=False, soft_wrap=True)


class LiveObserver:
    """Keeps one live table on standard error: for terminals. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._done: list[TrialRecord] = []
        self._total: int | None = None
        self._experiment: Experiment | None = None
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=False)
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._started:
            self._live.stop()

    def on_message(self, text: str) -> None:
        """Print the message above the table."""
        self._console.print(mask_credentials(text), markup=False, highlight=False)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Print the plan and start the table where something is left."""
        self._done = list(done)
        self._total = None if choices is None else len(choices) + len(done)
        self._experiment = experiment
        self.on_message(describe_plan(experiment, choices, done))
        if choices != []:
            self._live.start()
            self._started = True

    def on_run_start(self, start: RunStart) -> None:
        """Add the run's row; one that has waited comes to the end."""
        before = self._rows.pop(start.name, None)
        history = before.history if before is not None and before.waits else []
        self._rows[start.name] = _Row(start, time.monotonic(), history=history)

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Update the run's row."""
        self._rows[start.name].history.append(metrics)

    def on_run_pause(self, start: RunStart, epochs: int) -> None:  # noqa: ARG002 - its last epoch was seen
        """Show that the run waits."""
        row = self._rows.setdefault(start.name, _Row(start, time.monotonic()))
        row.waits, row.ended = True, time.monotonic()

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Show the result in the run's row."""
        row = self._rows.setdefault(start.name, _Row(start, time.monotonic()))
        row.record, row.ended = record, time.monotonic()

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Count the trial."""
        self._done.append(trial)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("run", no_wrap=True, overflow="ellipsis", min_width=12)
        for column in ("epoch", "val_acc", "best", "trainable", "time"):
            table.add_column(column, justify="right", no_wrap=True)
        rows = list(self._rows.values())
        room = max(3, self._console.height - 5)
        for row in rows[-room:]:
            table.add_row(*_cells(row))
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
        accuracies = [trial.val_acc for trial in self._done if trial.val_acc is not None]
        if accuracies:
            parts.append(f"best val_acc {max(accuracies):.4f}")
        parts.append(format_duration(time.monotonic() - self._began))
        to_go = self._estimate(done)
        if to_go is not None:
            parts.append(f"about {format_duration(to_go)} to go")
        if hidden > 0:
            parts.append(f"{hidden} earlier runs above")
        return " · ".join(parts)

    def _estimate(self, done: int) -> float | None:
        if self._experiment is None or not self._total or done >= self._total:
            return None
        rows = self._rows.values()
        ended = [row.seconds for row in rows if row.record and row.record.result and row.record.reused_from is None]
        under_way = [row.seconds for row in rows if row.record is None]
        return estimate_to_go(self._experiment, self._total - done, ended=ended, under_way=under_way)


def _cells(row: _Row) -> tuple[RenderableType, ...]:
    last = row.history[-1] if row.history else None
    best = max((metrics.val_acc for metrics in row.history), default=None)
    state = "[dim]waits[/] " if row.waits else ""
    if row.record is not None and row.record.pruned_after is not None:
        state = "[dim]pruned[/] "
    elif row.record is not None:
        lost = "[yellow]stopped[/] " if row.record.was_stopped else "[red]lost[/] "
        state = lost if row.record.result is None else "[green]done[/] "
        best = row.record.result.val_acc if row.record.result else best
    return (
        Text.from_markup(state).append(row.start.name),
        f"{last.epoch + 1}/{row.start.spec.trainer.max_epochs}" if last else "starts",
        f"{last.val_acc:.4f}" if last else "",
        f"{best:.4f}" if best is not None else "",
        f"{row.start.cost.trainable_params:,}",
        format_duration(row.seconds),
    )


def describe_plan(experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> str:
    """Say in a sentence what is done and what is left."""
    if choices is None:
        sampler = "tpe" if experiment.search.sampler == "auto" else experiment.search.sampler
        return f"{experiment.name}: {len(done)} of {experiment.search.n_trials} trials done; {sampler} samples the rest"
    if not choices:
        return (
            f"{experiment.name}: nothing to train: all {len(done)} trials of the search space are finished "
            "with this configuration"
        )
    seeds = len(experiment.search.seeds) if experiment.search.strategy == "full" else 1
    runs = f", {len(choices) * seeds} runs" if seeds > 1 else ""
    return f"{experiment.name}: {len(choices)} trials to run{runs}, {len(done)} done"
