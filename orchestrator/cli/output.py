"""Tables on stdout, for people and for programs. Whatever is no data goes to stderr."""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal

from orchestrator import catalogue, names
from orchestrator.cli.widths import LEAST_TEXT, Column, fit, terminal_width, wrap
from orchestrator.machine.streams import write_data
from orchestrator.masking import mask_credentials
from orchestrator.quantities import NUMBER

Row = Mapping[str, object]

COMPARISON_COLUMNS = (
    names.CHEAPER,
    names.OTHER,
    names.DIFFERENCE,
    names.LOW,
    names.HIGH,
    names.P_VALUE,
    names.P_VALUE_ADJUSTED,
)
"""What a comparison of two trials shows for people."""
_KINDS = {each.key: each.kind for group in catalogue.GROUPS for each in group.quantities}
_MARK = "front"
"""Column of a table for people in place of `pareto` and `supported`."""
_ON_FRONT, _ON_SUPPORTED = "*", "s"
_FIRST = frozenset(
    {names.TRIAL, _MARK, names.FROZEN, names.VAL_ACC, names.CHEAPER, names.OTHER, names.DIFFERENCE}
    | {each.key for each in names.GAINED}
)
"""What a narrow terminal has room for before anything else."""


class Format(StrEnum):
    """How a table is written."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


def print_rows(rows: Sequence[Row], columns: Sequence[str], form: Format) -> None:
    """Print rows on stdout.

    Args:
        rows: A mapping a row, keys as in `names.py`.
        columns: Keys that `table` and `md` show, in order, without those that no row has. `json` and `csv` give
            every key.
        form: How they are written.
    """
    match form:
        case Format.json:
            print_json([*rows])
        case Format.csv:
            write_data(format_csv(rows, columns))
        case Format.md:
            write_data(format_markdown(rows, _present(rows, columns)))
        case Format.table:
            _print_table(rows, _present(rows, columns))


def print_record(record: Row, form: Format) -> None:
    """Print one record on stdout: a line a value; as JSON one object; as CSV a header and one row."""
    match form:
        case Format.json:
            print_json(record)
        case Format.csv:
            write_data(format_csv([record], ()))
        case Format.md:
            pairs = [{"key": key, "value": format_cell(key, value)} for key, value in record.items()]
            write_data(format_markdown(pairs, ("key", "value")))
        case Format.table:
            _print_lines(record)


def _print_lines(record: Row) -> None:
    """Print a line a value; a list has a line an item, the first of them beside the key. What is empty has none."""
    lines = []
    for key, value in record.items():
        items = value if isinstance(value, list) else [value]
        texts = [text for item in items if (text := format_cell(key, item))]
        lines += [(key if number == 0 else "", text) for number, text in enumerate(texts)]
    width = max((len(key) for key, _ in lines), default=0)
    room = terminal_width(sys.stdout) - width - 2 if sys.stdout.isatty() else None
    for key, text in lines:
        first, *rest = [text] if room is None else wrap(text, max(room, LEAST_TEXT))
        print(f"{key:<{width}}  {first}")
        for part in rest:
            print(f"{'':<{width}}  {part}")


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; numbers that are not finite become null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    if not _is_unicode(text):  # the name of a file may have bytes in it that are no letters
        text = json.dumps(_plain(value), indent=2, allow_nan=False)
    write_data(f"{text}\n")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def print_note(text: str) -> None:
    """Print sentences on stderr; in a terminal each line is broken between words, but for indented ones: commands.

    Credentials show as ***.
    """
    text = mask_credentials(text)
    if sys.stderr.isatty():
        width = terminal_width(sys.stderr)
        lines = [[line] if line.startswith("  ") else wrap(line, width) for line in text.split("\n")]
        text = "\n".join(part for parts in lines for part in parts)
    print(text, file=sys.stderr)


def format_cell(key: str, value: object) -> str:
    """Write a value for people: counts with thousands separators, metrics with fixed digits.

    None and NaN are empty, booleans `yes` and `no`; text is put on one line.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    kind = _KINDS.get(key, NUMBER)
    if isinstance(value, int) and kind.grouped:
        return f"{value:,}"
    if isinstance(value, float):
        digits = kind.digits
        # what rounds to 0 has no sign
        return f"{round(value, digits) + 0.0:.{digits}f}" if digits is not None else f"{value:g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return json.dumps(_plain(value), ensure_ascii=False)


def format_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as CSV with a header: every key of any row, `columns` where there is no row.

    Booleans are `true` and `false`, None and NaN are empty, lists and mappings are JSON.
    """
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row)) or list(columns)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([_csv_cell(row.get(key)) for key in keys] for row in rows)
    return text.getvalue()


def format_markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as a Markdown table."""
    lines = [list(columns), ["---:" if _is_number(rows, key) else "---" for key in columns]]
    lines += [[format_cell(key, row.get(key)).replace("|", r"\|") for key in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows, columns = _mark(rows, columns)
    layout = [
        Column.of(key, [format_cell(key, row.get(key)) for row in rows], number=_is_number(rows, key))
        for key in columns
    ]
    console = Console(file=sys.stdout, highlight=False) if sys.stdout.isatty() else None
    if console is not None:
        layout, left_out = fit(layout, console.width, first=_FIRST)
        if left_out:
            print_note(f"not shown, for lack of room: {', '.join(left_out)} (`-f json` has all)")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in layout:
        justify: Literal["left", "right"] = "right" if column.number else "left"
        table.add_column(Text(column.head), justify=justify, width=column.width, no_wrap=True)
    for place, row in enumerate(rows):
        cells = (Text(column.cell(place)) for column in layout)
        table.add_row(*cells, style="bold" if row.get(names.PARETO) is True else None)
    if console is not None:
        console.print(table)
    else:  # a file or pipe has no width to fit: no line is folded, nothing is cut
        wide = Console(file=io.StringIO(), width=1_000_000, color_system=None, force_terminal=False)
        with wide.capture() as captured:
            wide.print(table)
        for line in captured.get().splitlines():
            print(line.rstrip())
    if any(column.key == _MARK and any(column.cells) for column in layout):
        supported = f", {_ON_SUPPORTED} on the supported front" if names.SUPPORTED in rows[0] else ""
        print_note(f"{_ON_FRONT} on the Pareto front{supported}")


def _mark(rows: Sequence[Row], columns: Sequence[str]) -> tuple[Sequence[Row], Sequence[str]]:
    """Put a short column of marks beside the trial, in place of `pareto` and `supported`."""
    marked = {names.PARETO, names.SUPPORTED}
    if not marked.intersection(columns) or not any(names.PARETO in row for row in rows):
        return rows, columns
    first, *others = (key for key in columns if key not in marked)
    signs = {names.PARETO: _ON_FRONT, names.SUPPORTED: _ON_SUPPORTED}
    return [{**row, _MARK: "".join(sign for key, sign in signs.items() if row.get(key) is True)} for row in rows], [
        first,
        _MARK,
        *others,
    ]


def _present(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    return [key for key in columns if not rows or any(row.get(key) is not None for row in rows)]


def _is_number(rows: Sequence[Row], key: str) -> bool:
    values = [row[key] for row in rows if row.get(key) is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    """Reduce a value to what JSON can say."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
