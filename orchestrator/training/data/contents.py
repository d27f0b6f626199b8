"""What lies in a data folder or an archive, with an account of each file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.config.models import DataConfig
from orchestrator.training.data.accounting import Account, refuse_links, report_left_out, take_stock
from orchestrator.training.data.opened import Opened
from orchestrator.training.data.rows import ArchiveRows, Bounds, FileRows, StoredRows
from orchestrator.training.folders.archive import Archive
from orchestrator.training.folders.walk import Listing, Parts, allowed_folders, read_head, walk
from orchestrator.training.problems import Problems


class Files(Protocol):
    """The files of a data set, wherever they lie."""

    @property
    def path(self) -> Path:
        """Where they lie."""

    @property
    def bounds(self) -> Bounds | None:
        """Where they must lie; None: anywhere."""

    def list(self) -> Listing:
        """List them."""

    def read_head(self, path: Parts, size: int) -> bytes:
        """Read the first bytes of one; none where it cannot be read."""

    def rows(self, paths: Sequence[Parts], labels: Sequence[int]) -> StoredRows:
        """Build rows of images with these labels."""


class FolderFiles:
    """The files of a data folder.

    Args:
        folder: The folder.
        config: Whether links are followed.
    """

    def __init__(self, folder: Path, config: DataConfig) -> None:
        self.path = Path(os.path.abspath(folder))  # noqa: PTH100 - links are not resolved, so that paths stay the user's
        self._follow_links = config.follow_links

    @property
    def bounds(self) -> Bounds | None:
        """Where they must lie."""
        return None if self._follow_links else Bounds(folders=allowed_folders(self.path))

    def list(self) -> Listing:
        """List them."""
        return walk(self.path, follow_links=self._follow_links)

    def read_head(self, path: Parts, size: int) -> bytes:
        """Read the first bytes of one."""
        return read_head(self.path.joinpath(*path), size)

    def rows(self, paths: Sequence[Parts], labels: Sequence[int]) -> StoredRows:
        """Build rows of images with these labels."""
        return FileRows([str(self.path.joinpath(*path)) for path in paths], labels)


class ArchiveFiles:
    """The files of a zip archive.

    Args:
        archive: The archive.
    """

    bounds = None

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.path = archive.path
        self.list = archive.list
        self.read_head = archive.read_head

    def rows(self, paths: Sequence[Parts], labels: Sequence[int]) -> StoredRows:
        """Build rows of images with these labels."""
        return ArchiveRows(self._archive, paths, labels)


class Contents:
    """What lies in a data folder or an archive, with the account of its files.

    Args:
        files: The files.
        config: How they are read.
        problems: Takes what is wrong with them.

    Raises:
        ConfigError: It holds links that lead nowhere, or out of it.
    """

    def __init__(self, files: Files, config: DataConfig, problems: Problems) -> None:
        self.path = files.path
        self.bounds = files.bounds
        self.rows = files.rows
        self.config = config
        self.source = config.source
        self.problems = problems
        self.listing: Listing = files.list()
        refuse_links(self.listing, self.source)
        self.account: Account = take_stock(self.listing, files.read_head)
        self.notes: list[str] = []

    def file(self, path: Parts) -> Path:
        """Return where a file lies."""
        return self.path.joinpath(*path)

    def close(self) -> None:
        """Report what is left out."""
        self.account.leave_rest()
        left_out = self.account.left_out
        fail = self.config.on_unread == "fail"
        self.notes += report_left_out(left_out, self.source, self.problems, fail=fail)

    def opened(self, rows: Mapping[str, StoredRows], names: tuple[str, ...], *, files: int, reading: str) -> Opened:
        """Return what was read, with its account."""
        return Opened(
            rows=rows,
            class_names=names,
            bounds=self.bounds,
            notes=self.notes,
            left_out=self.account.left_out,
            files=files,
            reading=reading,
        )
