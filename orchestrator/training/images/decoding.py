"""Encoded images become squares of RGB pixels, whatever their mode."""

import io
import platform
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from orchestrator.config.models import ValueRange
from orchestrator.training.images.depth import FULL, has_more_than_8_bits, read_values, to_8_bits

Pixels = NDArray[np.uint8]
"""An RGB image, channels first: [3, size, size]."""

DECODING_VERSION = 2
"""Raised when the same bytes would become other pixels than before: what is cached no longer answers."""

_ORIENTATION = 0x0112
_UPPER_BITS = ("RGB", "RGBA", "CMYK", "LA", "LAB")
"""Modes of images with more bits than these hold."""
_CODECS = ("jpg", "libjpeg_turbo", "jpg_2000", "zlib", "zlib_ng", "libtiff", "webp", "avif")

UNDECODABLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,  # a broken AVIF; NotImplementedError too
    struct.error,
    Image.DecompressionBombError,
)
"""What PIL raises on bytes that are no image, or only half of one."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
"""Parts of a PNG that decide its pixels."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image is before it is resized.

    Attributes:
        width: Pixels, as it is held upright.
        height: Likewise.
        mode: As PIL names it: `RGB`, `L`, `CMYK`, `P`, `I;16`, ...
    """

    width: int
    height: int
    mode: str


def decode_image(data: bytes, size: int, value_range: ValueRange | None = None) -> Pixels:
    """Decode an image and resize it to `size` pixels square (bilinear, antialiased).

    Args:
        data: The encoded image.
        size: Pixels.
        value_range: What becomes black and white if it has more than 8 bits a channel; None: it may not have.

    Raises:
        One of `UNDECODABLE`: The bytes are no image that can be read.
    """
    rgb, _ = _decode(data, value_range)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1))


def describe_decoder() -> dict[str, str | int | None]:
    """Return which programs decide what pixels the same bytes become."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Pillow that does not know all of these features
        codecs = {name: features.version(name) for name in _CODECS}
    return {
        "decoding": DECODING_VERSION,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        **codecs,
    }


def probe_image(data: bytes, value_range: ValueRange | None = None) -> ImageFacts:
    """Decode an image as `decode_image` does, and say what it is.

    Raises:
        One of `UNDECODABLE`: The bytes are no image that can be read.
    """
    rgb, mode = _decode(data, value_range)
    return ImageFacts(*rgb.size, mode)


def describe_damage(error: Exception, size: int) -> str:
    """Explain why bytes of this many cannot be decoded.

    Args:
        error: One of `UNDECODABLE`.
        size: Bytes.
    """
    if size == 0:
        return "it is empty (0 bytes)"
    # what PIL says names a buffer's address
    return "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__


def find_values(data: bytes) -> tuple[float, float]:
    """Find the lowest and the highest value of an image of more than 8 bits a channel; how opaque it is does not count.

    Raises:
        One of `UNDECODABLE`: The bytes are no image that can be read.
    """
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        values = read_values(image, data)
    colours = values[..., :-1] if values.ndim == 3 and values.shape[2] in (2, 4) else values
    return float(colours.min()), float(colours.max())


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of 8 bits a channel to RGB: what is transparent becomes white."""
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")


def _decode(data: bytes, value_range: ValueRange | None) -> tuple[Image.Image, str]:
    try:
        return _decode_all(data, value_range)
    except UNDECODABLE:
        bare = _strip_png(data)
        if bare is None:
            raise
        return _decode_all(bare, value_range)


def _decode_all(data: bytes, value_range: ValueRange | None) -> tuple[Image.Image, str]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if has_more_than_8_bits(data):
            return _decode_deep(image, data, value_range), image.mode
        return to_rgb(_turn_upright(image)), image.mode


def _turn_upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says; as it is stored where that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except UNDECODABLE:
        return image


def _strip_png(data: bytes) -> bytes | None:
    """Take the text, the profile and the EXIF out of a PNG; None where there is nothing to be taken out."""
    if not data.startswith(_PNG_START):
        return None
    parts, at = [_PNG_START], len(_PNG_START)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_PIXELS:
            parts.append(data[at:end])
        at = end
    bare = b"".join(parts)
    return bare if len(bare) < len(data) else None


def _decode_deep(image: Image.Image, data: bytes, value_range: ValueRange | None) -> Image.Image:
    if value_range is None:
        raise ValueError("it has more than 8 bits a channel, and data.value_range does not say what is black and white")
    if value_range == FULL and image.mode in _UPPER_BITS and not data.startswith(_PNG_START):
        return to_rgb(_turn_upright(image))  # the upper 8 bits, which are what is asked for
    rgb = to_8_bits(read_values(image, data), value_range)
    with suppress(*UNDECODABLE):  # an EXIF that cannot be read turns nothing
        turned = image.getexif().get(_ORIENTATION, 1)
        if turned != 1:
            rgb.getexif()[_ORIENTATION] = turned
            rgb = ImageOps.exif_transpose(rgb)
    return rgb
