"""What a power cut leaves of a root: each file as it was when it was last forced to the disk, under such names too.

In the processes of a sweep `watch` notes what each `os.fsync` has forced; `rebuild` makes of it the root as the next
boot finds it. SQLite forces its files itself, out of sight: databases are taken as they are.
"""

import json
import os
import shutil
import stat
from pathlib import Path

_STORES = ("mlflow.db", "optuna.db")


def watch(variable: str) -> None:
    """Note what is forced to the disk in the folder that an environment variable names, if it does."""
    said = os.environ.get(variable)
    if not said or hasattr(os.fsync, "watched"):
        return
    notes, force = Path(said), os.fsync

    def fsync(descriptor: int) -> None:
        force(descriptor)
        state = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISDIR(state.st_mode):
            listing = {each.name: _name(each.stat(follow_symlinks=False)) for each in os.scandir(path)}
            _write(notes / f"{_name(state)}.json", json.dumps(listing).encode())
        elif path.name not in _STORES:
            with Path(f"/proc/self/fd/{descriptor}").open("rb") as file:
                _write(notes / _name(state), file.read())

    fsync.watched = True  # type: ignore[attr-defined]
    os.fsync = fsync


def rebuild(root: Path, notes: Path) -> None:
    """Put what the disk has in the place of a root whose processes are dead."""
    lost = root.with_name(f"{root.name}.lost")
    root.rename(lost)
    root.mkdir()
    _rebuild(lost, root, notes)
    for name in _STORES:
        for path in lost.glob(f"{name}*"):
            shutil.copy2(path, root / path.name)


def _rebuild(lost: Path, new: Path, notes: Path) -> None:
    listing = notes / f"{_name(lost.stat())}.json"
    known = json.loads(listing.read_bytes()) if listing.exists() else {}
    entries = {_name(each.lstat()): each for each in lost.iterdir()}
    for name, number in known.items():
        entry = entries.get(number)
        if entry is not None and entry.is_dir():
            (new / name).mkdir()
            _rebuild(entry, new / name, notes)
        elif (notes / number).exists():
            (new / name).write_bytes((notes / number).read_bytes())
        else:
            (new / name).touch()  # the name was forced to the disk, and the content never was


def _name(state: os.stat_result) -> str:
    return f"{state.st_dev}-{state.st_ino}"


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
