"""Data sets read through Hugging Face `datasets`: a hub name, a folder of Parquet files, or an image folder."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Image
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import HfHubHTTPError
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.columns import Columns, find_columns, read_column
from orchestrator.training.images import UNDECODABLE, Pixels, decode_image
from orchestrator.training.splits import name_splits

# the HTTP library's base class stands among the bases of the client's own error, whichever library that is
_HUB_ERRORS = tuple(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)
_UNUSABLE = (DataFilesNotFoundError, EmptyDatasetError, DatasetsError, ValueError, RuntimeError)
_OFFLINE_HINT = (
    "connect once, or set HF_HUB_OFFLINE=1 if it is cached, or point data.source at a local folder; "
    "`make demo` needs no download"
)


class EncodedImages:
    """One split of encoded images, decoded when they are read.

    Rows stand in the order of their content (sha256), so that equal data train equally however they are stored.

    Attributes:
        labels: Labels by row.
        digests: sha256 of the encoded image, by row.
    """

    def __init__(self, dataset: Dataset, columns: Columns, split: str, source: str) -> None:
        self._split = split
        self._source = source
        self._column = columns.image
        stored = dataset.select_columns([columns.image]).cast_column(columns.image, Image(decode=False))
        self._dataset = stored
        labels = _read_labels(dataset, columns, split, source)
        digests = [hashlib.sha256(self._bytes(row)).digest() for row in range(len(stored))]
        order = sorted(range(len(stored)), key=lambda row: (digests[row], labels[row]))
        self._rows = np.asarray(order, dtype=np.int64)
        self.labels: NDArray[np.int64] = labels[self._rows]
        self.digests = [digests[row] for row in order]

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, rows: NDArray[np.int64]) -> "EncodedImages":
        """Keep some rows, in their order here."""
        part = object.__new__(EncodedImages)
        part.__dict__.update(self.__dict__)
        part._rows = self._rows[rows]
        part.labels = self.labels[rows]
        part.digests = [self.digests[row] for row in rows]
        return part

    def read(self, index: int, size: int) -> Pixels:
        """Decode one image.

        Raises:
            ConfigError: It cannot be decoded.
        """
        row = int(self._rows[index])
        try:
            return decode_image(self._bytes(row), size)
        except UNDECODABLE as error:
            reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
            raise ConfigError(
                f"{self._source}: the image in split {self._split}, row {row}{self._file(row)} "
                f"cannot be decoded: {reason}",
                hint="repair or remove it",
            ) from error

    def _bytes(self, row: int) -> bytes:
        value = self._dataset[row][self._column]
        if value is not None and value.get("bytes") is not None:
            return bytes(value["bytes"])
        if value is None or not value.get("path"):
            raise ConfigError(f"{self._source}: there is no image in split {self._split}, row {row}")
        try:
            return Path(value["path"]).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{self._source}: the image in split {self._split}, row {row} cannot be read: {error}"
            ) from error

    def _file(self, row: int) -> str:
        path = self._dataset[row][self._column].get("path")
        return f" ({path})" if path else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set that was opened, its three splits in order."""

    splits: dict[str, EncodedImages]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over class names, splits, labels and encoded images; the order of rows does not count."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for name, images in self.splits.items():
            digest.update(f"{name}:{len(images)}:".encode())
            for label, image in zip(images.labels, images.digests, strict=True):
                digest.update(f"{label}:".encode() + image)
        return digest.hexdigest()


def open_source(config: DataConfig) -> Source:
    """Open a data set and make sure of its splits, columns and labels.

    Raises:
        ConfigError: The data set is not as it must be.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    found = _load(config)
    columns = find_columns(found, config)
    images = {name: EncodedImages(dataset, columns, name, config.source) for name, dataset in found.items()}
    splits, notes = name_splits(images, config)
    _check_classes(splits, columns.class_names, config)
    return Source(splits=splits, class_names=columns.class_names, notes=notes)


def _load(config: DataConfig) -> Mapping[str, Dataset]:
    folder = Path(config.source).expanduser()
    local = folder.is_dir()
    if not local and (folder.exists() or config.source.startswith(("/", ".", "~")) or config.source.count("/") > 1):
        what = "is no folder" if folder.exists() else "does not exist"
        raise ConfigError(f"data.source: {config.source} {what}", hint="give a folder, a hub name, or `synthetic`")
    try:
        with _quiet(hide=local or not sys.stderr.isatty()):
            found = (
                datasets.load_dataset(str(folder))
                if local
                else datasets.load_dataset(config.source, revision=config.revision)
            )
    except DatasetNotFoundError as error:
        raise SetupError(
            f"data.source: the hub has no data set {config.source!r} (revision {config.revision or 'newest'}), "
            f"or it is private: {error}",
            hint="check the name and `hf auth login`",
        ) from error
    except _UNUSABLE as error:
        raise _unusable(config, error) from error
    except _HUB_ERRORS as error:
        if local:
            raise _unusable(config, error) from error
        raise SetupError(
            f"data.source: {config.source!r} (revision {config.revision or 'newest'}) is not in the cache "
            f"({datasets.config.HF_DATASETS_CACHE}) and cannot be downloaded: {error}",
            hint=_OFFLINE_HINT,
        ) from error
    if not isinstance(found, DatasetDict):
        raise ConfigError(f"data.source: {config.source} gives a {type(found).__name__}, not splits")
    return dict(found)


def _unusable(config: DataConfig, error: Exception) -> ConfigError:
    return ConfigError(
        f"data.source: {config.source} cannot be read as a data set: {error.__cause__ or error}",
        hint="a folder holds Parquet files named train-, validation- and test-, or a folder of images a class",
    )


@contextmanager
def _quiet(*, hide: bool) -> Iterator[None]:
    shown = datasets.is_progress_bar_enabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read_labels(dataset: Dataset, columns: Columns, split: str, source: str) -> NDArray[np.int64]:
    values = read_column(dataset, columns.label)
    missing = [row for row, value in enumerate(values) if value is None or value == -1]
    if missing:
        raise ConfigError(
            f"{source}: {len(missing)} of {len(values)} images of split {split} have no label in column "
            f"{columns.label!r}, the first in row {missing[0]}",
            hint="label them, or leave them out",
        )
    labels = values if columns.numbers is None else [columns.numbers[value] for value in values]
    strange = [row for row, label in enumerate(labels) if not 0 <= label < len(columns.class_names)]
    if strange:
        raise ConfigError(
            f"{source}: split {split}, row {strange[0]} has label {labels[strange[0]]}, "
            f"and there are {len(columns.class_names)} classes"
        )
    return np.asarray(labels, dtype=np.int64)


def _check_classes(splits: Mapping[str, EncodedImages], names: tuple[str, ...], config: DataConfig) -> None:
    if len(names) < 2:
        raise ConfigError(
            f"{config.source} has one class only: {', '.join(names) or 'none'}", hint="there is nothing to tell apart"
        )
    counts = np.bincount(splits["train"].labels, minlength=len(names))
    empty = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if empty:
        raise ConfigError(
            f"{config.source}: {len(empty)} of {len(names)} classes have no training images: {', '.join(empty[:10])}"
        )
