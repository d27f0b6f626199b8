"""A data folder on this machine: folders of images, tables, what `save_to_disk` wrote, or images with metadata."""

import os
from pathlib import Path

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.accounting import (
    count_kinds,
)
from orchestrator.training.data.class_folders import open_class_folders
from orchestrator.training.data.contents import Contents, FolderFiles
from orchestrator.training.data.hub import find_features, list_saved, load_saved, load_tables, refuse_script
from orchestrator.training.data.opened import Opened, assign_stored, read_columns
from orchestrator.training.data.rows import FileRows, TableRows
from orchestrator.training.folders.kinds import FileKind, unpack
from orchestrator.training.folders.labelled import SUFFIXES, order_labels, read_entries
from orchestrator.training.folders.layouts import read_layout
from orchestrator.training.folders.split_names import SPLITS, TRAIN, find_split
from orchestrator.training.folders.tables import assign_tables, count_rows
from orchestrator.training.folders.told import place_told
from orchestrator.training.folders.walk import Parts, show
from orchestrator.training.problems import Problems

_SAVED_CACHE = ("cache-", "tmp")


def open_folder(folder: Path, config: DataConfig, problems: Problems) -> Opened:
    """Open a folder; no image is read.

    Raises:
        ConfigError: It holds nothing that can be read, or can be read in more than one way.
        SetupError: The library's cache cannot be written.
    """
    here = Contents(FolderFiles(folder, config), config, problems)
    saved = list_saved(here.path)
    if saved is not None:
        return _open_saved(here, saved)
    _refuse_script(here)
    tables = here.account.find("table")
    images = [path for path, kind in here.account.kinds.items() if kind.role in {"image", "unread"}]
    metadata = [path for path in here.account.find("metadata") if path[-1].lower() != "metadata.parquet"]
    if images and metadata and config.label_column not in {None, "label"}:
        return _open_metadata(here, metadata)
    if images and tables and _prefer_tables(here, tables, images):
        images = []
    if images:
        return open_class_folders(here)
    if tables:
        return _open_tables(here, tables)
    raise _refuse_empty(here)


def _refuse_script(here: Contents) -> None:
    script = f"{here.path.name}.py"
    if (script,) in here.account.kinds and here.config.splits is None:
        raise refuse_script(here.source, script)


def _prefer_tables(here: Contents, tables: list[Parts], images: list[Parts]) -> bool:
    """Decide whether tables beside images are the data: where the images are in no classes, or a user says so."""
    splits = here.config.splits
    if splits is not None:
        return any(path[: len(place)] == place for place in place_told(splits, here.source) if place for path in tables)
    try:
        read_layout(images, here.source, class_folder=here.config.class_folder)
    except ConfigError:
        return True
    named = ", ".join(show("/".join(path)) for path in tables[:3])
    first = f"{TRAIN}: {'/'.join(tables[0])}"
    raise ConfigError(
        f"data.source: {here.source} can be read in two ways: (1) as folders of classes with {len(images)} images; "
        f"(2) as {len(tables)} tables ({named})",
        hint="take the tables, or the images, out of the folder; or say with data.splits which are the data "
        f"({{{first}}} for tables), and set data.on_unread to skip",
    )


def _open_tables(here: Contents, tables: list[Parts]) -> Opened:
    config, source = here.config, here.source
    tables = _drop_other_kind(here, tables)
    found = assign_tables(tables, source, config.splits)
    files = {split: [here.file(path) for path in paths] for split, paths in found.splits.items()}
    counts = count_rows(files, source) if tables[0][-1].lower().endswith(".parquet") else {}
    loaded, notes = load_tables(files, counts, source, find_features(here.path, files))
    here.notes += notes
    rows, names = read_columns(loaded, config)
    here.account.leave(found.loose, "are tables that belong to no split", unread=True)
    _leave_unnamed(here, rows)
    here.close()
    used = sum(map(len, found.splits.values())) + len(here.account.find("image"))
    return here.opened(rows, names, files=used, reading=found.reading)


def _drop_other_kind(here: Contents, tables: list[Parts]) -> list[Parts]:
    """Leave Arrow files out where there are Parquet files: these are copies, or something else."""
    parquet = [path for path in tables if path[-1].lower().endswith(".parquet")]
    if parquet and len(parquet) < len(tables):
        here.account.leave([p for p in tables if p not in parquet], "are Arrow files beside Parquet files", unread=True)
    return parquet or tables


def _leave_unnamed(here: Contents, rows: dict[str, TableRows]) -> None:
    """Leave out the images that no row of a table names."""
    seen = here.account.find("image")
    if not seen:
        return
    named = {os.path.realpath(file) for part in rows.values() for file in part.files}
    rest = [path for path in seen if os.path.realpath(here.file(path)) not in named]
    here.account.leave(rest, "are images that no table names", unread=True)


def _open_saved(here: Contents, files: set[Parts]) -> Opened:
    """Read what `save_to_disk` wrote."""
    account = here.account
    missing = sorted(files - set(account.kinds))
    if missing:
        raise ConfigError(
            f"data.source: {here.source} was written by `save_to_disk`, and {len(missing)} of its files are not there: "
            f"{', '.join(show('/'.join(path)) for path in missing[:3])}",
            hint="copy the whole folder again, or write it again with `save_to_disk`",
        )
    found = load_saved(here.path, here.source)
    splits, rest = assign_stored(found, here.config)
    rows, names = read_columns(splits, here.config)
    for path in files:
        kind = account.kinds.pop(path)
        if rest and path[0] in rest and kind.role == "table":
            account.leave([path], f"are stored splits that are not used: {path[0]}", unread=True)
    caches = [path for path in account.find("table") if path[-1].startswith(_SAVED_CACHE)]
    account.leave(caches, "caches of the datasets library", unread=False)
    account.leave(account.find("table"), "are tables that `save_to_disk` did not write", unread=True)
    _leave_unnamed(here, rows)
    here.close()
    used = [path for path in files if path[0] not in rest]
    return here.opened(rows, names, files=len(used), reading=f"a data set written by save_to_disk: {', '.join(rows)}")


def _open_metadata(here: Contents, metadata: list[Parts]) -> Opened:
    """Read the labels of images from the metadata beside them."""
    source, account = here.source, here.account
    listed: dict[str, list[tuple[Parts, str | None]]] = {}
    for file in metadata:
        entries = read_entries(
            here.file(file), path_column="file_name", label_column=here.config.label_column, source=source
        )
        split = next((split for name in reversed(file[:-1]) if (split := find_split(name))), TRAIN)
        if file[:-1] and here.config.splits is not None:
            told = place_told(here.config.splits, source)
            split = next((told[place] for place in told if file[: len(place)] == place), split)
        listed.setdefault(split, []).extend(
            ((*file[:-1], *Path(os.path.normpath(entry.path)).parts), entry.label) for entry in entries
        )
        account.kinds[file] = FileKind("list", "")
    numbers = order_labels([label for entries in listed.values() for _, label in entries])
    rows = {
        split: FileRows(
            [str(here.file(path)) for path, _ in listed[split]],
            [None if label is None else numbers[label] for _, label in listed[split]],
            here.config.label_column or "label",
        )
        for split in SPLITS
        if split in listed
    }
    named = {path for entries in listed.values() for path, _ in entries}
    account.leave([p for p in account.find("image") if p not in named], "are in no row of the metadata", unread=True)
    here.close()
    reading = f"images with the labels of {', '.join(show('/'.join(file)) for file in metadata)}"
    return here.opened(rows, tuple(numbers), files=len(account.find("image")) + len(metadata), reading=reading)


def _refuse_empty(here: Contents) -> ConfigError:
    kinds = here.account.kinds
    archives = here.account.find("archive")
    lists = [path for path in kinds if path[-1].lower().endswith(SUFFIXES)]
    hint = "a folder holds Parquet files named train-, validation- and test-, or a folder of images a class"
    if lists:
        hint = f"point data.source at the list of paths and labels: {show(here.file(lists[0]))}"
    elif archives:
        commands = "; ".join(f"`{unpack(here.file(path))}`" for path in archives[:3])
        hint = f"unpack the archives, {commands}, and point data.source at what comes out"
    return ConfigError(
        f"data.source: {here.source} cannot be read as a data set: it holds no images and no Parquet files, but "
        f"{count_kinds(kinds)}",
        hint=hint,
    )
