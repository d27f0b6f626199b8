"""Everything that lies in a data folder: regular files, links that may not be followed, and what is no file at all."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import ConfigError

Parts = tuple[str, ...]
"""A path relative to the data folder."""

LARGEST_IMAGE = 2**29
"""Bytes of an encoded image at the most: 512 MiB. What is larger is not read."""

_MOST_ENTRIES = 5_000_000
_HIDDEN_NAMES = {"__MACOSX", "__pycache__", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "lost+found"}
_SPECIAL = (
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file, or a link to one that may be followed.

    Attributes:
        parts: Its path, relative to the data folder.
        size: Bytes.
    """

    parts: Parts
    size: int


@dataclass(slots=True)
class Listing:
    """What lies in a data folder, by path.

    Attributes:
        files: What may be opened.
        hidden: Files that are hidden, or lie in a hidden folder. They are not looked at.
        special: What is no regular file, and what it is instead.
        folders: Those that are not hidden.
        leaving: Links that lead out of the folder, and where to.
        dangling: Links that point at nothing, and where to.
        circular: Links that lead to themselves, or to a folder that they lie in.
        closed: What may not be looked at, and why.
    """

    files: list[File] = field(default_factory=list)
    hidden: list[Parts] = field(default_factory=list)
    special: list[tuple[Parts, str]] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    leaving: list[tuple[Parts, str]] = field(default_factory=list)
    dangling: list[tuple[Parts, str]] = field(default_factory=list)
    circular: list[tuple[Parts, str]] = field(default_factory=list)
    closed: list[tuple[Parts, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    parts: Parts
    hidden: bool
    above: frozenset[tuple[int, int]]
    """Device and inode of the folder itself and of those that it lies in."""


def allowed_folders(folder: Path) -> tuple[Path, ...]:
    """List where the files of a data folder may lie: in it, or where the hub's cache keeps those of a snapshot."""
    real = folder.resolve()
    # <cache>/datasets--<owner>--<name>/snapshots/<commit>/ holds links to <cache>/datasets--<owner>--<name>/blobs/
    snapshots = [parent for parent in real.parents if parent.name == "snapshots"]
    return (real, *(parent.with_name("blobs") for parent in snapshots[:1]))


def walk(folder: Path, *, follow_links: bool = False) -> Listing:
    """List a data folder, sorted by path; nothing in it is opened.

    Args:
        folder: The data folder.
        follow_links: Follow links that lead out of it too. Those that stay in it are followed in any case.

    Raises:
        ConfigError: It holds more than 5,000,000 entries.
    """
    found = Listing()
    allowed = None if follow_links else allowed_folders(folder)
    pending = [_Folder(str(folder), (), hidden=False, above=frozenset({_identify(folder.stat())}))]
    count = 0
    while pending:
        here = pending.pop()
        for entry in _scan(here, found):
            count += 1
            if count > _MOST_ENTRIES:
                raise ConfigError(
                    f"data.source: {folder} holds more than {_MOST_ENTRIES:,} files and folders",
                    hint="point data.source at the folder of the data set itself",
                )
            inner = _enter(entry, here, found, allowed)
            if inner is not None:
                pending.append(inner)
    for items in (found.files, found.hidden, found.folders):
        items.sort(key=lambda item: item.parts if isinstance(item, File) else item)
    return found


def read_regular(path: str | os.PathLike[str], limit: int = LARGEST_IMAGE) -> bytes:
    """Read a regular file of at most `limit` bytes; it may not be a fifo or a device, which could block for ever.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {_name_kind(found.st_mode)}, no regular file")
        data = file.read(limit + 1) if found.st_size <= limit else None
    if data is None or len(data) > limit:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, and an image at most {limit:,}")
    return data


def read_head(path: str | os.PathLike[str], size: int) -> bytes:
    """Read the first bytes of a regular file; none where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
            return file.read(size) or b"" if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or was left by a system."""
    return name.startswith(".") or name in _HIDDEN_NAMES


def show(path: object) -> str:
    """Write a path in one line of plain text: control characters and bytes that are no text are escaped."""
    text = os.fsencode(str(path)).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _scan(folder: _Folder, found: Listing) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path) as entries:
            yield from entries
    except OSError as error:
        if not folder.hidden:
            found.closed.append((folder.parts, error.strerror or str(error)))


def _enter(
    entry: os.DirEntry[str], folder: _Folder, found: Listing, allowed: tuple[Path, ...] | None
) -> _Folder | None:
    """Note what an entry is; returned is the folder that is still to be listed."""
    parts = (*folder.parts, entry.name)
    if folder.hidden or is_hidden(entry.name):
        if entry.is_dir(follow_symlinks=False):
            return _Folder(entry.path, parts, hidden=True, above=folder.above)
        found.hidden.append(parts)
        return None
    try:
        status = entry.stat(follow_symlinks=True)
    except OSError as error:
        _note_unfollowed(entry, parts, error, found, allowed)
        return None
    if entry.is_symlink() and allowed is not None and (target := _leaves(entry.path, allowed)):
        found.leaving.append((parts, target))
        return None
    if stat.S_ISDIR(status.st_mode):
        identity = _identify(status)
        if identity in folder.above:
            found.circular.append((parts, os.path.realpath(entry.path)))
            return None
        found.folders.append(parts)
        return _Folder(entry.path, parts, hidden=False, above=folder.above | {identity})
    if stat.S_ISREG(status.st_mode):
        found.files.append(File(parts, status.st_size))
    else:
        found.special.append((parts, _name_kind(status.st_mode)))
    return None


def _note_unfollowed(
    entry: os.DirEntry[str], parts: Parts, error: OSError, found: Listing, allowed: tuple[Path, ...] | None
) -> None:
    if not entry.is_symlink():
        found.closed.append((parts, error.strerror or str(error)))
    elif error.errno == errno.ELOOP:
        found.circular.append((parts, str(Path(entry.path).readlink())))
    elif allowed is not None and (target := _leaves(entry.path, allowed)):
        found.leaving.append((parts, target))
    elif error.errno == errno.ENOENT:
        found.dangling.append((parts, os.path.realpath(entry.path)))
    else:
        found.closed.append((parts, error.strerror or str(error)))


def _leaves(path: str, allowed: tuple[Path, ...]) -> str | None:
    """Return where a link leads, if it leads out of the folders that are allowed."""
    target = os.path.realpath(path)
    return None if any(Path(target).is_relative_to(place) for place in allowed) else target


def _identify(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _name_kind(mode: int) -> str:
    return next((name for test, name in _SPECIAL if test(mode)), "something else")
