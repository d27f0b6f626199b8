"""How text fits a terminal: widths are those of its cells, a Chinese letter takes two."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self, TextIO

LEAST_TEXT = 12
"""Cells to which a column of text is folded before columns are left out."""
GAP = 3
"""Cells between two columns."""
_DEFAULT_WIDTH = 80
_SHORT_NAME = 8
"""Cells up to which the name of a column stays in one line."""


def terminal_width(stream: TextIO) -> int:
    """Returns the columns of the terminal that a stream writes to: as `COLUMNS` says, else as the terminal does."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):  # no terminal, or a stream without a file
        return _DEFAULT_WIDTH


def measure(text: str) -> int:
    """Count the cells that a line takes."""
    from rich.cells import cell_len

    return cell_len(text)


def wrap(text: str, width: int, breaks: str = " ") -> list[str]:
    """Break a text after any of `breaks` into lines of at most `width` cells.

    A word that is wider stays whole, so that a path can be copied; one in letters of two cells, which has no spaces, is
    broken anywhere.
    """
    lines = [""]
    for part in re.split(f"(?<=[{re.escape(breaks)}])", text):
        for piece in _split_wide(part, width):
            if lines[-1] and measure(lines[-1]) + measure(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.rstrip() for line in lines]


def _split_wide(part: str, width: int) -> list[str]:
    if measure(part) <= max(width, len(part.rstrip())):
        return [part]
    from rich.cells import chop_cells

    return chop_cells(part, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table, with the text of each cell.

    Attributes:
        key: Its name.
        cells: A text each row.
        number: Whether they are numbers, which are never folded.
        head: Its name as it is shown: broken after underscores where that makes the column narrower.
        width: Cells that it takes.
    """

    key: str
    cells: tuple[str, ...]
    number: bool
    head: str
    width: int

    @classmethod
    def of(cls, key: str, cells: Sequence[str], *, number: bool) -> Self:
        """Build a column that is as wide as its widest cell and its name in one line."""
        width = max([measure(key), *map(measure, cells)])
        return cls(key=key, cells=tuple(cells), number=number, head=key, width=width)

    @property
    def least(self) -> int:
        """Cells that it takes at the least."""
        name = measure(self.key)
        if name > _SHORT_NAME:
            name = max(map(measure, re.split("(?<=_)", self.key)))
        widest = max(map(measure, self.cells), default=0)
        return max(name, widest if self.number else min(widest, LEAST_TEXT))

    def narrowed(self, width: int) -> Self:
        """Returns the column at a width of at least `least`: its name is broken, and its text is folded."""
        return replace(self, width=width, head="\n".join(wrap(self.key, width, breaks="_")))

    def cell(self, place: int) -> str:
        """Returns the text of a cell, folded after `+`, `_` and spaces, and elsewhere where it has no such place."""
        text = self.cells[place]
        if measure(text) <= self.width:
            return text
        from rich.cells import chop_cells

        lines = wrap(text, self.width, breaks="+_ ")
        return "\n".join(piece for line in lines for piece in chop_cells(line, self.width))


def fit(columns: Sequence[Column], width: int, *, first: Collection[str]) -> tuple[list[Column], list[str]]:
    """Choose the columns that a terminal has room for. Numbers are whole; text and names are folded.

    Args:
        columns: In their order, in which the chosen ones stay.
        width: Cells of the terminal.
        first: Keys that have the first choice; then the others, as far as the first that there is no room for.

    Returns:
        The chosen ones, at least one, and the names of the others.
    """
    wanted = sorted(columns, key=lambda column: column.key not in first)
    chosen: list[Column] = []
    used = -GAP
    for column in wanted:
        if chosen and used + GAP + column.least > width:
            break
        used += GAP + column.least
        chosen.append(column)
    room = max(0, width - used)
    shown = []
    for column in (each for each in columns if each in chosen):
        more = min(room, column.width - column.least)
        room -= more
        shown.append(column.narrowed(column.least + more))
    return shown, [column.key for column in columns if column not in chosen]
