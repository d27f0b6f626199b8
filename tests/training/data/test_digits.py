"""The handwritten digits of scikit-learn."""

import importlib.util

import numpy as np
import pytest

from orchestrator.config.models import DataConfig
from orchestrator.config.sources import known_classes
from orchestrator.errors import SetupError
from orchestrator.training.data import digits
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data, load_data

DATA = DataConfig(source="sklearn/digits", image_size=32, loader_workers=0)


@pytest.mark.slow  # the library takes seconds to load
def test_they_are_those_of_the_library():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    ours, numbers = digits.read_digits()
    assert np.array_equal(ours.reshape(-1, 64), images)
    assert np.array_equal(numbers, labels)


def test_every_class_is_divided_alike():
    info = describe_data(DATA)
    assert info.class_names == tuple("0123456789")
    # of 174 to 183 images a class: a half, a quarter, a quarter
    assert info.split_sizes == {"train": 898, "validation": 449, "test": 450}
    assert sum(info.split_sizes.values()) == 1797
    loaded = load_data(DATA)
    ids = [image for split in info.split_sizes for image in loaded.images[split].ids]
    assert len(set(ids)) == 1797
    for split, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
        counts = np.bincount(loaded.images[split].labels)
        assert abs(counts - share * np.bincount(digits.read_digits()[1])).max() <= 1


def test_the_data_are_what_they_always_were():
    # changes where scikit-learn, the division or the grey levels change, and then old results no longer answer
    assert describe_data(DATA).fingerprint == "d8b04676d4b6e2e2fcbf74850c88eebcb9f426efcd296034ce1df9168f18b387"


def test_sixteen_levels_become_grey_from_black_to_white():
    images = digits.open_digits(DATA).images["train"]
    levels, labels = digits.read_digits()
    row = int(images.ids[0].removeprefix("digit-"))
    assert images.labels[0] == labels[row]
    # levels times 255 / 16 = 15.9375, rounded
    expected = {0: 0, 1: 16, 2: 32, 3: 48, 4: 64, 8: 128, 12: 191, 15: 239, 16: 255}
    pixels = images.read(0, 8)
    assert pixels.shape == (3, 8, 8)
    for level, grey in expected.items():
        assert set(pixels[0][levels[row] == level].tolist()) <= {grey}
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()
    assert images.read(0, 32).shape == (3, 32, 32)


def test_no_image_is_in_two_splits():
    report = inspect_data(DATA.model_copy(update={"image_size": 8}))
    assert report.usable
    assert report.notes == ()
    assert [part.shared for part in report.wholes] == [0, 0, 0]


def test_the_head_has_to_fit():
    assert known_classes(DATA) == 10
    assert known_classes(DataConfig(source="sklearn/digits", classes=(7, 8, 9))) == 3


def test_without_the_library_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    digits.read_digits.cache_clear()
    with pytest.raises(SetupError, match=r"^data\.source: sklearn/digits needs scikit-learn$"):
        describe_data(DATA)
    digits.read_digits.cache_clear()
