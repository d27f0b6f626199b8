"""What a look at every image of a data set finds: plain records, which load no heavy library."""

import re
from collections.abc import Sequence
from statistics import median

from orchestrator.records.record import Record

WHOLE_SPLIT = "(all)"
"""Stands in the place of the class where a row is about a whole split."""


_SHOWN = 3
"""Files that a sentence names as examples, and images of a kind that have a line each."""

_SINGULAR = {"are": "is", "have": "has", "lie": "lies"}
_NUMBERS = re.compile(r"\d+")


class BrokenImage(Record):
    """An image that cannot be used."""

    split: str
    """As it is stored."""
    row: int
    """In that split, from 0."""
    file: str | None
    """Path, where it is a file of its own or the data set says one."""
    label: str | None
    """Name of its class; None where it has none."""
    reason: str
    """Why, as a predicate: `cannot be decoded: its format is unknown`."""

    def __str__(self) -> str:
        return f"the image in {place(self.split, self.row, self.file)} {self.reason}"


class EqualImage(Record):
    """One of several images with the same bytes."""

    split: str
    """As it is used."""
    stored_split: str
    """As it is stored: another one where the split had to be made."""
    row: int
    """In the stored split, from 0."""
    file: str | None
    label: str | None

    def __str__(self) -> str:
        return place(self.stored_split, self.row, self.file)


class LeftOut(Record):
    """Files of a data folder that are not used, for one reason."""

    reason: str
    """What they are, such as `.txt files`; of files that should perhaps be used, why they cannot: `are HEIF, ...`."""
    unread: bool
    """They look like images or tables: a problem, unless `data.on_unread` is `skip`."""
    names: tuple[str, ...]
    """Paths relative to the source."""

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_SHOWN])
        rest = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        if self.unread:
            verb, _, what = self.reason.partition(" ")
            verb = _SINGULAR.get(verb, verb) if len(self.names) == 1 else verb
            return f"{count_files(len(self.names))} {verb} {what}: {shown}{rest}"
        return f"{len(self.names)} {self.reason} ({shown}{rest})"


class Extent(Record):
    """How a length spreads over images, in pixels."""

    smallest: int
    median: float
    largest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Extent | None":
        """Measure lengths; None where there is none."""
        return cls(smallest=min(lengths), median=median(lengths), largest=max(lengths)) if lengths else None


class Portion(Record):
    """The images of a class in a split, or of a whole split."""

    split: str
    label: str
    """Name of the class, or `(all)`."""
    images: int
    """That can be used."""
    broken: int
    """That cannot, and are not counted among `images`."""
    repeats: int
    """That equal another one of this portion: all but the first of each kind."""
    shared: int
    """That are in another split too."""
    width: Extent | None
    height: Extent | None
    modes: dict[str, int]
    """Images by mode, as PIL names it."""

    def row(self) -> dict[str, object]:
        """Write it as a row of a table."""
        sizes = {
            f"{name}_{key}": getattr(extent, field) if extent else None
            for name, extent in (("width", self.width), ("height", self.height))
            for key, field in (("min", "smallest"), ("median", "median"), ("max", "largest"))
        }
        modes = ", ".join(f"{mode} {count}" for mode, count in self.modes.items())
        counts = self.model_dump(include={"images", "broken", "repeats", "shared"})
        return {"split": self.split, "class": self.label, **counts, **sizes, "modes": modes}


class DataReport(Record):
    """What is in a data set, and whether it can be used."""

    source: str
    """As configured."""
    fingerprint: str | None
    """Of the images that are used; None where they cannot be."""
    class_names: tuple[str, ...]
    """By label."""
    portions: tuple[Portion, ...]
    """A split after the other: its classes by label, then all of it."""
    broken: tuple[BrokenImage, ...]
    equal: tuple[tuple[EqualImage, ...], ...]
    """Groups of images with the same bytes."""
    problems: tuple[str, ...]
    """Why it cannot be used, a sentence each."""
    notes: tuple[str, ...]
    """What the user should hear."""
    reading: str = ""
    """How the source is read, in words."""
    files: int | None = None
    """Files that are used; None where they are not known one by one."""
    left_out: tuple[LeftOut, ...] = ()
    """Files that are not used, by reason."""

    @property
    def usable(self) -> bool:
        """Whether a sweep can train on it."""
        return not self.problems

    @property
    def wholes(self) -> list[Portion]:
        """The whole splits."""
        return [portion for portion in self.portions if portion.label == WHOLE_SPLIT]

    def rows(self) -> list[dict[str, object]]:
        """Write the portions as a table."""
        return [portion.row() for portion in self.portions]


def place(split: str, row: int, file: str | None) -> str:
    """Return where an image lies."""
    return f"split {split}, row {row}{f' ({file})' if file else ''}"


def count_files(count: int) -> str:
    """Write a number of files."""
    return f"{count} file" if count == 1 else f"{count} files"


def describe_broken(broken: Sequence[BrokenImage]) -> list[str]:
    """Write a line for each broken image, or for each kind of which there are more than three."""
    kinds: dict[str, list[BrokenImage]] = {}
    for image in broken:
        kinds.setdefault(_NUMBERS.sub("N", image.reason), []).append(image)
    lines: list[str] = []
    for images in kinds.values():
        if len(images) <= _SHOWN:
            lines += map(str, images)
            continue
        first = images[0]
        shown = "; ".join(place(image.split, image.row, image.file) for image in images[:_SHOWN])
        what = first.reason if all(image.reason == first.reason for image in images) else f"{first.reason} (or alike)"
        lines.append(f"{len(images)} images, each of which {what}, such as {shown}; and {len(images) - _SHOWN} more")
    return lines
