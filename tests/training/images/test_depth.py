"""Images of more than 8 bits a channel: their values become 256 levels between the ends of a range."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.errors import ConfigError
from orchestrator.records.place import CachePlace
from orchestrator.storage.cache import Cache
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.images.cache import name_entry
from orchestrator.training.images.decoding import decode_image
from orchestrator.training.images.depth import has_more_than_8_bits
from tests.training.pictures import NAMES, THREE, config, draw, write_image_folder


def encode(values: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def encode_png16(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, as its standard has it: Pillow writes grey ones only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values.reshape(height, -1))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(*values: float, kind=np.uint16) -> np.ndarray:
    return np.resize(np.array(values, dtype=kind), (8, 8))


def write(folder, images: dict[str, list[bytes]], suffix: str = "png"):
    """A folder a class in a folder a split; an image of each class in validation and test."""
    for split in ("train", "validation", "test"):
        for name in NAMES[:2]:
            place = folder / split / name
            place.mkdir(parents=True)
            for number, data in enumerate(images.get(f"{split}/{name}", [draw(0, 1)])):
                (place / f"{number}.{suffix}").write_bytes(data)
    return folder


# 0 and 4080 are the ends: v becomes rint(v / 4080 * 255) = rint(v / 16)
VALUES = (0, 8, 16, 24, 1000, 2040, 4000, 4080)
LEVELS = (0, 0, 1, 2, 62, 128, 250, 255)  # 0.5 and 127.5 and 1.5 to the even neighbour; 62.5 likewise


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (encode(grey(*VALUES)), "16-bit PNG"),
        (encode(grey(*VALUES), "TIFF"), "16-bit TIFF"),
        (encode(grey(*VALUES, kind=np.int32), "TIFF"), "32-bit TIFF"),
        (encode(grey(*VALUES, kind=np.float32), "TIFF"), "float TIFF"),
        (encode_png16(np.repeat(grey(*VALUES)[..., None], 3, axis=2), 2), "16-bit colour PNG"),
    ],
)
def test_the_range_is_mapped_to_all_256_levels(data, what):
    assert has_more_than_8_bits(data), what
    pixels = decode_image(data, 8, (0, 4080))
    assert pixels.shape == (3, 8, 8)
    for channel in pixels:
        assert channel[0].tolist() == list(LEVELS), what
    # of the whole range of 16 bits 17 levels are left: rint(4095 / 257) = 16, and 0
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    assert len(np.unique(decode_image(encode(ramp), 64, (0, 4095)))) == 256
    assert len(np.unique(decode_image(encode(ramp), 64, (0, 65535)))) == 17


def test_colours_and_what_is_transparent():
    colours = np.zeros((8, 8, 4), dtype=np.uint16)
    colours[...] = (4080, 2040, 0, 65535)
    assert decode_image(encode_png16(colours, 6), 8, (0, 4080))[:, 0, 0].tolist() == [255, 128, 0]
    colours[..., 3] = 0
    assert decode_image(encode_png16(colours, 6), 8, (0, 4080))[:, 0, 0].tolist() == [255, 255, 255]
    alpha = np.zeros((8, 8, 2), dtype=np.uint16)
    alpha[...] = (2040, 65535)
    assert decode_image(encode_png16(alpha, 4), 8, (0, 4080))[:, 0, 0].tolist() == [128, 128, 128]


def test_what_lies_outside_is_clipped():
    assert decode_image(encode(grey(0, 100, 200, 300)), 8, (100, 200))[0, 0, :4].tolist() == [0, 0, 255, 255]


def test_the_range_of_the_data_set_is_found_over_all_splits_and_said(tmp_path):
    folder = write(
        tmp_path / "data",
        {
            "train/blight": [encode(grey(100, 200))],
            "validation/healthy": [encode(grey(90, 120))],
            "test/healthy": [encode(grey(110, 4080))],
        },
    )
    data = config(folder)
    info = describe_data(data)
    assert info.value_range == (90, 4080)
    assert (
        f"{folder}: 3 of 6 images have more than 8 bits a channel, with values 90 to 4080; 90 is black and 4080 white "
        "(data.value_range: auto)"
    ) in info.notes
    # (100 - 90) / 3990 * 255 = 0.64; (200 - 90) / 3990 * 255 = 7.03
    loaded = load_data(data)
    row = loaded.images["train"].labels.tolist().index(0)
    assert loaded.pixels["train"][row, 0, 0, :2].tolist() == [1, 7]


@pytest.mark.parametrize(
    ("value_range", "expected", "said"),
    [
        ("full", (0, 65535), "0 is black and 65535 white (data.value_range: full)"),
        ((0, 4095), (0, 4095), "0 is black and 4095 white (data.value_range: told)"),
        ((0, 255), (0, 255), "0 is black and 255 white (what lies outside is clipped) (data.value_range: told)"),
    ],
)
def test_a_range_can_be_told(tmp_path, value_range, expected, said):
    folder = write(tmp_path / "data", {"train/blight": [encode(grey(100, 4080))]})
    info = describe_data(config(folder, value_range=value_range))
    assert info.value_range == expected
    assert any(note.endswith(said) for note in info.notes)


def test_what_has_8_bits_is_as_it_was_whatever_is_asked_for(tmp_path):
    folder = write_image_folder(tmp_path / "data", THREE)
    before = load_data(config(folder))
    for value_range in ("full", (3, 7), None):
        data = config(folder, value_range=value_range)
        assert describe_data(data).value_range is None
        assert describe_data(data).notes == before.info.notes
        assert torch.equal(load_data(data).pixels["train"], before.pixels["train"])


def test_a_range_is_part_of_the_name_under_which_pixels_are_kept(tmp_path):
    assert name_entry("x", 8) == name_entry("x", 8, None)
    assert len({name_entry("x", 8, value_range) for value_range in (None, (0.0, 1.0), (0.0, 2.0))}) == 3
    folder = write(tmp_path / "data", {"train/blight": [encode(grey(100, 200))]})
    cache = Cache.at(CachePlace(folder=str(tmp_path / "cache")))
    kept = [load_data(config(folder, value_range=each), cache=cache) for each in ((0, 200), (100, 200))]
    row = kept[0].images["train"].labels.tolist().index(0)
    rows = [each.pixels["train"][torch.tensor([row])][0, 0, 0, :2].tolist() for each in kept]
    assert rows == [[128, 255], [0, 255]]  # 100 of 200 is 127.5: to the even neighbour
    assert len(cache.entries()) == 2


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_make_an_image_broken(tmp_path, strange):
    folder = write(
        tmp_path / "data",
        {
            "train/blight": [
                encode(grey(0, 1, kind=np.float32), "TIFF"),
                encode(grey(0, strange, kind=np.float32), "TIFF"),
            ]
        },
        "tiff",
    )
    with pytest.raises(
        ConfigError, match=r"cannot be decoded: 32 of 64 pixels are no finite numbers \(NaN or infinite\)"
    ):
        describe_data(config(folder))
    info = describe_data(config(folder, on_corrupt="skip"))
    assert info.value_range == (0, 1)
    assert info.split_sizes["train"] == 2


def test_a_range_that_says_nothing_is_a_problem(tmp_path):
    folder = write(tmp_path / "data", {"train/blight": [encode(grey(-7, kind=np.float32), "TIFF")]}, "tiff")
    with pytest.raises(ConfigError, match=r"with values -7 to -7: there is nothing to see"):
        describe_data(config(folder))
    assert describe_data(config(folder, value_range=(-14, 0))).value_range == (-14, 0)
    one = write(tmp_path / "one", {"train/blight": [encode(grey(7))]})
    assert describe_data(config(one)).value_range == (0, 65535)


def test_floating_point_has_no_full_range(tmp_path):
    folder = write(tmp_path / "data", {"train/blight": [encode(grey(0.25, 0.5, kind=np.float32), "TIFF")]}, "tiff")
    with pytest.raises(
        ConfigError, match=r"values 0\.25 to 0\.5, and data\.value_range is full, which is 0 to 65535"
    ) as e:
        describe_data(config(folder, value_range="full"))
    assert e.value.hint == "set data.value_range to auto, or to [low, high], such as [0.25, 0.5]"


def test_null_refuses_them(tmp_path):
    folder = write(tmp_path / "data", {"train/blight": [encode(grey(0, 9))]})
    with pytest.raises(
        ConfigError, match=r"cannot be decoded: it has more than 8 bits a channel, and data.value_range"
    ):
        describe_data(config(folder, value_range=None))


def test_the_check_says_what_they_are(tmp_path):
    report = inspect_data(config(write(tmp_path / "data", {"train/blight": [encode(grey(0, 9))]})))
    assert report.usable
    assert report.wholes[0].modes == {"I;16": 1, "RGB": 1}
    assert any("1 of 6 images have more than 8 bits a channel, with values 0 to 9" in note for note in report.notes)


@pytest.mark.parametrize(
    "data", [b"", b"no image", draw(0, 1), encode(grey(0, 1, kind=np.uint8)), encode(grey(0, 1, kind=np.uint8), "TIFF")]
)
def test_what_has_8_bits_at_the_most_is_told_by_its_head(data):
    assert not has_more_than_8_bits(data)
