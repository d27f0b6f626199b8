"""The rows of a stored split: files of a folder, or rows of a table."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset, Image

from orchestrator.training.data.columns import Columns, read_column
from orchestrator.training.folders.archive import Archive
from orchestrator.training.folders.walk import Parts

StoredImage = Mapping[str, Any] | None
"""An image as `datasets` stores it: its `bytes`, or the `path` of its file; one in an archive has a `read` besides."""


class StoredRows(Protocol):
    """Images and labels in the order in which they are stored."""

    label_column: str

    @property
    def labels(self) -> Sequence[int | None]:
        """Labels by row; None or -1 where there is none."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> StoredImage:
        """Return one image as it is stored."""

    def __iter__(self) -> Iterator[StoredImage]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where the files of a data set must lie.

    Attributes:
        folders: Real paths of folders.
    """

    folders: tuple[Path, ...]

    def allow(self, file: str) -> bool:
        """Return whether a file lies in one of the folders."""
        real = Path(os.path.realpath(file))
        return any(real.is_relative_to(folder) for folder in self.folders)


class FileRows:
    """Files with labels."""

    label_column = "label"

    def __init__(self, paths: Sequence[str], labels: Sequence[int | None], label_column: str = "label") -> None:
        self._paths = paths
        self.labels: Sequence[int | None] = labels
        self.label_column = label_column

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int, /) -> StoredImage:
        return {"bytes": None, "path": self._paths[row]}

    def __iter__(self) -> Iterator[StoredImage]:
        return (self[row] for row in range(len(self)))


class ArchiveRows:
    """Files of an archive with labels.

    Args:
        archive: The archive.
        paths: Their paths in it.
        labels: By row.
    """

    label_column = "label"

    def __init__(self, archive: Archive, paths: Sequence[Parts], labels: Sequence[int | None]) -> None:
        self._archive = archive
        self._paths = paths
        self.labels: Sequence[int | None] = labels

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int, /) -> StoredImage:
        path = self._paths[row]
        return {
            "bytes": None,
            "path": str(self._archive.path.joinpath(*path)),
            "read": partial(self._archive.read, path),
        }

    def __iter__(self) -> Iterator[StoredImage]:
        return (self[row] for row in range(len(self)))


class TableRows:
    """Rows of a table."""

    def __init__(self, dataset: Dataset, columns: Columns) -> None:
        self._column = columns.image
        self._dataset = dataset.select_columns([columns.image]).cast_column(columns.image, Image(decode=False))
        self.label_column = columns.label
        values = read_column(dataset, columns.label)
        numbers = columns.numbers
        self.labels: Sequence[int | None] = (
            values if numbers is None else [value if value in {None, -1} else numbers[value] for value in values]
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, row: int, /) -> StoredImage:
        image: StoredImage = self._dataset[row][self._column]
        return image

    def __iter__(self) -> Iterator[StoredImage]:
        return (stored[self._column] for stored in self._dataset)

    @property
    def files(self) -> Iterator[str]:
        """Go through the paths of the images that lie in files of their own."""
        return (str(stored["path"]) for stored in self if stored and stored.get("bytes") is None and stored.get("path"))
