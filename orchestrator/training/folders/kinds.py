"""What a file is by its name and its first bytes: an image, one that nothing here decodes, a table, or none of them."""

import functools
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

HEAD = 132
"""First bytes of a file that tell what it is."""

TABLES = (".parquet", ".arrow")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_NO_IMAGES = ("BUFR", "GRIB", "HDF5", "MPEG")
"""What Pillow lists among its formats and has no decoder for."""

# formats of images that Pillow alone does not decode, by suffix
_UNDECODED = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".exr", ".hdr"), "high dynamic range"),
    **dict.fromkeys((".nii", ".czi", ".nd2", ".lif", ".svs", ".ndpi", ".mrxs"), "microscopy or volume"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"), "camera raw"),
}
_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"\0\0\0\x0cjP  \r\n", "JPEG2000"),
    (0, b"8BPS", "PSD"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypavi", "AVIF"),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")),
    (128, b"DICM", "DICOM"),
)
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file is.

    Attributes:
        role: `image` (can be decoded here), `unread` (looks like an image and is none that can be used), `table`,
            `archive`, `metadata` or `other`.
        reason: Why an unread one is not read, as a predicate of many files; for others what a note calls them.
    """

    role: str
    reason: str


def find_kind(name: str, head: bytes) -> FileKind:
    """Return what a file is.

    Args:
        name: Its name, without folders.
        head: Its first `HEAD` bytes; not needed where `needs_head` is false.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in _decodable():
        return FileKind("image", "")
    found = _find_format(head)
    if suffix in _UNDECODED:
        if found and found in _decoders():
            return FileKind("image", f"are called {suffix} and hold {found}")
        return FileKind("unread", f"are {found or _UNDECODED[suffix]}, which this Pillow cannot decode")
    if found and not _is_suffix(suffix):
        if found in _decoders():
            return FileKind("image", "")
        return FileKind("unread", f"are {found}, which this Pillow cannot decode")
    if found:
        return FileKind("unread", f"are called {suffix}, with the first bytes of {found}")
    return _name_other(name, suffix)


def needs_head(name: str) -> bool:
    """Return whether the name alone does not tell what a file is."""
    return PurePath(name).suffix.lower() not in _decodable()


def unpack(archive: Path) -> str:
    """Write the command that unpacks an archive into a folder beside it."""
    stem = archive.name
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".zip", ".7z", ".rar"):
        stem = stem.removesuffix(suffix)
    source, target = shlex.quote(str(archive)), shlex.quote(str(archive.with_name(stem or "unpacked")))
    if archive.suffix.lower() == ".zip":
        return f"unzip -q {source} -d {target}"
    if archive.suffix.lower() in {".7z", ".rar"}:
        return f"7z x {source} -o{target}"
    return f"mkdir -p {target} && tar -xf {source} -C {target}"


def _name_other(name: str, suffix: str) -> FileKind:
    if name.lower() in _METADATA:
        return FileKind("metadata", "metadata")
    if suffix in TABLES:
        return FileKind("table", "tables")
    if suffix in ARCHIVES:
        return FileKind("archive", "archives, which are not unpacked")
    return FileKind("other", f"{suffix} files" if _is_suffix(suffix) else "files without suffix")


def _is_suffix(suffix: str) -> bool:
    """Return whether it is one: what follows the point in `scan.0001` is none."""
    return suffix not in {"", "."} and not suffix[1:].isdigit()


def _find_format(head: bytes) -> str | None:
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic and (name != "WEBP" or head.startswith(b"RIFF")):
            return name
    bitmap = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS
    return "BMP" if bitmap else None


@functools.cache
def _decoders() -> frozenset[str]:
    """List the formats that Pillow decodes here, plugins that others registered included."""
    Image.init()
    return frozenset(Image.OPEN) - set(_NO_IMAGES)


@functools.cache
def _decodable() -> frozenset[str]:
    """List the suffixes of files that Pillow decodes here, such as `.png`."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in _decoders())
