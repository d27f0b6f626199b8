"""What was worked out once and is kept for others: arrays in files under one folder, no larger than a limit.

Each entry is a file `<kind>/<key>.array`, made under another name and renamed when it is whole. Locks say the rest, and
the system releases those of a process that dies:

    shared, on an entry           somebody maps it: it stays
    exclusive, on `.<key>.part`   somebody makes it, others wait; without the lock it was left by a death
    exclusive, on `room.lock`     somebody makes room

Nothing here is precious: what is damaged or foreign is made again.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self

import numpy as np

from orchestrator.errors import CacheError
from orchestrator.records.place import CachePlace
from orchestrator.records.record import Step
from orchestrator.storage.arrayfile import (
    Array,
    ArrayLabel,
    Write,
    Writer,
    map_array,
    matches_digest,
    read_digest,
    read_label,
    refuse,
)
from orchestrator.storage.flock import build_lock, lock_open

_LOG = logging.getLogger("orchestrator")
_GIB = 2**30
_SPARE = _GIB
"""Bytes of the disk that are left to others."""
_SUFFIX, _PART = ".array", ".part"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ROOM = "room.lock"
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}

_verified: set[tuple[int, int, bytes]] = set()
"""Device, inode and digest of the files that this process has read to their end."""

State = Literal["ready", "in use", "damaged", "being made", "left over"]
Build = Callable[[Write], Mapping[str, object] | None]
"""Makes an array: writes each row once, and gives what is to be known of it besides, in plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """An array that is kept. It stays as long as `array`, or a view of it, lives.

    Attributes:
        array: A read-only map.
        extra: What its builder wanted to be known.
        built: Whether it was made just now.
    """

    array: Array
    extra: Mapping[str, object]
    built: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryInfo:
    """What is known of a file of the cache without reading it whole.

    Attributes:
        of: What it was made of; empty where it does not say.
        used: When it was last asked for (seconds since 1970).
        state: `damaged` is what is no array, or only part of one; `left over` is part of one whose maker died.
    """

    path: Path
    kind: str
    key: str
    of: str
    size: int
    used: float
    state: State


class Cache:
    """The arrays under one folder. Processes may share it, also with different limits.

    Args:
        folder: Where they lie; it is made when something is kept.
        max_bytes: Size of all of them at the most; None: as large as the disk lets them be.
        say: Hears what a user should know, a sentence.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None, say: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.say = say or _log

    @classmethod
    def at(cls, place: CachePlace, say: Callable[[str], None] | None = None) -> Self:
        """Name the cache at a place; nothing is created."""
        return cls(Path(place.folder), int(place.max_gb * _GIB), say)

    def open(self, kind: str, key: str, *, shape: Sequence[int], dtype: str, of: str, build: Build) -> CacheEntry:
        """Map an array; make it where it is not there whole, or wait for another process that makes it.

        Args:
            kind: What sort of thing it is, such as `images`.
            key: Its name: all that decides its content, hashed.
            shape: Its shape, not empty.
            dtype: Type of its elements.
            of: What it is made of, for people.
            build: Makes it. What it raises leaves nothing behind.

        Raises:
            CacheError: It cannot be kept.
            ValueError: `build` did not write each row once.
        """
        label = ArrayLabel(kind=kind, key=key, of=of, shape=tuple(shape), dtype=np.dtype(dtype).str)
        if not label.size:
            raise refuse(label, "it is empty")
        path = self._path(kind, key)
        while True:
            entry = self._find(path, label) or self._make(path, label, build)
            if entry is not None:
                return entry

    def find(self, kind: str, key: str, *, shape: Sequence[int], dtype: str) -> CacheEntry | None:
        """Map an array that is there whole; None where it is not, or cannot be read."""
        label = ArrayLabel(kind=kind, key=key, of=f"{kind} {key}", shape=tuple(shape), dtype=np.dtype(dtype).str)
        with suppress(CacheError):
            return self._find(self._path(kind, key), label)
        return None

    def _path(self, kind: str, key: str) -> Path:
        if not (_NAME.fullmatch(kind) and _NAME.fullmatch(key)):
            raise ValueError(f"{kind!r} and {key!r} are to be letters, digits, '-' and '_'")
        return self._folder / kind / f"{key}{_SUFFIX}"

    def _find(self, path: Path, wanted: ArrayLabel) -> CacheEntry | None:
        """Map an entry; None where it is not there, or not whole."""
        with _explained(wanted), ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                return None
            lock_open(file, shared=True, wait=True)  # who has it to himself has it for an instant
            if not _lies_at(file, path):
                return None
            label = read_label(file)
            if label is None or not label.is_like(wanted) or not _verify(file):
                return None
            with suppress(OSError):  # of a folder that is read-only
                os.utime(path)
            return CacheEntry(array=map_array(file, label), extra=label.extra, built=False)

    def _make(self, path: Path, label: ArrayLabel, build: Build) -> CacheEntry | None:
        """Make an entry; None where another process has made it, or tried to, meanwhile."""
        part = path.with_name(f".{path.stem}{_PART}")
        with ExitStack() as stack:
            with _explained(label):
                part.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b"))
                if not _take(file, label) or not _lies_at(file, part):
                    return None
            stack.callback(part.unlink, missing_ok=True)
            found = self._find(path, label)
            if found is not None:
                return found
            with _explained(label):
                if path.exists():
                    self.say(f"{label.of}: what the cache kept is damaged, and made again: {path}")
                    path.unlink()
                self._reserve(file, label)
            writer = Writer(file, label)
            extra = build(writer.write) or {}
            with _explained(label):
                label = writer.seal(extra)
                _verified.add(_identify(file))
                part.replace(path)
                stack.pop_all()  # the name is gone, and the file is not closed before it is mapped
                with file:
                    lock_open(file, shared=True, wait=True)
                    return CacheEntry(array=map_array(file, label), extra=label.extra, built=True)

    def _reserve(self, file: IO[bytes], label: ArrayLabel) -> None:
        """Make room for an entry and take it, so that all the disk may refuse is refused now.

        Raises:
            CacheError: There is no room for it.
            OSError: The disk is full, whatever it said.
        """
        size = label.size
        file.truncate(0)
        room = self._folder / _ROOM
        with build_lock(room):
            if self._max_bytes is not None:
                room.write_text(str(self._max_bytes))
            self._make_room(label)
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except AttributeError:  # not on macOS
                os.ftruncate(file.fileno(), size)
            except OSError as error:
                if error.errno not in _CANNOT_RESERVE:
                    raise
                os.ftruncate(file.fileno(), size)

    def _make_room(self, label: ArrayLabel) -> None:
        """Remove the entries that were not used for longest, until there is room; none where that would not do."""
        size = label.size
        files = self.entries()
        for file in [file for file in files if file.state == "left over"]:
            _remove(file.path)
        files = sorted((file for file in files if file.state != "left over"), key=lambda file: file.used)
        used = sum(file.size for file in files)
        disk = max(0, used + shutil.disk_usage(self._folder).free - _SPARE)
        limit = disk if self._max_bytes is None else min(self._max_bytes, disk)
        if size > limit:
            reason = (
                f"the disk has {disk / _GIB:.3g} for it" if limit == disk else f"cache.max_gb is {limit / _GIB:.3g}"
            )
            raise refuse(label, f"it has {size / _GIB:.3g} GiB, and {reason}")
        with ExitStack() as holding:
            going = []
            for file in files:
                if used + size <= limit:
                    break
                if file.path.suffix == _SUFFIX and _hold(file.path, holding):
                    going.append(file.path)
                    used -= file.size
            if used + size > limit:
                raise refuse(label, f"it has {size / _GIB:.3g} GiB, and other runs use what is there")
            for path in going:
                path.unlink(missing_ok=True)

    def entries(self) -> list[EntryInfo]:
        """List what is there, by kind and key; what is no file of this cache is passed over."""
        found = []
        for path in sorted(self._folder.glob("*/*")):
            if path.suffix in {_SUFFIX, _PART} and _NAME.fullmatch(path.stem.lstrip(".")):
                with suppress(OSError):  # it went meanwhile
                    found.append(_describe(path))
        return found

    def clear(self, kind: str | None = None) -> tuple[list[EntryInfo], list[EntryInfo]]:
        """Remove what is there, or what is there of a kind, but for what is in use or being made.

        Returns:
            What went, and what stays.

        Raises:
            CacheError: The folder cannot be written.
        """
        gone: list[EntryInfo] = []
        kept: list[EntryInfo] = []
        for file in [file for file in self.entries() if kind in {None, file.kind}]:
            try:
                (gone if _remove(file.path) else kept).append(file)
            except OSError as error:
                raise CacheError(f"{file.path} cannot be removed: {error.strerror or error}") from error
        return gone, kept

    def read_limit(self) -> int | None:
        """Read which limit held when something was last kept here, in bytes; None where nothing ever was."""
        try:
            return int((self._folder / _ROOM).read_text())
        except (OSError, ValueError):
            return None


def format_size(size: int) -> str:
    """Write a number of bytes in GiB, or in MiB where it is less than one."""
    return f"{size / _GIB:.2f} GiB" if size >= _GIB else f"{size / 2**20:.1f} MiB"


@contextmanager
def _explained(label: ArrayLabel) -> Iterator[None]:
    """Turn what a full disk or a read-only folder raises into `CacheError`."""
    try:
        yield
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        raise refuse(label, f"{error.strerror or error}{place}") from error


def _take(file: IO[bytes], label: ArrayLabel) -> bool:
    """Get a file for this process alone; where another one has it, wait until that is done, and give False."""
    if lock_open(file):
        return True
    _LOG.info("%s: another process makes it; waiting", label.of)
    # shared: the maker goes on to read what it made, for as long as it lives
    lock_open(file, shared=True, wait=True)
    return False


def _lies_at(file: IO[bytes], path: Path) -> bool:
    """Return whether a file still has its name: who had it before may have renamed or removed it."""
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _identify(file: IO[bytes]) -> tuple[int, int, bytes]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, read_digest(file)


def _verify(file: IO[bytes]) -> bool:
    """Return whether a file is what was written; it is read once in the life of a process."""
    identity = _identify(file)
    if identity not in _verified and matches_digest(file):
        _verified.add(identity)
    return identity in _verified


def _hold(path: Path, until: ExitStack) -> bool:
    """Keep everybody else from a file until `until` is closed; False where somebody uses it, or it is gone."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("r+b"))
        except FileNotFoundError:
            return False
        if not lock_open(file) or not _lies_at(file, path):
            return False
        until.push(stack.pop_all())
    return True


def _remove(path: Path) -> bool:
    """Remove a file; False where somebody uses it."""
    with ExitStack() as stack:
        free = _hold(path, stack)
        if free:
            path.unlink(missing_ok=True)
        return free


def _describe(path: Path) -> EntryInfo:
    kind, key = path.parent.name, path.stem.lstrip(".")
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        label = read_label(file) if path.suffix == _SUFFIX else None
    state: State
    if path.suffix == _PART:
        state = "being made" if _is_used(path) else "left over"
    elif label is None or (label.kind, label.key) != (kind, key):
        state = "damaged"
    else:
        state = "in use" if _is_used(path) else "ready"
    of = label.of if label and state != "damaged" else ""
    return EntryInfo(path=path, kind=kind, key=key, of=of, size=stat.st_size, used=stat.st_mtime, state=state)


def _is_used(path: Path) -> bool:
    try:
        with ExitStack() as stack:
            return not _hold(path, stack)
    except OSError:  # read-only: nobody can tell, and nobody removes it
        return False


def _log(text: str) -> None:
    _LOG.log(logging.INFO if isinstance(text, Step) else logging.WARNING, text)
