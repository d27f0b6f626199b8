"""What a folder of images or Parquet files must not have: links that leave it, folders with nothing in them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from orchestrator.training.problems import Problems
from orchestrator.training.splits import canonical_name

_SHOWN = 10


def allowed_folders(folder: Path) -> tuple[Path, ...]:
    """List where the files of a data folder may lie: in it, or where the hub's cache keeps those of a snapshot."""
    real = folder.resolve()
    # <cache>/datasets--<owner>--<name>/snapshots/<commit>/ holds links to <cache>/datasets--<owner>--<name>/blobs/
    snapshots = [parent for parent in real.parents if parent.name == "snapshots"]
    return (real, *(parent.with_name("blobs") for parent in snapshots[:1]))


def require_inner_links(folder: Path, source: str) -> None:
    """Make sure that no symbolic link leaves a data folder or points at nothing.

    Raises:
        ConfigError: Some do; they are named.
    """
    allowed = allowed_folders(folder)
    leaving, dangling = [], []
    for link in _links(folder):
        target = link.resolve()
        if not any(target.is_relative_to(place) for place in allowed):
            leaving.append(f"{link} -> {target}")
        elif not target.exists():
            dangling.append(f"{link} -> {target}")
    problems = Problems()
    if leaving:
        problems.add(
            f"data.source: {source}: {len(leaving)} symbolic links lead out of the folder: {_shorten(leaving)}",
            hint="copy the files into the folder: what lies elsewhere is not read",
        )
    if dangling:
        problems.add(
            f"data.source: {source}: {len(dangling)} symbolic links point at nothing: {_shorten(dangling)}",
            hint="remove the links, or bring the files back",
        )
    problems.raise_any()


def note_empty_folders(folder: Path, class_names: tuple[str, ...], source: str, problems: Problems) -> None:
    """Note folders of splits and classes without a file: whoever reads image folders passes over them in silence."""
    folders = _folders(folder)
    if not set(class_names) <= {path.name for path in folders}:  # the classes are not those of the folders
        return
    for path in folders:
        if _has_file(path) or (path.parent != folder and not _has_file(path.parent)):
            continue
        if canonical_name(path.name) is not None:
            problems.add(
                f"{source}: split {path.name} is empty: {path} holds no file",
                hint="put its images there, or remove the folder: a missing validation or test split is split off",
            )
        elif path.name not in class_names:
            problems.add(
                f"{source}: class {path.name} has no images: {path} holds no file",
                hint="put its images there, or remove the folder",
            )


def find_empty_tables(folder: Path) -> list[Path]:
    """Find the Parquet files without a row, on which `datasets` gives up without a name."""
    return [path for path in sorted(folder.rglob("*.parquet")) if _is_empty_table(path)]


def _is_empty_table(path: Path) -> bool:
    try:
        return len(pd.read_parquet(path, columns=[])) == 0
    except (OSError, ValueError):  # pyarrow's errors are both
        return False


def _links(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (Path(path) / name).is_symlink():
                yield Path(path) / name


def _folders(folder: Path) -> list[Path]:
    inner = (Path(path) / name for path, names, _ in os.walk(folder) for name in names)
    return sorted(path for path in inner if not _is_hidden(path.relative_to(folder)))


def _has_file(folder: Path) -> bool:
    return any(
        not _is_hidden((Path(path) / name).relative_to(folder)) for path, _, names in os.walk(folder) for name in names
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def _shorten(items: list[str]) -> str:
    shown = ", ".join(sorted(items)[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"
