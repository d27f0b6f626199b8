"""A sweep that is started afresh: what the old one left is kept under another name, whatever interrupts that."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from sqlalchemy import text

from orchestrator.search.store import open_storage, study_names, translated
from orchestrator.storage.files import sync_folder, write_atomically
from orchestrator.storage.layout import Root

_ARCHIVED = "archived"


def archive_sweep(root: Root, name: str) -> str | None:
    """Keep a sweep's study, event files and pictures as `<name>~<number>`, and free its name.

    What is going to be moved is noted first. A death in between leaves the note, and whoever begins next finishes what
    it says (`finish_archive`): the study goes last, so until then nothing has started afresh.

    Returns:
        The other name; None where there is no such sweep.

    Raises:
        SetupError: The store cannot be written.
    """
    archived = finish_archive(root, name)
    if archived is not None or name not in study_names(root):
        return archived
    note = root.archiving(name)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps({_ARCHIVED: f"{name}~{_free_number(root, name)}"}))
    return finish_archive(root, name)


def finish_archive(root: Root, name: str) -> str | None:
    """Finish what a death interrupted when a sweep was started afresh; None where nothing did.

    Raises:
        SetupError: The store cannot be written.
    """
    note = root.archiving(name)
    try:
        archived = str(json.loads(note.read_bytes())[_ARCHIVED])
    except FileNotFoundError:
        return None
    for step in _steps(root, name, archived):
        step()
    return archived


def _steps(root: Root, name: str, archived: str) -> Sequence[Callable[[], object]]:
    """List what has to be done, in order; each may be done again."""
    return (
        lambda: _move(root.tensorboard(name), root.tensorboard(archived)),
        lambda: _move(root.reports(name), root.reports(archived)),
        lambda: _rename_study(root, name, archived),
        lambda: _forget(root.archiving(name)),
    )


def count_archives(root: Root, name: str) -> int:
    """Count the times that a study was started afresh: the highest number of its archived studies."""
    numbers = [known.removeprefix(f"{name}~") for known in study_names(root) if known.startswith(f"{name}~")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _free_number(root: Root, name: str) -> int:
    """Find the next number under which nothing lies."""
    for number in count(count_archives(root, name) + 1):
        if not any(place(f"{name}~{number}").exists() for place in (root.tensorboard, root.reports)):
            return number
    raise AssertionError


def _move(folder: Path, to: Path) -> None:
    if folder.exists():
        folder.rename(to)
        sync_folder(folder.parent)


def _rename_study(root: Root, name: str, archived: str) -> None:
    """Rename a study in one transaction. Optuna can only copy one, which a death leaves half done."""
    if name not in study_names(root):
        return
    with translated(root):
        storage = open_storage(root)
        with storage.engine.begin() as connection:
            connection.execute(
                text("UPDATE studies SET study_name = :archived WHERE study_name = :name"),
                {"archived": archived, "name": name},
            )


def _forget(note: Path) -> None:
    with suppress(FileNotFoundError):
        note.unlink()
    sync_folder(note.parent)
