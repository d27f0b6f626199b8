"""A zip archive of images, read where it lies: nothing of it is unpacked to disk."""

import os
import stat
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from orchestrator.errors import ConfigError
from orchestrator.training.folders.walk import LARGEST_IMAGE, File, Listing, Parts, is_hidden, show

_MOST_ENTRIES = 5_000_000
_LARGEST_RATIO = 200
"""Bytes that an archive may hold for each of its own; images hardly shrink, and blank ones by less."""
_SMALL = 2**28
"""Bytes that an archive may hold in any case: 256 MiB."""
_ENCRYPTED = 1
_SHOWN = 3
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


class Archive:
    """The files in a zip archive. Reading is safe from several threads, and in processes that were forked.

    Args:
        path: The archive.
        source: Name of the data set, for messages.

    Raises:
        ConfigError: It is no whole zip archive, or holds what must not be read.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        try:
            infos = self._open().infolist()
        except (*_DAMAGE, OSError) as error:
            raise ConfigError(
                f"data.source: {source} is no whole zip archive: {error}", hint="bring it again, and compare its size"
            ) from error
        _refuse_unsafe(infos, path.stat().st_size, source)
        self._infos = {_parts(info): info for info in infos if not info.is_dir()}
        self._folders = {_parts(info) for info in infos if info.is_dir()}

    def __getstate__(self) -> dict[str, object]:
        """Leave out what is open."""
        return {"path": self.path, "_infos": self._infos, "_folders": self._folders}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take what was kept; the archive is opened again when something is read."""
        self.__dict__.update(state, _opened=None, _lock=threading.Lock())

    def list(self) -> Listing:
        """List what lies in it, sorted by path, as `walk` lists a folder."""
        listing = Listing()
        for parts, info in sorted(self._infos.items()):
            if any(map(is_hidden, parts)):
                listing.hidden.append(parts)
            else:
                listing.files.append(File(parts, info.file_size))
        above = {parts[:depth] for parts in (*self._infos, *self._folders) for depth in range(1, len(parts))}
        listing.folders = sorted(parts for parts in above | self._folders if not any(map(is_hidden, parts)))
        return listing

    def read(self, path: Parts, limit: int = LARGEST_IMAGE) -> bytes:
        """Read a file of at most `limit` bytes; its checksum is compared.

        Raises:
            OSError: It cannot be read, or is larger.
        """
        info = self._infos[path]
        if info.file_size > limit:
            raise OSError(f"it has {info.file_size:,} bytes, and an image at most {limit:,}")
        try:
            return self._open().read(info)  # no more than the size that it states
        except _DAMAGE as error:
            raise OSError(f"it is damaged in the archive: {error}") from error

    def read_head(self, path: Parts, size: int) -> bytes:
        """Read the first bytes of a file; none where it cannot be read."""
        try:
            with self._open().open(self._infos[path]) as file:
                return file.read(size)
        except (*_DAMAGE, OSError):
            return b""

    def _open(self) -> zipfile.ZipFile:
        """Open it once in each process: what a fork inherits would share its place in the file."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), zipfile.ZipFile(self.path)
            return self._opened[1]


def _parts(info: zipfile.ZipInfo) -> Parts:
    return PurePosixPath(info.filename).parts


def _refuse_unsafe(infos: Iterable[zipfile.ZipInfo], size: int, source: str) -> None:
    """Refuse paths that lead out of the archive, links, passwords, two files of one name, and what unpacks without end.

    Raises:
        ConfigError: There are some; the first of them are named.
    """
    infos = list(infos)
    names = [info.filename for info in infos]
    paths = [PurePosixPath(name) for name in names]
    total = sum(info.file_size for info in infos)
    if len(infos) > _MOST_ENTRIES or total > max(_SMALL, _LARGEST_RATIO * size):
        raise ConfigError(
            f"data.source: {source} has {size:,} bytes and would unpack to {total:,} in {len(infos):,} files, which no "
            "archive of images does",
            hint="unpack it yourself where you trust it, and point data.source at the folder",
        )
    several = [path for path, count in Counter(paths).items() if count > 1]
    kinds = (
        ("lead out of it", [name for name, path in zip(names, paths, strict=True) if _leads_out(name, path)]),
        ("are links", [info.filename for info in infos if stat.S_ISLNK(info.external_attr >> 16)]),
        ("need a password", [info.filename for info in infos if info.flag_bits & _ENCRYPTED]),
        ("are there more than once", sorted(map(str, several))),
    )
    for what, found in kinds:
        if found:
            shown = ", ".join(map(show, found[:_SHOWN]))
            raise ConfigError(
                f"data.source: {source}: {len(found)} files in the archive {what}, such as {shown}",
                hint="pack it again, from the folder of the data set alone",
            )


def _leads_out(name: str, path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts
