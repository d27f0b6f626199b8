"""What a row of the table of layouts says, and how its folder is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.training.trees import CLASSES, Tree, plant, split_images

Counts = Mapping[str, Mapping[str, int]]
"""Images of each class in each stored split."""

PLAIN = "ce2877b34b6b24ba38aeface25c158da0c1c536015d20144c9ad0183ea792b37"
FLAT = "d0ca81e38d29bc41e4ad14515c44b1ac5787c024d96291e87a11dc3b02a1817e"
TWO = "19166e0ca3caa374ebfcaa3c0ad38ce5b549377ba9c35c04db3e5b560722ce08"
BY_NAME = "ab63761338bd4845af0493814ec7f2a1799683ea166c9b9ef02456cad337994b"
"""Fingerprints that were computed before folders were walked by this project, by commit 62efda5."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table.

    Attributes:
        name: What is special about it.
        tree: The files.
        build: What else is done to the folder; what it returns, if anything, is the source.
        options: Further values of `data`.
        reads: What is read of it; None: it is refused.
        notes: What the notes say, each as part of one.
        refused: What the message says.
        hint: What the hint says.
        same: Fingerprint of the data that it had before.
    """

    name: str
    tree: Tree = field(default_factory=dict)
    build: Callable[[Path], Path | None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    reads: Counts | None = None
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    hint: str = ""
    same: str | None = None


def each(count: int, classes: tuple[str, ...] = CLASSES) -> dict[str, int]:
    return dict.fromkeys(classes, count)


THREE = {"train": each(2), "validation": each(2), "test": each(2)}
SPLIT = split_images("train", "validation", "test")
SKIP = {"on_unread": "skip"}
OUTER, INNER = {"class_folder": "outer"}, {"class_folder": "inner"}


def rename(tree: Tree, old: str, new: str) -> dict[str, bytes]:
    """Rename a part of all paths."""
    return {path.replace(old, new): content for path, content in tree.items()}


def prepare(case: Case, folder: Path) -> Path:
    """Build the source of a row."""
    leaves = folder / "leaves"
    leaves.mkdir()
    plant(leaves, case.tree)
    return (case.build(leaves) if case.build else None) or leaves
