"""An array in a file that can be mapped, that says what it is, and that knows whether it still is what was written.

    data      in C order, from the first byte on
    label     JSON: what it is
    digest    sha256 of data and label, 32 bytes
    length    of the label, 8 bytes, little endian
    magic     8 bytes, with the version of this form

The digest makes a forced write to disk superfluous: what a power cut leaves of a file does not pass for it.
"""

import math
import os
from collections.abc import Callable, Mapping
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import CacheError
from orchestrator.storage.files import DIGEST_SIZE, compute_digest

Array = NDArray[Any]
Write = Callable[[int, Array], None]
"""Puts rows of the array in their place, the first of them at this index. Threads may do so at once."""

_MAGIC = b"ORCARR\x00\x01"
_LENGTH = 8
_FOOT = DIGEST_SIZE + _LENGTH + len(_MAGIC)


class ArrayLabel(BaseModel):
    """What an array is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    key: str
    of: str
    """What it was made of, for people."""
    shape: tuple[int, ...]
    dtype: str
    """As numpy writes it, with the order of bytes: `|u1`, `<f4`."""
    extra: dict[str, Any] = {}
    """Whatever its builder wants to know again; plain values."""

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def is_like(self, other: "ArrayLabel") -> bool:
        """Return whether it stands for the same array, whatever is told besides."""
        mine, its = ((label.kind, label.key, label.shape, label.dtype) for label in (self, other))
        return mine == its


class Writer:
    """Takes the rows of an array that is being made. A full disk raises an error here, which a map would not.

    Args:
        file: Open for reading and writing; `label.size` bytes are reserved.
        label: What the array will be.
    """

    def __init__(self, file: IO[bytes], label: ArrayLabel) -> None:
        self._file = file
        self._label = label
        self._lock = Lock()
        self._rows = 0

    def write(self, start: int, rows: Array) -> None:
        """Put rows in their place.

        Raises:
            CacheError: The disk does not take them.
            ValueError: They are not rows of this array.
        """
        shape, dtype = self._label.shape, np.dtype(self._label.dtype)
        if rows.shape[1:] != shape[1:] or rows.dtype != dtype or not 0 <= start <= start + len(rows) <= shape[0]:
            raise ValueError(f"rows {start} of {rows.dtype} {rows.shape} are no part of {dtype} {shape}")
        data = np.ascontiguousarray(rows).data.cast("B") if rows.size else memoryview(b"")
        place = start * (self._label.size // shape[0])
        try:
            while data:
                written = os.pwrite(self._file.fileno(), data, place)
                data, place = data[written:], place + written
        except OSError as error:
            raise refuse(self._label, error.strerror or str(error)) from error
        with self._lock:
            self._rows += len(rows)

    def seal(self, extra: Mapping[str, object]) -> ArrayLabel:
        """Put label and digest behind the data, and give the label.

        Raises:
            OSError: The disk does not take them.
            ValueError: Not every row was written, once.
        """
        if self._rows != self._label.shape[0]:
            raise ValueError(f"{self._rows} of {self._label.shape[0]} rows were written")
        label = self._label.model_copy(update={"extra": dict(extra)})
        text = label.model_dump_json().encode()
        self._file.seek(label.size)
        self._file.truncate()
        self._file.write(text)
        self._file.flush()
        digest = compute_digest(self._file, label.size + len(text))
        self._file.seek(0, os.SEEK_END)
        self._file.write(digest + len(text).to_bytes(_LENGTH, "little") + _MAGIC)
        self._file.flush()
        return label


def refuse(label: ArrayLabel, reason: str) -> CacheError:
    """Report that an array cannot be kept, and why."""
    return CacheError(f"{label.of}: the cache cannot keep it: {reason}")


def read_label(file: IO[bytes]) -> ArrayLabel | None:
    """Read what a file says it is, without a look at its data; None where it says nothing sensible."""
    size = file.seek(0, os.SEEK_END)
    if size < _FOOT:
        return None
    file.seek(size - _FOOT)
    foot = file.read(_FOOT)
    length = int.from_bytes(foot[DIGEST_SIZE : DIGEST_SIZE + _LENGTH], "little")
    if foot[DIGEST_SIZE + _LENGTH :] != _MAGIC or length > size - _FOOT:
        return None
    file.seek(size - _FOOT - length)
    try:
        label = ArrayLabel.model_validate_json(file.read(length))
        whole = label.size + length + _FOOT == size
    except (ValidationError, TypeError, ValueError):
        return None
    return label if whole else None


def read_digest(file: IO[bytes]) -> bytes:
    """Read the digest that a file with a label has."""
    file.seek(-_FOOT, os.SEEK_END)
    return file.read(DIGEST_SIZE)


def matches_digest(file: IO[bytes]) -> bool:
    """Read a file with a label to its end, and say whether it is what was written."""
    size = file.seek(0, os.SEEK_END)
    return compute_digest(file, size - _FOOT) == read_digest(file)


def map_array(file: IO[bytes], label: ArrayLabel) -> Array:
    """Map the data of a file, read-only. The map has a descriptor of its own, and with it the locks of `file`.

    Raises:
        OSError: It cannot be mapped.
    """
    return np.memmap(file, mode="r", dtype=np.dtype(label.dtype), shape=label.shape)
