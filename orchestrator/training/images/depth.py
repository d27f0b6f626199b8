"""Images of more than 8 bits a channel: which values they have, and how these become 8 bits."""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.config.models import DataConfig, ValueRange
from orchestrator.training.problems import Problems

FULL: ValueRange = (0.0, 65535.0)
"""What 16 bits hold."""
_GREY_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH = 24
"""Offset of the byte of a PNG that says how many bits a channel has."""
_SHALLOW = (b"\xff\xd8", b"GIF8", b"BM", b"RIFF")
"""How files begin that have 8 bits a channel at the most: JPEG, GIF, BMP, WebP."""
_BITS_PER_SAMPLE = 258


class DeepImages(Protocol):
    """Encoded images, of which some have more than 8 bits a channel."""

    @property
    def deep_rows(self) -> Sequence[int]:
        """Which have."""

    def values(self, index: int) -> tuple[float, float] | None:
        """Lowest and highest value of an image; None where it cannot be decoded."""


def has_more_than_8_bits(data: bytes) -> bool:
    """Return whether an encoded image has more than 8 bits a channel; only the head of the file is read."""
    if data.startswith(_SHALLOW):
        return False
    if data.startswith(_PNG):
        return len(data) > _PNG_DEPTH and data[_PNG_DEPTH] > 8
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode in _GREY_MODES or _bits(image) > 8
    except Exception:  # noqa: BLE001 - whatever is wrong with it, who decodes it says so
        return False


def read_values(image: Image.Image, data: bytes) -> NDArray[np.float64]:
    """Read the values of an image of more than 8 bits: [height, width], or with channels [height, width, n].

    Raises:
        ValueError: Some are not numbers, or the format gives the upper 8 bits of each only.
    """
    if image.mode in _GREY_MODES:
        values = np.asarray(image).astype(np.float64)
        strange = int(np.count_nonzero(~np.isfinite(values)))
        if strange:
            raise ValueError(f"{strange} of {values.size} pixels are no finite numbers (NaN or infinite)")
        return values
    if data.startswith(_PNG):
        return _read_colours(data)
    raise ValueError(
        f"it has {_bits(image)} bits a channel, of which this format of colours gives the upper 8 only; save it as PNG"
    )


def _read_colours(data: bytes) -> NDArray[np.float64]:
    """Read a PNG with 16 bits a channel, of which Pillow keeps the upper 8.

    Raises:
        ValueError: This torchvision decodes none.
    """
    import torch
    from torchvision.io import ImageReadMode

    try:  # its public function does this and warns that it will go
        decode = torch.ops.image.decode_png
        deep = decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED.value, False)  # noqa: FBT003
    except (AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"its 16-bit colours cannot be decoded: {reason}") from error
    values: NDArray[np.float64] = deep.numpy().transpose(1, 2, 0).astype(np.float64)
    return values


def to_8_bits(values: NDArray[np.float64], value_range: ValueRange) -> Image.Image:
    """Map a range to black and white, clip what lies outside, and put what is transparent on white."""
    low, high = value_range
    scaled = np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8)
    if scaled.ndim == 2:
        return Image.fromarray(scaled).convert("RGB")
    channels = scaled.shape[2]
    if channels in (2, 4):  # the last one says how opaque a pixel is: of all that 16 bits hold
        scaled[..., -1] = np.rint(values[..., -1] / FULL[1] * 255).astype(np.uint8)
        opaque = Image.new("RGBA", (scaled.shape[1], scaled.shape[0]), "white")
        opaque.alpha_composite(Image.fromarray(scaled).convert("RGBA"))
        return opaque.convert("RGB")
    return Image.fromarray(scaled[..., 0] if channels == 1 else scaled).convert("RGB")


def find_value_range(
    splits: Iterable[DeepImages], total: int, config: DataConfig, problems: Problems
) -> tuple[ValueRange | None, list[str]]:
    """Settle `data.value_range` for a data set.

    Args:
        splits: As they are stored.
        total: Images in all of them.
        config: What is asked for.
        problems: Takes why there is no range.

    Returns:
        The range, None where no image has more than 8 bits; and what the user should hear of it.
    """
    images = [(part, row) for part in splits for row in part.deep_rows]
    if not images or config.value_range is None:
        return None, []
    with ThreadPoolExecutor(max(1, config.loader_workers)) as pool:
        found = [each for each in pool.map(lambda place: place[0].values(place[1]), images) if each is not None]
    if not found:
        return (config.value_range if isinstance(config.value_range, tuple) else None), []
    low, high = min(each[0] for each in found), max(each[1] for each in found)
    have = f"{config.source}: {len(images)} of {total} images have more than 8 bits a channel, with values "
    have += f"{low:g} to {high:g}"
    chosen: ValueRange = (low, high)
    if config.value_range == "full":
        chosen = FULL
        if low < FULL[0] or high > FULL[1] or not all(each.is_integer() for pair in found for each in pair):
            problems.add(
                f"{have}, and data.value_range is full, which is 0 to 65535",
                hint=f"set data.value_range to auto, or to [low, high], such as [{low:g}, {high:g}]",
            )
    elif isinstance(config.value_range, tuple):
        chosen = config.value_range
    elif low == high and FULL[0] <= low <= FULL[1]:
        chosen = FULL  # one value has no range, and is no reason to refuse the images beside it
    elif low == high:
        problems.add(f"{have}: there is nothing to see", hint="tell the range of values with data.value_range")
        chosen = (low, low + 1)  # so that they do not count as broken too
    outside = " (what lies outside is clipped)" if low < chosen[0] or high > chosen[1] else ""
    how = config.value_range if isinstance(config.value_range, str) else "told"
    note = f"{have}; {chosen[0]:g} is black and {chosen[1]:g} white{outside} (data.value_range: {how})"
    return chosen, [note]


def _bits(image: Image.Image) -> int:
    """Bits a channel, as a TIFF says; 8 where nothing is said."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    return max(bits) if isinstance(bits, tuple) else int(bits)
