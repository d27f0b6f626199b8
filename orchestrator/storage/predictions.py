"""What a run's best weights say of each image of validation and test: whatever compares runs is computed from it."""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import NotFoundError, RunError
from orchestrator.storage.files import write_atomically
from orchestrator.storage.layout import PREDICTIONS_FILE

_FORMS = {"logits": ("f", 2), "labels": ("i", 1), "image_ids": ("U", 1)}
"""Kind of number and number of axes of each array."""
_FIELDS = tuple(_FORMS)
_PLAUSIBLE = 64 * 2**20
"""Bytes of an array that is read however well it was compressed."""
_MOST_COMPRESSED = 100
"""Times that a larger one may have been compressed: names of images repeat themselves, logits hardly do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What is predicted for the images of one split, in the order of the split.

    Attributes:
        logits: fp32, [n, classes].
        labels: True classes: int64, [n].
        image_ids: Strings, [n]: equal for equal images of all runs on the same data.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    image_ids: NDArray[np.str_]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes: int64, [n]."""
        predicted: NDArray[np.int64] = self.logits.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the true class is predicted, [n]. Its mean is the accuracy."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Put predictions for different images one after the other."""
    return Predictions(**{field: np.concatenate([getattr(part, field) for part in parts]) for field in _FIELDS})


def predictions_path(checkpoint: Path) -> Path:
    """Name the file of predictions beside a run's best checkpoint."""
    return checkpoint.with_name(PREDICTIONS_FILE)


def write_predictions(path: Path, by_split: Mapping[str, Predictions]) -> None:
    """Write predictions by the name of their split: a compressed `.npz`, there whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    arrays = {f"{split}_{field}": getattr(each, field) for split, each in by_split.items() for field in _FIELDS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Read the predictions of a run by the name of their split. What does not fit together is not read.

    Raises:
        NotFoundError: There is no such file.
        RunError: It is damaged, or holds something else.
    """
    try:
        with path.open("rb") as opened, zipfile.ZipFile(opened) as file:
            splits = [name.removesuffix("_labels.npy") for name in file.namelist() if name.endswith("_labels.npy")]
            return {split: _read_split(file, split) for split in splits}
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no predictions at {path}",
            hint="the run has not finished, or an older version trained it: delete its folder to train it again",
        ) from error
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"the predictions {path} are damaged: {error}", hint="delete its folder to train it again"
        ) from error


def _read_split(file: zipfile.ZipFile, split: str) -> Predictions:
    """Read the arrays of one split, once their headers fit each other and the file.

    Raises:
        ValueError: They do not, or an array has other values than predictions can have.
    """
    members = {field: file.getinfo(f"{split}_{field}.npy") for field in _FIELDS}
    shapes = {field: _check_header(file, info, field) for field, info in members.items()}
    images, classes = shapes["logits"]
    if shapes["labels"] != (images,) or shapes["image_ids"] != (images,):
        said = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise ValueError(f"the arrays of {split!r} have shapes that do not fit each other: {said}")
    arrays = {}
    for field, info in members.items():
        with file.open(info) as member:
            arrays[field] = np.lib.format.read_array(member, allow_pickle=False)
    labels = arrays["labels"]
    if images and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"the labels of {split!r} go from {labels.min()} to {labels.max()}, of {classes} classes")
    return Predictions(**arrays)


def _check_header(file: zipfile.ZipFile, info: zipfile.ZipInfo, field: str) -> tuple[int, ...]:
    """Read the shape that an array says it has, and refuse one that its file cannot hold; nothing is allocated.

    Raises:
        ValueError: It has another type or number of axes, or more bytes than can be there.
    """
    kind, axes = _FORMS[field]
    with file.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"{info.filename} has the format {version}")
        shape, _, dtype = read(member)
        header = member.tell()
    if dtype.kind != kind or len(shape) != axes:
        raise ValueError(f"{info.filename} is an array of {dtype} with shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if header + size != info.file_size:
        raise ValueError(f"{info.filename} says that it has {size} bytes, and has {info.file_size - header}")
    if size > max(_PLAUSIBLE, _MOST_COMPRESSED * info.compress_size):
        raise ValueError(f"{info.filename} unpacks {info.compress_size} bytes to {size}")
    return tuple(shape)
