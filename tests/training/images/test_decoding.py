import numpy as np
import pytest
from PIL import Image

from orchestrator.training.images.decoding import UNDECODABLE, ImageFacts, decode_image, describe_damage, probe_image
from tests.training.images.modes import CASES, plain
from tests.training.pictures import encode


@pytest.mark.parametrize("case", CASES)
def test_every_mode_becomes_rgb(case):
    data, expected = CASES[case]
    pixels = decode_image(data, 4, (0, 65535))
    assert pixels.shape == (3, 4, 4)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[:, 2, 2].astype(int) - expected).max() <= 1


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(encode(Image.fromarray(stripes)), 8)
    assert np.abs(pixels.astype(int) - 127).max() < 16  # without antialiasing: 0 or 255


def test_the_camera_held_upright_counts():
    image = Image.new("RGB", (20, 10), "black")
    image.paste("white", (0, 0, 10, 10))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    pixels = decode_image(encode(image, exif=exif), 10)
    assert pixels[0, 1].min() > 200
    assert pixels[0, 8].max() < 50


@pytest.mark.parametrize("data", [b"", b"no image", encode(plain("RGB", 0))[:40], encode(plain("F", 0.5), "TIFF")])
def test_what_is_no_image_raises_what_is_caught(data):
    with pytest.raises(UNDECODABLE):
        decode_image(data, 4)


@pytest.mark.skipif("AVIF" not in Image.registered_extensions().values(), reason="this Pillow reads no AVIF")
def test_a_broken_avif_is_caught_although_pillow_raises_a_runtime_error():
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "AVIF")
    with pytest.raises(UNDECODABLE) as caught:
        decode_image(data[: len(data) // 2], 4)
    assert isinstance(caught.value, RuntimeError | OSError)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_random_damage_is_always_caught(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # a damaged size would cost gigabytes
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    broken = 0
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        whole = np.frombuffer(encode(noise, kind), dtype=np.uint8)
        for _ in range(60):
            data = whole[: rng.integers(1, len(whole) + 1)].copy()
            data[rng.integers(0, min(len(data), 60), 3)] = rng.integers(0, 256, 3)
            try:
                decode_image(data.tobytes(), 4)
            except UNDECODABLE:
                broken += 1
    assert broken > 150  # of 300: most are cut off


def test_an_image_is_described_as_it_is_held():
    image = Image.new("L", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert probe_image(encode(image)) == ImageFacts(20, 10, "L")
    assert probe_image(encode(image, exif=exif)) == ImageFacts(10, 20, "L")


@pytest.mark.parametrize(("data", "reason"), [(b"", "it is empty (0 bytes)"), (b"no image", "its format is unknown")])
def test_damage_is_said_without_an_address(data, reason):
    with pytest.raises(UNDECODABLE) as caught:
        probe_image(data)
    assert describe_damage(caught.value, len(data)) == reason
