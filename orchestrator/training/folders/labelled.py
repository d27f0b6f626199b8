"""Lists of image files and their labels: a CSV of paths and labels, or the metadata beside images."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.training.folders.kinds import ARCHIVES, unpack
from orchestrator.training.folders.split_names import canonical_name
from orchestrator.training.folders.walk import show

SUFFIXES = (".csv", ".tsv")
LIST_PREFIX = "csv:"
"""Before a path: it is a list, whatever its suffix."""
LARGEST = 2**30
"""Bytes of a list at the most."""

_PATHS = ("path", "file", "file_name", "filename", "filepath", "file_path", "image", "image_path", "img", "img_path")
_LABELS = ("label", "labels", "class", "class_name", "category", "target")
_SPLITS = ("split", "set", "subset", "partition", "fold")


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row of a list.

    Attributes:
        path: Path of the image as it is written.
        label: Its class; None where there is none.
        split: What stands in the column of splits; None where there is none.
    """

    path: str
    label: str | None
    split: str | None


def require_list(path: Path, source: str) -> None:
    """Make sure that a source which is no folder is a list of images.

    Args:
        path: Where it lies.
        source: As it is told; with `csv:` before it, it is a list whatever its suffix.

    Raises:
        ConfigError: It is an archive, or a file of another kind.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ConfigError(
            f"data.source: {source} is no folder and no regular file",
            hint="give a folder, a CSV, a hub name, or `synthetic`",
        )
    if suffix in ARCHIVES:
        raise ConfigError(
            f"data.source: {source} is an archive, which is not read as it is",
            hint=f"unpack it: `{unpack(path)}`, and point data.source there",
        )
    if suffix not in SUFFIXES and not source.startswith(LIST_PREFIX):
        inside = "; point data.source at the folder that it lies in" if suffix == ".parquet" else ""
        raise ConfigError(
            f"data.source: {source} is no folder", hint=f"give a folder, a CSV, a hub name, or `synthetic`{inside}"
        )


def read_entries(file: Path, *, path_column: str | None, label_column: str | None, source: str) -> list[ListRow]:
    """Read a list: CSV, TSV (with a header) or JSON lines.

    Args:
        file: The list.
        path_column: Column of the paths; None: `path`, `file`, `file_name`, ... .
        label_column: Column of the classes; None: `label`, `class`, `category`, ... .
        source: Name of the data set, for messages.

    Raises:
        ConfigError: It cannot be read, or has no such columns.
    """
    if (size := file.stat().st_size) > LARGEST:
        raise ConfigError(f"data.source: {show(file)} has {size:,} bytes, and a list of images at most {LARGEST:,}")
    try:
        rows = list(_read_rows(file))
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ConfigError(
            f"data.source: {show(file)} cannot be read as a list of images: {error}",
            hint="write it as UTF-8, with a header such as path,label,split",
        ) from error
    columns = list(dict.fromkeys(key for row in rows[:1000] for key in row))
    path = _find_column(columns, path_column, _PATHS, "data.image_column", "paths", source)
    label = _find_column(columns, label_column, _LABELS, "data.label_column", "labels", source)
    split = next((name for name in columns if name.casefold() in _SPLITS), None)
    empty = [number for number, row in enumerate(rows, start=2) if not row.get(path)]
    if empty:
        raise ConfigError(
            f"data.source: {source}: {len(empty)} rows name no file in column {path!r}, the first in line {empty[0]}",
            hint="remove the rows, or complete them",
        )
    return [ListRow(row[path], row.get(label) or None, row.get(split) or None if split else None) for row in rows]


def order_labels(labels: Sequence[str | None]) -> dict[str, int]:
    """Number the classes: by value where all are whole numbers, else by name."""
    names = {label for label in labels if label is not None}
    numbers = all(name.lstrip("-").isascii() and name.lstrip("-").isdigit() for name in names)
    return {name: number for number, name in enumerate(sorted(names, key=int if numbers else None))}


def find_splits(entries: Sequence[ListRow], told: Mapping[str, str], source: str) -> list[str | None]:
    """Return the split of each entry; `train` for all where the list has no splits, None where a row says none.

    Args:
        entries: The list.
        told: Split by what stands in the column, where a user says so.
        source: Name of the data set, for messages.

    Raises:
        ConfigError: The column says what is no split.
    """
    values = {entry.split for entry in entries}
    if missing := set(told) - values:
        raise ConfigError(
            f"data.splits: no row of {source} says {', '.join(sorted(missing))}; there is "
            f"{', '.join(sorted(show(value) for value in values if value)) or 'no split column'}"
        )
    if told:
        return [told.get(entry.split or "") for entry in entries]
    if values <= {None}:
        return ["train"] * len(entries)
    strange = sorted({show(value) for value in values if value and canonical_name(value) is None})
    if strange or None in values:
        what = f"values that name no split: {', '.join(strange)}" if strange else "rows without a value"
        raise ConfigError(
            f"data.source: {source}: the column of splits has {what}",
            hint="write train, validation or test, or say which value is which with data.splits, such as "
            f"{{train: {strange[0] if strange else 'train'}}}",
        )
    return [canonical_name(entry.split or "") for entry in entries]


def _find_column(
    columns: Sequence[str], told: str | None, usual: Sequence[str], key: str, what: str, source: str
) -> str:
    if told is not None:
        if told in columns:
            return told
        raise ConfigError(f"{key}: {source} has no column {told!r}; it has {', '.join(columns) or 'none'}")
    found = [name for name in columns if name.strip().casefold() in usual]
    if len(found) == 1:
        return found[0]
    have = f"{len(found)} columns of {what}: {', '.join(found)}" if found else f"no column of {what}"
    raise ConfigError(
        f"data.source: {source} has {have}; its columns are {', '.join(map(show, columns)) or 'none'}",
        hint=f"name it with {key}; usual names are {', '.join(usual[:4])}",
    )


def _read_rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix.lower() == ".jsonl":
            for line in lines:
                row = json.loads(line) if line.strip() else None
                if isinstance(row, dict):
                    yield {str(key): "" if value is None else str(value) for key, value in row.items()}
            return
        header = lines.readline()
        lines.seek(0)
        delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
        for record in csv.DictReader(lines, delimiter=delimiter):
            yield {str(key).strip(): str(value or "").strip() for key, value in record.items() if key is not None}
