"""One stored split: encoded images in the order of their content, decoded when they are read."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import ValueRange
from orchestrator.errors import ConfigError
from orchestrator.training.data.quality import BrokenImage, place
from orchestrator.training.data.rows import Bounds, StoredImage, StoredRows
from orchestrator.training.folders.walk import read_regular, show
from orchestrator.training.images.decoding import (
    UNDECODABLE,
    ImageFacts,
    Pixels,
    decode_image,
    describe_damage,
    find_values,
    probe_image,
)
from orchestrator.training.images.depth import has_more_than_8_bits
from orchestrator.training.problems import Problems

NO_LABEL = -1
"""Stands for a label that is missing or out of range, which is a problem."""

Survey = Mapping[bytes, ImageFacts | str]
"""By digest of an image: what it is, or why it is broken."""

REPAIR_HINT = "repair or remove it, or set data.on_corrupt to skip"
_UNREADABLE = b""
"""Digest of an image without bytes."""

_SHOWN = 3
"""Images that a message names as examples."""


class EncodedImages:
    """One split of encoded images, decoded when they are read.

    Rows stand in the order of their content (sha256), so that equal data train equally however they are stored.

    Args:
        rows: The split as it is stored.
        class_names: Names of the classes by label.
        split: Name of the split.
        source: Name of the data set, for messages.
        bounds: Where files must lie; None: anywhere.
        problems: Takes labels that are missing or out of range, and files that lie elsewhere.

    Attributes:
        labels: Labels by row; `NO_LABEL` where there is none.
        digests: sha256 of the encoded image, by row; empty where there is none.
        value_range: What becomes black and white in images of more than 8 bits a channel.
    """

    def __init__(
        self,
        rows: StoredRows,
        class_names: tuple[str, ...],
        split: str,
        source: str,
        *,
        bounds: Bounds | None,
        problems: Problems,
    ) -> None:
        self.split = split
        self._source = source
        self._class_names = class_names
        self._bounds = bounds
        self._stored = rows
        self._unreadable: dict[int, str] = {}
        self._deep: set[int] = set()
        self.value_range: ValueRange | None = None
        labels = _read_labels(rows, class_names, split, source, problems)
        outside: list[int] = []
        # from first to last, which is faster than by number
        digests = [self._digest(row, stored, outside) for row, stored in enumerate(rows)]
        self._note_outside(outside, problems)
        order = sorted(range(len(digests)), key=lambda row: (digests[row], labels[row]))
        self._rows = np.asarray(order, dtype=np.int64)
        self.labels: NDArray[np.int64] = labels[self._rows]
        self.digests = [digests[row] for row in order]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> list[str]:
        """The first half of the sha256 of each encoded image (hex), by row."""
        return [digest.hex()[:32] for digest in self.digests]

    def select(self, rows: NDArray[np.int64]) -> "EncodedImages":
        """Keep some rows, in their order here."""
        part = object.__new__(EncodedImages)
        part.__dict__.update(self.__dict__)
        part._rows = self._rows[rows]
        part.labels = self.labels[rows]
        part.digests = [self.digests[row] for row in rows]
        return part

    def keep(self, rows: NDArray[np.int64], labels: NDArray[np.int64], class_names: tuple[str, ...]) -> "EncodedImages":
        """Keep some rows, with labels that are numbers among other classes."""
        part = self.select(rows)
        part.__dict__.update(labels=labels, _class_names=class_names)
        return part

    def read(self, index: int, size: int) -> Pixels:
        """Decode one image.

        Raises:
            ConfigError: It cannot be decoded.
        """
        data = self._read(index)
        try:
            return decode_image(data, size, self.value_range)
        except UNDECODABLE as error:
            raise self._refuse(index, f"cannot be decoded: {describe_damage(error, len(data))}") from error

    def decode(self, index: int, size: int) -> Pixels | str:
        """Decode one image to be kept, or say why it is broken.

        Raises:
            ConfigError: Its bytes cannot be read any more, or are not those of its digest.
        """
        data = self._read(index)
        if hashlib.sha256(data).digest() != self.digests[index]:
            where = place(self.split, *self.locate(index))
            raise ConfigError(
                f"{self._source}: the image in {where} changed since the data set was opened",
                hint="start again once nothing writes there",
            )
        try:
            return decode_image(data, size, self.value_range)
        except UNDECODABLE as error:
            return f"cannot be decoded: {describe_damage(error, len(data))}"

    def probe(self, index: int) -> ImageFacts | str:
        """Decode one image; say what it is, or why it is broken."""
        try:
            data = self._bytes(int(self._rows[index]))
        except ConfigError as error:
            return error.message
        try:
            return probe_image(data, self.value_range)
        except UNDECODABLE as error:
            return f"cannot be decoded: {describe_damage(error, len(data))}"

    @property
    def deep_rows(self) -> list[int]:
        """Rows of the images that have more than 8 bits a channel."""
        return [index for index, row in enumerate(self._rows) if int(row) in self._deep]

    def values(self, index: int) -> tuple[float, float] | None:
        """Lowest and highest value of such an image; None where it cannot be decoded."""
        try:
            return find_values(self._bytes(int(self._rows[index])))
        except (ConfigError, *UNDECODABLE):
            return None

    def find_broken(self, survey: Survey) -> tuple[NDArray[np.int64], list[BrokenImage]]:
        """Tell whole images from broken ones.

        Args:
            survey: What is known of the images; one that is not in it counts as whole.

        Returns:
            Rows of the whole ones, and the others in the order in which they are stored.
        """
        whole, broken = [], []
        for index, digest in enumerate(self.digests):
            found = self._unreadable.get(int(self._rows[index])) or survey.get(digest)
            if isinstance(found, str):
                broken.append(self._describe(index, found))
            else:
                whole.append(index)
        return np.asarray(whole, dtype=np.int64), sorted(broken, key=lambda image: image.row)

    def locate(self, index: int) -> tuple[int, str | None]:
        """Return row and file of an image as it is stored."""
        row = int(self._rows[index])
        return row, _show_path(self._stored[row])

    def class_of(self, index: int) -> str | None:
        """Name the class of an image; None where its label is missing or out of range."""
        label = int(self.labels[index])
        return None if label == NO_LABEL else self._class_names[label]

    def _refuse(self, index: int, reason: str) -> ConfigError:
        return ConfigError(f"{self._source}: {self._describe(index, reason)}", hint=REPAIR_HINT)

    def _describe(self, index: int, reason: str) -> BrokenImage:
        row, file = self.locate(index)
        return BrokenImage(split=self.split, row=row, file=file, label=self.class_of(index), reason=reason)

    def _digest(self, row: int, stored: StoredImage, outside: list[int]) -> bytes:
        value = stored or {}
        file = value.get("path")
        if value.get("bytes") is None and file and self._bounds is not None and not self._bounds.allow(file):
            outside.append(row)
            return _UNREADABLE
        try:
            data = _read_stored(stored)
        except ConfigError as error:
            self._unreadable[row] = error.message
            return _UNREADABLE
        if has_more_than_8_bits(data):
            self._deep.add(row)
        return hashlib.sha256(data).digest()

    def _note_outside(self, rows: list[int], problems: Problems) -> None:
        if not rows:
            return
        shown = "; ".join(place(self.split, row, _show_path(self._stored[row])) for row in rows[:_SHOWN])
        which = f"the image in {shown} lies" if len(rows) == 1 else f"{len(rows)} images lie"
        such = "" if len(rows) == 1 else f", such as the one in {shown}"
        problems.add(
            f"{self._source}: {which} outside the data folder{such}",
            hint="copy what lies elsewhere into the folder: it is not read; or set data.follow_links to true",
        )

    def _read(self, index: int) -> bytes:
        try:
            return self._bytes(int(self._rows[index]))
        except ConfigError as error:
            raise self._refuse(index, error.message) from error

    def _bytes(self, row: int) -> bytes:
        return _read_stored(self._stored[row])


def _show_path(stored: StoredImage) -> str | None:
    path = (stored or {}).get("path")
    return show(path) if path else None


def _read_stored(stored: StoredImage) -> bytes:
    """Read an encoded image; what is raised says why it cannot be, as a predicate."""
    if stored is not None and stored.get("bytes") is not None:
        return bytes(stored["bytes"])
    if stored is None or not stored.get("path"):
        raise ConfigError("is not there: the row has none")
    try:
        data: bytes = stored["read"]() if "read" in stored else read_regular(stored["path"])
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}") from error
    return data


def survey_images(splits: Iterable[EncodedImages], threads: int) -> Survey:
    """Decode every image once, equal ones together, and keep none."""
    survey: dict[bytes, ImageFacts | str] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for images in splits:
            one = {digest: index for index, digest in enumerate(images.digests)}
            new = [index for digest, index in one.items() if digest != _UNREADABLE and digest not in survey]
            survey.update(zip((images.digests[index] for index in new), pool.map(images.probe, new), strict=True))
    return survey


def _read_labels(
    rows: StoredRows, class_names: Sequence[str], split: str, source: str, problems: Problems
) -> NDArray[np.int64]:
    values = rows.labels
    missing = [row for row, value in enumerate(values) if value is None or value == -1]
    if missing:
        problems.add(
            f"{source}: {len(missing)} of {len(values)} images of split {split} have no label in column "
            f"{rows.label_column!r}, the first in row {missing[0]}",
            hint="label them, or leave them out",
        )
    labels = np.full(len(values), NO_LABEL, dtype=np.int64)
    strange = []
    for row, label in enumerate(values):
        if label is None or label == -1:
            continue
        if 0 <= label < len(class_names):
            labels[row] = label
        else:
            strange.append((row, label))
    if strange:
        row, label = strange[0]
        problems.add(
            f"{source}: {len(strange)} of {len(values)} images of split {split} have a label out of range, the first "
            f"in row {row}: {label}, and there are {len(class_names)} classes (labels 0 to "
            f"{len(class_names) - 1})",
            hint="correct the labels, or the names of the classes",
        )
    return labels
