"""Images with the same bytes: within a split they weigh more, across splits they inflate the accuracy."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol


class Digests(Protocol):
    """Images with digests."""

    @property
    def digests(self) -> list[bytes]:
        """Digest of each image; empty where it could not be read, and then it equals none."""


def count_shared(known: Iterable[bytes], images: Iterable[bytes]) -> int:
    """Count the images whose digest is among the known ones."""
    every = set(known)
    return sum(digest in every for digest in images if digest)


def count_repeats(images: Sequence[bytes]) -> int:
    """Count the images that equal another: all but the first of each kind."""
    read = [digest for digest in images if digest]
    return len(read) - len(set(read))


def group_equal(splits: Mapping[str, Digests]) -> list[list[tuple[str, int]]]:
    """Group equal images, as split and row, in the order of the first of each group; single ones are left out."""
    counts = Counter(digest for images in splits.values() for digest in images.digests)
    groups: dict[bytes, list[tuple[str, int]]] = {}
    for split, images in splits.items():
        for row, digest in enumerate(images.digests):
            if digest and counts[digest] > 1:
                groups.setdefault(digest, []).append((split, row))
    return list(groups.values())
