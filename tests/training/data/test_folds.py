"""Folds divide training and validation images, each class alike, and a run sees those of its fold."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from orchestrator.config.models import DataConfig, SyntheticConfig
from orchestrator.errors import ConfigError
from orchestrator.records.place import CachePlace
from orchestrator.storage.cache import Cache
from orchestrator.training.data.folds import divide
from orchestrator.training.data.loading import describe_data, load_data
from tests.training.trees import images, plant, split_images


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_each_fold_has_its_share_of_each_class(folds):
    rng = np.random.default_rng(folds)
    labels = rng.permutation(np.repeat([0, 1, 2, 3], [47, 20, 31, 11]))
    found = divide(labels, folds, seed=7)
    counts = np.array([[((found == fold) & (labels == label)).sum() for label in range(4)] for fold in range(folds)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    assert counts.sum(axis=1).max() - counts.sum(axis=1).min() <= 1
    # scikit-learn's folds have as many of each class: n // folds, and one more in n % folds of them
    theirs = [np.bincount(labels[test], minlength=4) for _, test in StratifiedKFold(folds).split(labels, labels)]
    assert np.array_equal(np.sort(counts, axis=0), np.sort(theirs, axis=0))
    assert np.array_equal(found, divide(labels, folds, seed=7))
    assert not np.array_equal(found, divide(labels, folds, seed=8))


def names(part) -> list[tuple[str, int]]:
    return list(zip(part.ids, part.labels.tolist(), strict=True))


def read_all(data, split: str) -> np.ndarray:
    return np.asarray(data.pixels[split])


SOURCES = {
    "folder": lambda folder: {"source": str(plant(folder / "leaves", split_images("train", "val", "test", count=5)))},
    "folder without splits": lambda folder: {"source": str(plant(folder / "one", images("{c}/{i}.png", count=12)))},
    "drawn": lambda _: {"source": "synthetic", "synthetic": SyntheticConfig(train=20, validation=7, test=5)},
    "digits": lambda _: {"source": "sklearn/digits"},
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_image_is_validated_once_and_the_test_split_stays(name, tmp_path):
    fields = SOURCES[name](tmp_path)
    whole = load_data(DataConfig(**fields, image_size=8))
    config = DataConfig(**fields, image_size=8, folds=3)
    pool = sorted(names(whole.images["train"]) + names(whole.images["validation"]))
    pixels = {
        ids: image
        for split in ("train", "validation", "test")
        for ids, image in zip(whole.images[split].ids, read_all(whole, split), strict=True)
    }
    validated = []
    for fold in range(3):
        data = load_data(config, fold=fold)
        train, validation = names(data.images["train"]), names(data.images["validation"])
        assert not {each for each, _ in train} & {each for each, _ in validation}
        assert sorted(train + validation) == pool
        assert names(data.images["test"]) == names(whole.images["test"])
        validated += validation
        for split in ("train", "validation", "test"):
            for ids, image in zip(data.images[split].ids, read_all(data, split), strict=True):
                assert np.array_equal(image, pixels[ids])
        assert data.info.split_sizes == {split: len(data.images[split]) for split in ("train", "validation", "test")}
        assert data.info.fingerprint == whole.info.fingerprint
    assert sorted(validated) == pool


@pytest.mark.parametrize("name", ["folder", "drawn"])
def test_the_cache_and_each_epochs_decoding_give_the_same_images(name, tmp_path):
    fields = SOURCES[name](tmp_path)
    config = DataConfig(**fields, image_size=8, batch_size=4, folds=4, loader_workers=0)
    plain = load_data(config, fold=1)
    cache = Cache.at(CachePlace(folder=str(tmp_path / "cache"), max_gb=1.0, images=True, activations=True), print)
    mapped = load_data(config, fold=1, cache=cache)
    decoding = load_data(config.model_copy(update={"memory_mb": 0}), fold=1)
    assert not decoding.in_memory
    for split in ("train", "validation", "test"):
        for data in (mapped, decoding):
            for (one, labels), (two, labels_2) in zip(plain.batches(split), data.batches(split), strict=True):
                assert np.array_equal(one, two)
                assert np.array_equal(labels, labels_2)


def test_what_is_said_of_the_data_is_what_a_run_has(tmp_path):
    config = DataConfig(**SOURCES["folder"](tmp_path), image_size=8, folds=5)
    info = describe_data(config)
    # 3 classes of 5 + 5 images in 5 folds: 2 of each class are validated
    assert info.split_sizes == {"train": 24, "validation": 6, "test": 15}
    assert info.notes[-1] == (
        f"{config.source}: its 30 training and validation images are divided into 5 folds (stratified, "
        "data.split_seed=0); each run validates one and trains on the others"
    )
    assert info.fingerprint == describe_data(config.model_copy(update={"folds": None})).fingerprint


def test_a_class_of_one_image_cannot_be_validated(tmp_path):
    tree = images("train/{c}/{i}.png", count=4) | {"test/rust/9.png": b""} | split_images("test", first=90)
    tree |= {"train/mould/0.png": tree["train/rust/0.png"] + b"x"}
    tree.pop("test/rust/9.png")
    validation = images("val/{c}/{i}.png", count=2, first=50)
    config = DataConfig(source=str(plant(tmp_path, tree | validation)), image_size=8, folds=2)
    with pytest.raises(ConfigError, match=r"data\.folds: 1 classes of .* have one image to train and validate with"):
        describe_data(config)
