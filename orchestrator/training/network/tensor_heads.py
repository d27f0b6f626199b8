"""What a file of tensors holds: names, shapes, types and raw values, read without torch and without running anything.

Three formats: that of safetensors, the zip archive of `torch.save`, and the one that it wrote before torch 1.6.
"""

import json
import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import OrchestratorError

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First object in a file of `torch.save` before torch 1.6."""
_PICKLE_LIMIT: Final = 4 * 2**20
"""Bytes of a pickle that is looked into; that of a ResNet50 has 60,000."""
_NUMPY = {
    **{name: name for name in ("float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")},
    "bfloat16": "uint16",
}
"""Type of numpy that holds the values of each type of torch."""
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_DTYPE = re.compile(r"(b?float|u?int|complex|qu?int)\d\w*|bool")
_SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHead:
    """A tensor without its values.

    Attributes:
        shape: Its dimensions.
        dtype: As torch names it, without `torch.`; what cannot be converted to floats has a name of its own.
        storage: Key of what holds its values.
        offset: First value in the storage.
        stride: Steps in the storage from one value to the next, by dimension.
    """

    shape: tuple[int, ...]
    dtype: str
    storage: str = ""
    offset: int = 0
    stride: tuple[int, ...] = ()


class DamagedError(OrchestratorError):
    """A file cannot be read; the message says why, and is written to follow the name of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What a file holds.

    Attributes:
        value: The object as it was saved: tensors are `TensorHead`, objects of unknown classes are `Foreign`.
        foreign: Names of the unknown classes and functions, in order.
        places: Where the values of each storage begin in the file, and their bytes.
        path: The file.
    """

    value: object
    path: Path
    foreign: tuple[str, ...] = ()
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def read_values(self, head: TensorHead) -> NDArray[Any] | None:
        """Read the values of a tensor; bfloat16 comes as raw uint16. None where this type is not readable here.

        Raises:
            DamagedError: The file does not hold as many.
        """
        kind = _NUMPY.get(head.dtype)
        if kind is None or head.storage not in self.places:
            return None
        start, size = self.places[head.storage]
        item = np.dtype(kind).newbyteorder("<")
        if math.prod(head.shape) * item.itemsize > size:  # one value may be repeated without end
            return None
        last = head.offset + sum(step * (n - 1) for n, step in zip(head.shape, head.stride, strict=True))
        if 0 in head.shape:
            return np.empty(head.shape, dtype=item)
        if head.offset < 0 or min(head.stride, default=0) < 0 or (last + 1) * item.itemsize > size:
            raise DamagedError("is damaged: a tensor is larger than its values")
        with self.path.open("rb") as file:
            file.seek(start + head.offset * item.itemsize)
            flat = np.frombuffer(file.read((last - head.offset + 1) * item.itemsize), dtype=item)
        if len(flat) <= last - head.offset:
            raise DamagedError("is cut off: the values of a tensor are missing")
        strides = tuple(step * item.itemsize for step in head.stride)
        return np.lib.stride_tricks.as_strided(flat, head.shape, strides, writeable=False)


def read_safetensors(path: Path) -> FileContent:
    """Read the head of a safetensors file.

    Raises:
        DamagedError: It is cut off, or its head is no description of tensors.
    """
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise DamagedError(f"is cut off: {size:,} bytes, and its head alone has {8 + length:,}")
        head = file.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(head).items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if end > size:
            raise DamagedError(f"is cut off: {size:,} of {end:,} bytes are there")
        with safe_open(path, framework="numpy"):  # the format's own reader has the last word
            pass
        tensors = {
            name: TensorHead(
                shape=tuple(entry["shape"]),
                dtype=_SAFETENSORS.get(entry["dtype"], entry["dtype"]),
                storage=name,
                stride=_contiguous(entry["shape"]),
            )
            for name, entry in entries.items()
        }
        places = {
            name: (8 + length + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, SafetensorError) as error:
        raise DamagedError(f"is damaged: its head is not that of a safetensors file ({_line(error)})") from error
    return FileContent(value=tensors, path=path, places=places)


def read_archive(path: Path, archive: zipfile.ZipFile) -> FileContent:
    """Read the zip archive of `torch.save`; the checksum of every part is compared.

    Raises:
        DamagedError: A part is missing or does not have its checksum.
    """
    parts = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED for info in parts.values()):
        raise DamagedError("is an archive that was packed again: torch.save does not compress")
    try:
        with archive.open(parts["data.pkl"]) as file:
            value, foreign, _ = _unpickle(BytesIO(file.read()))
        broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DamagedError(f"is damaged: {_line(error)}") from error
    if broken is not None:
        raise DamagedError(f"is damaged: the checksum of its part {broken} is wrong")
    little = "byteorder" not in parts or archive.read(parts["byteorder"]) == b"little"
    places = {
        name.removeprefix("data/"): (_data_offset(path, info), info.file_size)
        for name, info in parts.items()
        if name.startswith("data/") and little
    }
    return FileContent(value=value, foreign=foreign, path=path, places=places)


def read_legacy(path: Path) -> FileContent:
    """Read a file of `torch.save` before torch 1.6, or any other pickle.

    Raises:
        DamagedError: It is no pickle of `torch.save`, or it is cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first, foreign, _ = _unpickle(file)
        if first != LEGACY_MAGIC:
            return FileContent(value=first, foreign=foreign, path=path)
        for _ in range(2):  # version and sizes of the machine that wrote it
            _unpickle(file)
        value, foreign, storages = _unpickle(file)
        keys, _, _ = _unpickle(file)
        places, at = {}, file.tell()
        for key in keys if isinstance(keys, list) else ():
            dtype, count = storages.get(str(key), ("", 0))
            kind = _NUMPY.get(dtype)
            if kind is None:  # of unknown size: whatever follows is not found either
                break
            places[str(key)] = at + 8, count * np.dtype(kind).itemsize
            at += 8 + places[str(key)][1]
        if at > size:
            raise DamagedError(f"is cut off: {size:,} of {at:,} bytes are there")
    return FileContent(value=value, foreign=foreign, path=path, places=places)


def count_bad(values: NDArray[Any], dtype: str) -> int:
    """Count the values that are NaN or infinite; `dtype` is torch's name of their type."""
    if dtype == "bfloat16":
        return int(np.count_nonzero((values & 0x7F80) == 0x7F80))  # its exponent has eight bits, all ones
    return int(values.size - np.count_nonzero(np.isfinite(values))) if values.dtype.kind == "f" else 0


def count_negative(values: NDArray[Any], dtype: str) -> int:
    """Count the values below zero; `dtype` is torch's name of their type."""
    return int(np.count_nonzero(values > 0x8000 if dtype == "bfloat16" else values < 0))


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Find where the bytes of a part begin: behind a head of its own, which the list at the end does not size."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name + extra


def _contiguous(shape: list[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class Foreign:
    """Stands for an object of a class that is not loaded. Nothing of it runs."""

    origin = ""

    def __new__(cls, *_args: object, **_named: object) -> Self:
        """Make one from whatever the pickle passes."""
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Take no notice of its state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Take no notice of an item."""

    def append(self, value: object) -> None:
        """Take no notice of an item."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str


@dataclass(frozen=True, slots=True)
class _Dtype:
    name: str


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    kinds = [each.name for each in rest if isinstance(each, _Dtype)]
    shape, steps = _whole(size), _whole(stride)
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or len(shape) != len(steps):
        raise DamagedError("is damaged: a tensor in it is not described as torch does")
    dtype = kinds[0] if kinds else storage.dtype
    return TensorHead(shape=shape, dtype=dtype, storage=storage.key, offset=offset, stride=steps)


def _whole(value: object) -> tuple[int, ...]:
    if isinstance(value, tuple | list) and all(isinstance(n, int) and n >= 0 for n in value):
        return tuple(value)
    raise DamagedError("is damaged: a tensor in it has a shape that is none")


def _rebuild_parameter(data: object, *_rest: object) -> object:
    return data


def _rebuild_other(*_args: object) -> object:
    return TensorHead(shape=(), dtype="quantised or sparse")


def _rebuild_typed(rebuild: object, _kind: object, args: object, _state: object) -> object:
    return rebuild(*args) if callable(rebuild) and isinstance(args, tuple) else None


class _Mapping(dict[object, object]):
    """Stands for an OrderedDict, whose attributes do not matter."""

    def __setstate__(self, state: object) -> None:
        """Take no notice of its attributes, such as the versions of a state dict."""


_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Mapping,
    ("collections", "defaultdict"): lambda *_: _Mapping(),
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._utils", "_rebuild_qtensor"): _rebuild_other,
    ("torch._utils", "_rebuild_sparse_tensor"): _rebuild_other,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_typed,
    ("torch.serialization", "_get_layout"): lambda *_: None,
    ("torch", "device"): lambda *_: None,
}


class _Unpickler(pickle._Unpickler):  # noqa: SLF001 - the one in C makes room for as many objects as the file claims
    """Reads a pickle; every class and function in it is one of this module."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.foreign: list[str] = []
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what stands for a class or function."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda") and name.endswith("Storage"):
            return _Dtype(_STORAGES.get(name, name))
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return _Dtype("untyped")
        if module == "torch" and _DTYPE.fullmatch(name):
            return _Dtype(name)
        origin = f"{module}.{name}"
        self.foreign.append(origin)
        return type(name, (Foreign,), {"origin": origin})

    def persistent_load(self, pid: Any) -> Any:
        """Return what stands for the values of tensors."""
        match pid:
            case ("storage", _Dtype(name=dtype), key, _, int(count), *_):
                self.storages[str(key)] = dtype, count
                return _Storage(str(key), dtype)
        raise DamagedError("is damaged: its tensors are not described as torch does")


def _unpickle(file: IO[bytes]) -> tuple[object, tuple[str, ...], dict[str, tuple[str, int]]]:
    """Read one pickle; return the object, the unknown names in it, and type and size of each storage by key."""
    reader = _Unpickler(_Limited(file))  # type: ignore[arg-type]
    try:
        value = reader.load()
    except DamagedError:
        raise
    except Exception as error:  # an unpickler raises whatever it stumbles over: IndexError, KeyError, struct.error
        raise DamagedError(f"is damaged: it cannot be read as a pickle ({_line(error)})") from error
    return value, tuple(dict.fromkeys(reader.foreign)), reader.storages


class _Limited:
    """A file from which one pickle may read so many bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _PICKLE_LIMIT

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        return self._count(self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1))

    def readline(self) -> bytes:
        """Read a line."""
        return self._count(self._file.readline(self._left + 1))

    def readinto(self, buffer: bytearray, /) -> int:
        """Fill a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise DamagedError(f"has a pickle of more than {_PICKLE_LIMIT // 2**20} MiB beside its tensors")
        return data
