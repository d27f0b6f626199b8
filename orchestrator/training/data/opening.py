"""A data source is opened by what it is: a folder, an archive, a CSV, or a data set of the hub."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.config.models import DataConfig
from orchestrator.config.sources import find_stored
from orchestrator.errors import ConfigError
from orchestrator.training.data.accounting import count_kinds, require_text
from orchestrator.training.data.class_folders import open_class_folders
from orchestrator.training.data.contents import ArchiveFiles, Contents
from orchestrator.training.data.hub import load_hub
from orchestrator.training.data.opened import Opened, assign_stored, read_columns
from orchestrator.training.data.rows import Bounds, FileRows
from orchestrator.training.folders.archive import Archive
from orchestrator.training.folders.kinds import ARCHIVES, needs_head, unpack
from orchestrator.training.folders.labelled import (
    SUFFIXES,
    ListRow,
    find_splits,
    order_labels,
    read_entries,
    require_list,
)
from orchestrator.training.folders.split_names import SPLITS
from orchestrator.training.folders.walk import is_hidden, show
from orchestrator.training.problems import Problems


def open_rows(config: DataConfig, problems: Problems) -> Opened:
    """Open a data source; no image is read.

    Args:
        config: Which, and how.
        problems: Takes what is wrong with it.

    Raises:
        ConfigError: It cannot be read at all, or in more than one way.
        SetupError: It is on the hub, and neither network nor cache has it, or the library's cache cannot be written.
    """
    try:
        opened: Opened = find_stored(config.source).open(config, problems)
    except OSError as error:  # a path that no system takes, or a folder that may not be listed
        raise ConfigError(f"data.source: {show(config.source)} cannot be opened: {error.strerror or error}") from error
    return opened


def open_hub(path: Path, config: DataConfig, _: Problems) -> Opened:
    """Open a data set of the hub, unless its name is rather one of a file that is not there.

    Raises:
        ConfigError: It is not there, or cannot be read.
        SetupError: Neither network nor cache has it.
    """
    if config.source.startswith(("/", ".", "~")) or config.source.count("/") > 1 or _is_file_name(path):
        raise ConfigError(
            f"data.source: {config.source} does not exist", hint="give a folder, a CSV, a hub name, or `synthetic`"
        )
    found, notes = load_hub(config)
    splits, rest = assign_stored(found, config)
    if rest:
        counts = ", ".join(f"{name} ({len(found[name])} images)" for name in rest)
        notes.append(f"{config.source}: stored splits that are not used: {counts}")
    rows, class_names = read_columns(splits, config)
    return Opened(rows=rows, class_names=class_names, notes=notes, reading="a data set of the hub")


def _is_file_name(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIXES, *ARCHIVES)


def open_list(path: Path, config: DataConfig, _: Problems) -> Opened:
    """Open a CSV of paths and labels; paths are relative to its folder.

    Raises:
        ConfigError: It is no such list, or cannot be read as one.
    """
    source = config.source
    require_list(path, source)
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - a link to a list is read where it lies
    entries = read_entries(path, path_column=config.image_column, label_column=config.label_column, source=source)
    if not entries:
        raise ConfigError(f"data.source: {source} has no rows", hint="list the images there: path,label,split")
    told = {value: split for split, value in config.splits.items()} if config.splits else {}
    splits = find_splits(entries, told, source)
    numbers = order_labels([entry.label for entry in entries])
    require_text(numbers, source)
    rows = {}
    for split in SPLITS:
        mine = [entry for entry, which in zip(entries, splits, strict=True) if which == split]
        if mine:
            paths = [str(folder / entry.path) for entry in mine]
            rows[split] = FileRows(paths, [None if e.label is None else numbers[e.label] for e in mine])
    notes = []
    if unused := sum(split is None for split in splits):
        notes.append(f"{source}: {unused} of {len(entries)} rows are in no part of data.splits, and are left out")
    notes += _note_unlisted(folder, entries, source)
    return Opened(
        rows=rows,
        class_names=tuple(numbers),
        bounds=None if config.follow_links else Bounds(folders=(folder.resolve(),)),
        notes=notes,
        files=len({entry.path for entry in entries}),
        reading=f"a list of {len(entries)} images",
    )


def open_archive(path: Path, config: DataConfig, problems: Problems) -> Opened:
    """Open a zip archive of folders of classes; it is read where it lies.

    Raises:
        ConfigError: It is damaged, holds what must not be read, or has no classes.
    """
    here = Contents(ArchiveFiles(Archive(path, config.source)), config, problems)
    if not any(kind.role in {"image", "unread"} for kind in here.account.kinds.values()):
        raise ConfigError(
            f"data.source: {config.source} cannot be read as a data set: it holds no images, but "
            f"{count_kinds(here.account.kinds)}",
            hint=f"tables and lists in an archive are not read: `{unpack(path)}`, and point data.source there",
        )
    opened = open_class_folders(here)
    return replace(opened, reading=f"a zip archive; {opened.reading}")


def _note_unlisted(folder: Path, entries: Sequence[ListRow], source: str) -> list[str]:
    """Note images that lie beside listed ones and are not listed."""
    listed: dict[Path, set[str]] = {}
    for entry in entries:
        file = Path(os.path.normpath(folder / entry.path))
        listed.setdefault(file.parent, set()).add(file.name)
    missing: list[Path] = []
    for place, names in listed.items():
        if place.is_relative_to(folder) and place.is_dir():
            here = (entry for entry in os.scandir(place) if not is_hidden(entry.name) and not needs_head(entry.name))
            missing += [place / entry.name for entry in here if entry.name not in names]
    if not missing:
        return []
    shown = ", ".join(show(file.relative_to(folder)) for file in sorted(missing)[:3])
    return [f"{source}: {len(missing)} images beside the listed ones are in no row, and are left out, such as {shown}"]
