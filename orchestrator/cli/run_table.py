"""The table of the runs under way: one line a run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from orchestrator.cli.widths import measure
from orchestrator.records.labels import format_value
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord

_COLUMNS = ("epoch", "val_acc", "checkpoint", "trainable", "time")
"""Of each run; `val_acc` is that of the last epoch, `checkpoint` that of the best epoch so far."""
_GAP = 2
"""Cells between two columns."""
_LEAST_NAME = 22
"""Cells that the name of a run has at the least: columns are left out before it is shorter."""


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
class RunRow:
    """A run as the table shows it."""

    start: RunStart
    began: float
    history: list[EpochMetrics] = field(default_factory=list)
    record: RunRecord | None = None
    ended: float | None = None
    waits: bool = False

    @property
    def is_reused(self) -> bool:
        """Whether a finished training answered it."""
        return self.record is not None and self.record.reused_from is not None

    @property
    def epochs(self) -> int:
        """Epochs that it has, here or in the training that answered it."""
        if self.record is not None and self.record.result is not None:
            return self.record.result.epochs_run
        return self.history[-1].epoch + 1 if self.history else 0

    @property
    def val_acc(self) -> float | None:
        """Of its last epoch."""
        if self.record is not None and self.record.result is not None and self.record.result.history:
            return self.record.result.history[-1].val_acc
        return self.history[-1].val_acc if self.history else None

    @property
    def seconds(self) -> float:
        """How long it has taken, or took."""
        return (self.ended or time.monotonic()) - self.began


def build_table(rows: Sequence[RunRow], varied: Sequence[str], width: int) -> Table:
    """Build the table of the runs under way: numbers are whole, the names of runs as long as there is room for.

    Args:
        rows: The runs.
        varied: What varies in the sweep: columns of their own.
        width: Cells that there are.
    """
    heads = [*varied, *_COLUMNS]
    cells = [
        [format_value(getattr(row.start.spec.hyperparameters, name)) for name in varied] + _cells(row) for row in rows
    ]
    states = [_state(row) for row in rows]
    widths = [max(measure(head), *(measure(line[i]) for line in cells), 0) for i, head in enumerate(heads)]
    room = width - sum(widths) - _GAP * len(heads)
    for place in (len(heads) - 1, len(heads) - 2):  # time, then parameters
        if room < _LEAST_NAME:
            room += widths[place] + _GAP
            heads = heads[:place]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True, overflow="ellipsis", min_width=12)
    for head, least in zip(heads, widths, strict=False):
        table.add_column(head, justify="right", no_wrap=True, min_width=least)
    for row, state, line in zip(rows, states, cells, strict=True):
        name = _shorten(row.start.name, max(room - state.cell_len, 0))
        table.add_row(state.append(name), *line[: len(heads)])
    return table


def _shorten(name: str, room: int) -> str:
    """Cut a run's name in its middle: trial and seed stay."""
    if measure(name) <= room:
        return name
    end = name[name.rfind("_") :]
    return f"{name[: max(0, room - len(end) - 1)]}…{end}"


def _state(row: RunRow) -> Text:
    if row.record is None:
        return Text.from_markup("[dim]waits[/] " if row.waits else "")
    if row.record.pruned_after is not None:
        return Text.from_markup("[dim]pruned[/] ")
    if row.record.result is None:
        return Text.from_markup("[yellow]stopped[/] " if row.record.state == "put_off" else "[red]lost[/] ")
    return Text.from_markup("[green]reused[/] " if row.is_reused else "[green]done[/] ")


def _cells(row: RunRow) -> list[str]:
    kept = min(row.history, key=lambda metrics: metrics.badness).val_acc if row.history else None
    if row.record is not None and row.record.result is not None:
        kept = row.record.result.val_acc
    return [
        f"{row.epochs}/{row.start.spec.trainer.max_epochs}" if row.epochs else "starts",
        f"{row.val_acc:.4f}" if row.val_acc is not None else "",
        f"{kept:.4f}" if kept is not None else "",
        f"{row.start.cost.trainable_params:,}",
        format_duration(row.seconds),
    ]
