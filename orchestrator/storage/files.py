"""Files that are there whole or not at all, and that say whether they still are what was written."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

DIGEST_SUFFIX = ".sha256"
DIGEST_SIZE = hashlib.sha256().digest_size
_CHUNK = 2**22
_SYNCED_ABOVE = 4
"""Folders above a tree that may have been made with it: the run's, the experiment's, the artifacts' and the root."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole or not at all, also after a power cut; an old one is replaced.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    with _replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_checked(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file likewise, with its sha256 beside it, which `is_whole` compares.

    The digest is in place before the file: a death between them leaves a digest alone, which is no file. So a name
    must not be used twice for different contents where a death in between matters.

    Args:
        path: The file.
        write: Writes the content to an open file.

    Raises:
        OSError: It cannot be written.
    """
    with _replacing(path) as file:
        write(file)
        file.flush()
        with Path(file.name).open("rb") as written:
            digest = compute_digest(written)
        write_atomically(digest_path(path), digest.hex())


def is_whole(path: Path) -> bool:
    """Compare a file with the digest beside it; False where one of them is not there."""
    try:
        expected = digest_path(path).read_text()
        with path.open("rb") as file:
            return compute_digest(file).hex() == expected
    except OSError:
        return False


def compute_digest(file: IO[bytes], size: int | None = None) -> bytes:
    """Compute the sha256 of a file, or of its first `size` bytes.

    It is read, not mapped: a disk that fails raises an error, and ends nothing.
    """
    size = file.seek(0, os.SEEK_END) if size is None else size
    digest = hashlib.sha256()
    file.seek(0)
    while size and (read := file.read(min(_CHUNK, size))):
        digest.update(read)
        size -= len(read)
    return digest.digest()


def hash_parts(parts: object) -> str:
    """Compute the sha256 of plain values, in hex; the order of keys does not count."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_path(path: Path) -> Path:
    """Name the file that holds the digest of `path`."""
    return path.with_name(path.name + DIGEST_SUFFIX)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder, and those above it, that are still there after a power cut.

    Raises:
        OSError: They cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def sync_file(path: Path) -> None:
    """Make the content of a file, and its name, last over a power cut.

    Raises:
        OSError: The disk does not take it.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Make all files below a folder, and the folder itself, last over a power cut.

    Raises:
        OSError: The disk does not take them.
    """
    for place, _, files in os.walk(folder):
        for name in files:
            with (Path(place) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
    for above in list(folder.parents)[:_SYNCED_ABOVE]:
        sync_folder(above)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of the same folder that takes the place of `path` at the end, unless the body raises."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a change of names in a folder last over a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
