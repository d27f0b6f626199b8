"""Decoded images that are kept: equal to those that are not, decoded once, and no part of the result."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch

from orchestrator.config.models import SyntheticConfig
from orchestrator.errors import ConfigError
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.storage.cache import Cache
from orchestrator.training.data import encoded
from orchestrator.training.data.loading import describe_data, load_data, order_seed
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.images import cache as image_cache
from orchestrator.training.images import decoding as images
from orchestrator.training.images.batches import MappedImages
from orchestrator.training.images.cache import name_entry
from orchestrator.training.run import run
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.images.modes import CASES
from tests.training.pictures import NAMES, THREE, config, draw, stored, write_image_folder, write_table
from tests.training.tiny import make_data, make_spec

GIB = 2**30
TIMES = {"duration_s", "s_per_epoch", "images_per_s", "peak_memory_mb"}


@pytest.fixture
def words():
    return []


@pytest.fixture
def cache(tmp_path, words):
    return Cache(tmp_path / "cache", GIB, words.append)


@pytest.fixture
def decoded(monkeypatch):
    """Digests of the bytes that are decoded, by whatever function."""
    seen = []

    def watch(name):
        function = getattr(encoded, name)
        monkeypatch.setattr(encoded, name, lambda data, *rest: (seen.append(bytes(data)), function(data, *rest))[1])

    watch("decode_image")
    watch("probe_image")
    return seen


def same_batches(one, two) -> None:
    """Both give the same batches, in the order of training and in that of evaluation."""
    assert one.info == two.info
    for split in SPLITS:
        for seed in (None, order_seed(3)):
            for (pixels, labels), (pixels_2, labels_2) in zip(
                one.batches(split, seed=seed), two.batches(split, seed=seed), strict=True
            ):
                assert pixels.dtype == pixels_2.dtype
                assert np.array_equal(pixels.numpy(), pixels_2.numpy())
                assert np.array_equal(labels.numpy(), labels_2.numpy())


def spoil(folder: Path, file: str) -> None:
    (folder / file).write_bytes(draw(0, 0)[:50])


# What is kept is what would be decoded


@pytest.mark.parametrize("size", [8, 10, 32])
def test_the_pixels_of_every_mode_are_those_that_are_decoded_without(tmp_path, cache, size):
    pictures = [data for data, _ in CASES.values()]  # grey, palette, CMYK, 16 bit, ...
    for split, numbers in (("train", range(9)), ("validation", range(9, 12)), ("test", range(12, 15))):
        rows = [*stored(*numbers), *({"bytes": data, "path": None} for data in pictures)]
        write_table(tmp_path / "data" / f"{split}.parquet", rows, [number % 3 for number in range(len(rows))])
    data = config(tmp_path / "data", image_size=size, batch_size=5)
    kept = load_data(data, cache=cache)
    assert all(isinstance(part, MappedImages) for part in kept.pixels.values())
    assert kept.in_memory
    same_batches(kept, load_data(data))
    # each picture once, although all three splits have the same strange ones
    (entry,) = cache.entries()
    distinct = 9 + 3 + 3 + len(set(pictures))
    assert entry.of == f"{distinct} images of {data.source} at {size} px"


def test_drawn_images_are_kept_too(cache, words):
    data = make_data()
    kept = load_data(data, cache=cache)
    same_batches(kept, load_data(data))
    part = load_data(data, ["test"], cache=cache)
    assert list(part.pixels) == ["test"]
    assert len(part.pixels["test"]) == 9
    assert [(entry.kind, entry.of) for entry in cache.entries()] == [("images", "45 images of synthetic at 32 px")]
    assert words == []


def test_batches_are_copies_that_may_be_written(cache):
    data = make_data()
    loaded = load_data(data, cache=cache)
    for pixels, _ in loaded.batches("train"):
        pixels.zero_()
    same_batches(loaded, load_data(data))


# Once


def test_each_image_is_decoded_once_and_a_second_sweep_decodes_none(tmp_path, cache, decoded):
    data = config(write_image_folder(tmp_path / "data", THREE))
    describe_data(data, cache=cache)
    assert len(decoded) == len(set(decoded)) == 3 * (4 + 2 + 1)
    load_data(data, cache=cache)
    describe_data(data, cache=cache)
    load_data(data, cache=cache)
    assert len(decoded) == 21


def test_without_a_cache_all_is_as_it_was(tmp_path, decoded):
    data = config(write_image_folder(tmp_path / "data", THREE))
    describe_data(data)
    assert len(decoded) == 21
    load_data(data)
    assert len(decoded) == 42


OPEN = """
import hashlib, sys
from pathlib import Path
from orchestrator.storage.cache import Cache
from orchestrator.config.models import DataConfig
from orchestrator.training.images.cache import open_stored
from orchestrator.training.images.decoding import decode_image

class Files:
    def __init__(self, folder):
        self.files = sorted(folder.rglob("*.png"))
        self.digests = [hashlib.sha256(file.read_bytes()).digest() for file in self.files]
        self.decoded = []

    def decode(self, index, size):
        self.decoded.append(index)
        return decode_image(self.files[index].read_bytes(), size)

files = Files(Path(sys.argv[1]))
sys.stdin.readline()
found = open_stored(Cache(Path(sys.argv[2]), 2**30), [files], DataConfig(source="files", image_size=224))
assert found.select(files.digests).take([0]).shape == (1, 3, 224, 224)
print(len(files.decoded), "torch" in sys.modules)
"""


def test_of_two_processes_one_decodes_and_the_other_waits(tmp_path):
    folder = write_image_folder(tmp_path / "data", {"train": 30})
    words = [sys.executable, "-c", OPEN, str(folder), str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(words, **pipes) for _ in range(2)]
    for process in processes:  # both at once
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert outputs == ["0 False\n", "90 False\n"]


# What is the same, and what is not


def test_the_content_of_images_names_them_wherever_they_lie(tmp_path, cache, decoded):
    folder = write_image_folder(tmp_path / "data", {"train": 8, "test": 2})
    describe_data(config(folder), cache=cache)
    first = len(decoded)
    elsewhere = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    for other in (
        config(elsewhere),
        config(folder, validation_fraction=0.5),
        config(folder, split_seed=1),
        config(folder, batch_size=2, memory_mb=0, loader_workers=0, on_corrupt="skip"),
    ):
        same_batches(load_data(other, cache=cache), load_data(other.model_copy(update={"memory_mb": 100})))
    assert len(cache.entries()) == 1
    assert first == 30


def test_other_images_or_another_size_are_another_entry(tmp_path, cache):
    folder = write_image_folder(tmp_path / "data", THREE)
    load_data(config(folder), cache=cache)
    load_data(config(folder, image_size=16), cache=cache)
    (folder / "train" / "rust" / "0.png").write_bytes(draw(1, 50))
    load_data(config(folder), cache=cache)
    load_data(make_data(), cache=cache)
    load_data(make_data(synthetic=SyntheticConfig(train=24, validation=12, test=9, seed=1)), cache=cache)
    assert len(cache.entries()) == 5


def test_another_decoder_does_not_take_what_this_one_made(monkeypatch):
    names = {name_entry("i", 8), name_entry("j", 8), name_entry("i", 9)}
    with monkeypatch.context() as changed:
        changed.setattr(PIL, "__version__", "0.0.0")
        names.add(name_entry("i", 8))
    with monkeypatch.context() as changed:
        changed.setattr(images, "DECODING_VERSION", images.DECODING_VERSION + 1)
        names.add(name_entry("i", 8))
    monkeypatch.setattr(image_cache, "FORMAT", image_cache.FORMAT + 1)
    names.add(name_entry("i", 8))
    assert len(names) == 6


# Broken images


def test_broken_images_are_refused_from_the_cache_as_without(tmp_path, cache, decoded):
    folder = write_image_folder(tmp_path / "data", THREE)
    spoil(folder, "train/blight/0.png")
    (folder / "test/rust/0.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r".") as expected:
        describe_data(config(folder))
    decoded.clear()
    for number in range(2):
        with pytest.raises(ConfigError, match=r"^2 problems\n") as refused:
            describe_data(config(folder), cache=cache)
        assert refused.value.message == expected.value.message
        assert len(decoded) == 21, number
    with pytest.raises(ConfigError, match=r"^2 problems\n"):
        load_data(config(folder), cache=cache)


def test_broken_images_are_skipped_from_the_cache_as_without(tmp_path, cache, decoded):
    folder = write_image_folder(tmp_path / "data", THREE)
    spoil(folder, "train/blight/0.png")
    skip = config(folder, on_corrupt="skip")
    expected = describe_data(skip)
    decoded.clear()
    assert describe_data(skip, cache=cache) == expected
    loaded = load_data(skip, cache=cache)
    assert len(decoded) == 21
    same_batches(loaded, load_data(skip))
    assert loaded.size("train") == 3 * 4 - 1


def test_rows_without_an_image_keep_no_others_from_the_cache(tmp_path, cache):
    write_table(tmp_path / "data/train.parquet", [*stored(*range(6)), None], [0, 1, 2] * 2 + [0])
    write_table(tmp_path / "data/test.parquet", stored(6, 7, 8), [0, 1, 2])
    skip = config(tmp_path / "data", on_corrupt="skip", validation_fraction=0.5)
    same_batches(load_data(skip, cache=cache), load_data(skip))
    with pytest.raises(ConfigError, match="the image in split train, row 6 is not there"):
        describe_data(config(tmp_path / "data"), cache=cache)


def test_an_image_that_changes_while_it_is_read_is_not_kept_under_its_old_name(tmp_path, cache, monkeypatch):
    folder = write_image_folder(tmp_path / "data", THREE)
    cached = image_cache._decode

    def change_first(*arguments):
        (folder / "train/rust/1.png").write_bytes(draw(0, 51))
        return cached(*arguments)

    monkeypatch.setattr(image_cache, "_decode", change_first)
    with pytest.raises(ConfigError, match=r"train/rust/1\.png\) changed since the data set was opened"):
        describe_data(config(folder), cache=cache)
    assert cache.entries() == []


# What cannot be kept


@pytest.mark.parametrize(("memory_mb", "in_memory"), [(100, True), (0, False)])
def test_what_does_not_fit_is_decoded_in_memory_or_streamed_with_a_word(tmp_path, words, memory_mb, in_memory):
    small = Cache(tmp_path / "cache", 1000, words.append)
    data = config(write_image_folder(tmp_path / "data", THREE), memory_mb=memory_mb, loader_workers=0)
    assert describe_data(data, cache=small) == describe_data(data)
    loaded = load_data(data, cache=small)
    assert loaded.in_memory is in_memory
    same_batches(loaded, load_data(data))
    assert len(words) == 2
    assert words[0].startswith(f"21 images of {data.source} at 8 px: the cache cannot keep it: it has ")
    assert small.entries() == []


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, words):
    (tmp_path / "cache").write_text("a file")
    data = make_data()
    loaded = load_data(data, cache=Cache(tmp_path / "cache", GIB, words.append))
    same_batches(loaded, load_data(data))
    assert ["Not a directory" in word for word in words] == [True]


def test_a_damaged_entry_is_decoded_again(tmp_path, cache, words, decoded):
    folder = write_image_folder(tmp_path / "data", dict.fromkeys(SPLITS, len(NAMES)))
    load_data(config(folder), cache=cache)
    (entry,) = cache.entries()
    with entry.path.open("r+b") as file:
        file.truncate(100)
    same_batches(load_data(config(folder), cache=cache), load_data(config(folder)))
    assert len(words) == 1
    assert len(decoded) == 3 * 27  # two for the cache, one without


# A run


@pytest.mark.usefixtures("narrow")
def test_a_run_gives_the_same_result_with_and_without(tmp_path):
    spec = make_spec("stem", max_epochs=1)
    place = CachePlace(folder=str(tmp_path / "cache"), max_gb=1.0, images=True, activations=False)
    results = [
        run_training(
            spec,
            Workplace(directory=str(tmp_path / str(number)), threads=1, cache=shared, cost=make_cost("stem")),
            lambda epoch: None,
        )
        for number, shared in enumerate((None, place, place))  # the second fills it, the third finds it
    ]
    assert [entry.state for entry in Cache.at(place).entries()] == ["ready"]  # no run holds it any more
    plain = [result.model_dump(exclude=TIMES | {"history"}) for result in results]
    curves = [[epoch.model_dump(exclude={"duration_s"}) for epoch in result.history] for result in results]
    assert plain[1:] == plain[:1] * 2
    assert curves[1:] == curves[:1] * 2


def test_images_false_keeps_none(tmp_path):
    place = CachePlace(folder=str(tmp_path / "cache"), max_gb=1.0, images=False)
    assert isinstance(run._load_data(make_spec(), place).pixels["train"], torch.Tensor)
    assert list(tmp_path.iterdir()) == []
