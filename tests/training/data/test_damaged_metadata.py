"""Images whose pixels are whole and whose text, profile or EXIF is not: they are images."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from orchestrator.training.images.decoding import UNDECODABLE, decode_image, probe_image
from tests.training.pictures import draw, encode

WHOLE = draw(1, 2)
END = WHOLE.index(b"IHDR") + 4 + 13 + 4  # after the first part


def part(kind: bytes, data: bytes, *, whole: bool = True) -> bytes:
    checksum = zlib.crc32(kind + data) if whole else 0
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


DAMAGED = {
    "a text that unpacks to 100 MB": part(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))),
    "a text with a wrong checksum": part(b"tEXt", b"a\0b", whole=False),
    "a profile that does not unpack": part(b"iCCP", b"a\0\0" + b"no zlib"),
    "a profile of another method": part(b"iCCP", b"a\0\x07" + zlib.compress(b"x")),
    "a resolution that is cut off": part(b"pHYs", b"\0"),
    "EXIF that is none": part(b"eXIf", b"rubbish"),
    "EXIF that points out of itself": part(b"eXIf", b"II*\0\xff\xff\xff\x00"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_png_is_read_whose_pixels_are_whole(name):
    data = WHOLE[:END] + DAMAGED[name] + WHOLE[END:]
    np.testing.assert_array_equal(decode_image(data, 8), decode_image(WHOLE, 8))
    assert probe_image(data) == probe_image(WHOLE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_jpeg_is_read_whose_exif_is_not(tmp_path):
    whole = encode(Image.new("RGB", (8, 4), (9, 200, 30)), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0"
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    np.testing.assert_array_equal(decode_image(data, 8), decode_image(whole, 8))


@pytest.mark.parametrize("cut", [END - 3, len(WHOLE) - 30, 50])
def test_a_png_whose_pixels_are_not_whole_is_broken_as_before(cut):
    with pytest.raises(UNDECODABLE):
        decode_image(WHOLE[:cut], 8)


def test_an_orientation_that_can_be_read_counts():
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    data = encode(image)
    assert probe_image(data).width == 8
    turned = data[:END] + part(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[END:]
    assert probe_image(turned).width == 4
