"""Decoded images that are kept for other runs: each is decoded once, whichever split and run it is for."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig, ValueRange
from orchestrator.errors import CacheError
from orchestrator.records.record import Step
from orchestrator.storage.arrayfile import Write
from orchestrator.storage.cache import Cache, CacheEntry
from orchestrator.storage.files import hash_parts
from orchestrator.training.images.decoding import Pixels, describe_decoder

KIND = "images"
FORMAT = 1
"""Raised when what is kept of the same images changes its form."""

_SAYING_S = 2.0
"""Seconds from one count of what is decoded to the next."""

Read = Callable[[int], Pixels | str]
"""Decodes the image of a row, or says why it is broken."""


class StoredImages(Protocol):
    """Encoded images, each known by the digest of its bytes."""

    @property
    def digests(self) -> list[bytes]:
        """sha256 by row; empty where there are no bytes."""

    def decode(self, index: int, size: int) -> Pixels | str:
        """Decode one image, or say why it is broken."""


class DrawnImages(Protocol):
    """Images that are made when they are read."""

    def __len__(self) -> int: ...

    def read(self, index: int, size: int) -> Pixels:
        """Make one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOf:
    """Some rows of an array of pixels, read-only.

    Attributes:
        pixels: All of it: [n, 3, size, size].
        rows: Which of them, in order.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy the images at these places."""
        return self.pixels[self.rows[indices]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImages:
    """The decoded images of a data set.

    Attributes:
        pixels: A row for each image, equal ones once.
        places: Row of an image by its digest.
        broken: By digest of an image that cannot be decoded: why.
    """

    pixels: NDArray[np.uint8]
    places: Mapping[bytes, int]
    broken: Mapping[bytes, str]

    def select(self, digests: Sequence[bytes]) -> RowsOf | None:
        """Return the images with these digests, in order; None where one of them is not there."""
        if any(digest in self.broken or digest not in self.places for digest in digests):
            return None
        rows = np.asarray([self.places[digest] for digest in digests], dtype=np.int64)
        return RowsOf(pixels=self.pixels, rows=rows)


def open_stored(
    cache: Cache, splits: Iterable[StoredImages], config: DataConfig, value_range: ValueRange | None = None
) -> CachedImages | None:
    """Map the decoded images of a data set, broken ones too; decode those that are not there, or wait for who does.

    The bytes of the images name them, whatever their splits and labels: a data set that is divided otherwise, or whose
    broken images are left out, finds them too.

    Returns:
        The images; None where the cache cannot keep them, which it has said.

    Raises:
        ConfigError: Images changed since the data set was opened.
    """
    one: dict[bytes, tuple[StoredImages, int]] = {}
    for images in splits:
        one |= {digest: (images, index) for index, digest in enumerate(images.digests) if digest}
    digests = sorted(one)

    def read(row: int) -> Pixels | str:
        images, index = one[digests[row]]
        return images.decode(index, config.image_size)

    identity = hashlib.sha256(b"".join(digests)).hexdigest()
    entry = _open(cache, identity, len(digests), config, read, value_range)
    if entry is None:
        return None
    broken = _read_broken(entry)
    return CachedImages(
        pixels=entry.array,
        places={digest: row for row, digest in enumerate(digests)},
        broken={digests[row]: reason for row, reason in broken.items()},
    )


def open_drawn(
    cache: Cache, splits: Mapping[str, DrawnImages], fingerprint: str, config: DataConfig
) -> dict[str, RowsOf] | None:
    """Map the drawn images of a data set with this fingerprint likewise."""
    places = [(images, index) for images in splits.values() for index in range(len(images))]

    def read(row: int) -> Pixels:
        images, index = places[row]
        return images.read(index, config.image_size)

    entry = _open(cache, fingerprint, len(places), config, read)
    if entry is None:
        return None
    rows, start = {}, 0
    for split, images in splits.items():
        rows[split] = RowsOf(pixels=entry.array, rows=np.arange(start, start + len(images), dtype=np.int64))
        start += len(images)
    return rows


def name_entry(identity: str, size: int, value_range: ValueRange | None = None) -> str:
    """Hash all that decides the pixels: the images, their size and range, and the programs that decode them."""
    parts = {"format": FORMAT, "images": identity, "size": size, "decoder": describe_decoder()}
    if value_range is not None:
        parts["values"] = list(value_range)
    return hash_parts(parts)[:32]


def _open(
    cache: Cache, identity: str, count: int, config: DataConfig, read: Read, value_range: ValueRange | None = None
) -> CacheEntry | None:
    size = config.image_size
    shape = (count, 3, size, size)
    of = f"{count} images of {config.source} at {size} px"
    try:
        return cache.open(
            KIND,
            name_entry(identity, size, value_range),
            shape=shape,
            dtype="|u1",
            of=of,
            build=lambda write: _decode(read, shape, config.loader_workers, write, cache.say),
        )
    except CacheError as error:
        cache.say(error.message)
        return None


def _decode(
    read: Read, shape: tuple[int, int, int, int], threads: int, write: Write, say: Callable[[str], None]
) -> dict[str, object]:
    """Decode all images; broken ones are black, and named by their row in what is told besides."""
    black = np.zeros((1, *shape[1:]), dtype=np.uint8)

    def fill(row: int) -> str | None:
        found = read(row)
        write(row, black if isinstance(found, str) else found[None])
        return found if isinstance(found, str) else None

    with ThreadPoolExecutor(max(1, threads)) as pool:
        reasons, said = [], time.monotonic()
        for reason in pool.map(fill, range(shape[0])):
            reasons.append(reason)
            if time.monotonic() - said > _SAYING_S:
                said = time.monotonic()
                say(Step(f"decoding the images, {len(reasons)} of {shape[0]}"))
    return {"broken": {str(row): reason for row, reason in enumerate(reasons) if reason is not None}}


def _read_broken(entry: CacheEntry) -> dict[int, str]:
    broken = entry.extra.get("broken")
    return {int(row): str(reason) for row, reason in broken.items()} if isinstance(broken, dict) else {}
