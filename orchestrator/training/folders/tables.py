"""Which Parquet file of a folder is which split, and whether all parts of it are there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.splits import SplitsConfig
from orchestrator.errors import ConfigError
from orchestrator.training.folders.split_names import SPLITS, TRAIN, canonical_name, find_split
from orchestrator.training.folders.told import place_told, refuse_place, tell
from orchestrator.training.folders.walk import Parts, show
from orchestrator.training.problems import Problems

_PART = re.compile(r"(?P<name>.*?)-?(?P<number>\d+)-of-(?P<total>\d+)(?P<rest>.*)")
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The files of each split.

    Attributes:
        splits: Files by split, in the order of their names.
        loose: Files that belong to no split.
    """

    splits: dict[str, list[Parts]]
    loose: list[Parts]

    @property
    def reading(self) -> str:
        """The reading in words."""
        parts = [f"{split} from {_list(files)}" for split, files in self.splits.items()]
        return f"tables; {'; '.join(parts)}"


def assign_tables(tables: Sequence[Parts], source: str, splits: SplitsConfig | None = None) -> Tables:
    """Find the split of each table, by the name of the file or of a folder that it lies in.

    Where no name says a split, all of them are training images.

    Args:
        tables: Their paths in the data folder.
        source: The data folder, for messages.
        splits: Where the splits lie, where a user says so.

    Raises:
        ConfigError: There is more than one reading, or parts of a split are not there.
    """
    found = _find_told(tables, splits, source) if splits is not None else _find_splits(tables, source)
    problems = Problems()
    for split, files in found.splits.items():
        _check_parts(files, split, source, problems)
        if splits is None:
            _check_one_place(files, split, source, problems)
    problems.raise_any()
    return found


def count_rows(files: Mapping[str, Sequence[Path]], source: str) -> dict[str, int]:
    """Count the rows of each split as its Parquet files say them.

    Raises:
        ConfigError: A file is none, or a split has no row.
    """
    counts: dict[str, int] = {}
    problems = Problems()
    for split, paths in files.items():
        counts[split] = 0
        for path in paths:
            try:
                counts[split] += pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException) as error:
                problems.add(
                    f"data.source: {source} cannot be read as a data set: {show(path)} is no whole Parquet file: "
                    f"{str(error).partition(chr(10))[0]}",
                    hint="bring it again, or remove it",
                )
    problems.raise_any()
    empty = [show(path) for split, paths in files.items() if counts[split] == 0 for path in paths]
    if empty:
        raise ConfigError(
            f"data.source: {source} has an empty split: {', '.join(sorted(empty))} without a row",
            hint="fill it, or remove the file: a missing validation or test split is split off the training images",
        )
    return counts


def _find_told(tables: Sequence[Parts], splits: SplitsConfig, source: str) -> Tables:
    places = place_told(splits, source)
    found: dict[str, list[Parts]] = {}
    for parts, split in places.items():
        inside = [path for path in tables if path[: len(parts)] == parts]
        if not inside:
            raise refuse_place(split, parts, source, ("/".join(path) for path in tables))
        found.setdefault(split, []).extend(inside)
    loose = [path for path in tables if not any(path in files for files in found.values())]
    return Tables(splits={split: found[split] for split in SPLITS if split in found}, loose=loose)


def _find_splits(tables: Sequence[Parts], source: str) -> Tables:
    named = {path: _split_of(path, source) for path in tables}
    if not any(named.values()):
        return Tables(splits={TRAIN: list(tables)}, loose=[])
    if len({split for split in named.values() if split}) == 1 and None in named.values():
        raise _doubt(named, source)
    splits = {
        split: [path for path, which in named.items() if which == split] for split in SPLITS if split in named.values()
    }
    return Tables(splits=splits, loose=[path for path, split in named.items() if split is None])


def _split_of(path: Parts, source: str) -> str | None:
    """Return the split that the name of a table says, or else that of the nearest folder."""
    own = find_split(_without_part(path[-1].rpartition(".")[0]))
    folders = path[-2::-1]
    exact = [split for name in folders if (split := canonical_name(name))]
    if own and any(split != own for split in exact):
        raise ConfigError(
            f"data.source: {source} can be read in two ways: {show('/'.join(path))} says {own} by its name and "
            f"{exact[0]} by its folder",
            hint="say with data.splits which file is which split",
        )
    return own or next(iter(exact), None) or next((split for name in folders if (split := find_split(name))), None)


def _without_part(name: str) -> str:
    match = _PART.fullmatch(name)
    return match["name"] if match else name


def _doubt(named: Mapping[Parts, str | None], source: str) -> ConfigError:
    said = [path for path, split in named.items() if split]
    (split,) = {split for split in named.values() if split}
    others = [path for path, other in named.items() if other is None]
    first = f"{split}: {_yaml(said)}"
    return ConfigError(
        f"data.source: {source} can be read in two ways: (1) as the split {split} ({_list(said)}), and {_list(others)} "
        "belong to none; (2) all tables together are the training images",
        hint=f"for (1) set data.splits to {{{first}}} and data.on_unread to skip; "
        "for (2) set data.splits to {train: .}",
    )


def _check_parts(files: Sequence[Parts], split: str, source: str, problems: Problems) -> None:
    """Note parts that are not there: of `train-00000-of-00002` there must be two."""
    sets: dict[tuple[Parts, str], dict[int, set[int]]] = {}
    whole = []
    for path in files:
        match = _PART.fullmatch(path[-1].rpartition(".")[0])
        if match is None:
            whole.append(path)
        else:
            totals = sets.setdefault((path[:-1], match["name"]), {})
            totals.setdefault(int(match["total"]), set()).add(int(match["number"]))
    for (folder, name), totals in sets.items():
        where = show("/".join((*folder, name)))
        if len(totals) > 1:
            problems.add(
                f"data.source: {source}: the parts of {where} are of several exports: "
                f"{', '.join(f'of {total}' for total in sorted(totals))}",
                hint="keep the files of one export",
            )
            continue
        ((total, numbers),) = totals.items()
        first = 0 if 0 in numbers or total not in numbers else 1
        missing = [number for number in range(first, first + min(total, 1_000_000)) if number not in numbers]
        if missing:
            shown = ", ".join(f"{number:05d}" for number in missing[:_SHOWN])
            problems.add(
                f"data.source: {source}: {len(missing)} of {total} parts of {where} are missing: {shown}",
                hint="bring the missing files; what is there is not the whole split",
            )
    if sets and whole:
        problems.add(
            f"data.source: {source}: split {split} has numbered parts and {_list(whole)} besides, which may hold the "
            "same images",
            hint="say with data.splits which files are the split",
        )


def _check_one_place(files: Sequence[Parts], split: str, source: str, problems: Problems) -> None:
    """Note a split whose files lie in several folders: these may be several data sets."""
    folders = {path[:-1] for path in files}
    # train/0/a.parquet and train/1/b.parquet are parts of one split; what has the same name in both is not
    names = [name for _, name in {(path[:-1], _without_part(path[-1].rpartition(".")[0])) for path in files}]
    if len(set(names)) < len(names):
        shown = _list(sorted((*folder, "") for folder in folders))
        problems.add(
            f"data.source: {source}: split {split} has files of the same name in several folders, which may be several "
            f"data sets: {shown}",
            hint="point data.source at one of the folders, or say with data.splits which files are which split",
        )


def _yaml(files: Sequence[Parts]) -> str:
    return tell(files[0]) if len(files) == 1 else f"[{', '.join(map(tell, files))}]"


def _list(files: Sequence[Parts]) -> str:
    rest = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(show("/".join(path)) for path in files[:_SHOWN]) + rest
