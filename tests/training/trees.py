"""Folders of tiny images, built from a table: the same bytes whatever Pillow and zlib are installed."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

Tree = Mapping[str, bytes]
"""Content of each file by its path in the folder; a path that ends in `/` is an empty folder."""

CLASSES = ("blight", "healthy", "rust")


def png(number: int) -> bytes:
    """An image of 2 x 2 pixels whose colour tells the number."""
    row = b"\0" + bytes((number % 256, number // 256, 7)) * 2
    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * 2, level=0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    kind, data = part
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def images(*patterns: str, classes: Iterable[str] = CLASSES, count: int = 2, first: int = 0) -> dict[str, bytes]:
    """Images at each pattern, in which `{c}` is the class and `{i}` the number; no two are equal."""
    places = [p.format(c=c, i=i) for p in patterns for c in classes for i in range(count)]
    return {place: png(first + number) for number, place in enumerate(places)}


def split_images(*splits: str, name: str = "{i}.png", **options: int) -> dict[str, bytes]:
    """A folder a class within a folder a split."""
    return images(*(f"{split}/{{c}}/{name}" for split in splits), **options)


def plant(folder: Path, tree: Tree) -> Path:
    """Write a tree."""
    for path, content in tree.items():
        place = folder / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    return folder
