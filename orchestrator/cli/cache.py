"""`orchestrator cache info|clear`: what is kept for later runs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import FormatOption, RootOption
from orchestrator.cli.output import Format, print_json, print_note, print_rows
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from orchestrator.storage.cache import EntryInfo

app = typer.Typer(help="Look at what is kept for later runs, or clear it.", no_args_is_help=True)

ROOT = Path(DEFAULT_ROOT)
_MIB = 2**20
_COLUMNS = ("kind", "of", "size_mb", "used", "state")


@app.command()
def info(root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Print one row an entry: its kind, what it was made of, its size (MiB), when it was last used, and its state.

    The limit is `cache.max_gb` of the sweep that last kept something.
    """
    from orchestrator.storage.cache import Cache, format_size

    place = Root.at(root)
    cache = Cache(place.cache)
    entries, limit = cache.entries(), cache.read_limit()
    rows = [_describe(entry) for entry in entries]
    total = sum(entry.size for entry in entries)
    if form is Format.json:
        print_json({"folder": str(place.cache), "entries": rows, "bytes": total, "max_bytes": limit})
    else:
        print_rows(rows, _COLUMNS, form)
    most = "" if limit is None else f" of at most {format_size(limit)}"
    print_note(f"{place.cache}: {_count(entries)}, {format_size(total)}{most}")


@app.command()
def clear(
    root: RootOption = ROOT,
    kind: Annotated[str | None, typer.Option(help="Clear this kind only, such as images.")] = None,
) -> None:
    """Remove what is kept, but for what running sweeps use; what is needed again is made again."""
    from orchestrator.storage.cache import Cache, format_size

    gone, kept = Cache(Root.at(root).cache).clear(kind)
    print_note(f"{_count(gone)} removed, {format_size(sum(entry.size for entry in gone))}")
    if kept:
        print_note(f"{_count(kept)} left, which a running sweep uses")


def _describe(entry: "EntryInfo") -> dict[str, object]:
    return {
        "kind": entry.kind,
        "key": entry.key,
        "of": entry.of or None,
        "bytes": entry.size,
        "size_mb": round(entry.size / _MIB, 1),
        "used": datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
        "state": entry.state,
        "path": str(entry.path),
    }


def _count(entries: "Sequence[EntryInfo]") -> str:
    return "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
