"""Encoded images become squares of RGB pixels, whatever their mode."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]
"""An RGB image, channels first: [3, size, size]."""

UNDECODABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
"""What PIL raises on bytes that are no image, or only half of one."""

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def decode_image(data: bytes, size: int) -> Pixels:
    """Decode an image and resize it to `size` pixels square (bilinear, antialiased).

    Raises:
        One of `UNDECODABLE`: The bytes are no image that can be read.
    """
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        rgb = to_rgb(ImageOps.exif_transpose(image))
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB: 16-bit grey is scaled, not clipped; what is transparent becomes white."""
    if image.mode in _DEEP_MODES:
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")
