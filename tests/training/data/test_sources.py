"""Data sets of every kind that a person has, written here and read back; the hub is a fake that refuses."""

import hashlib
import shutil

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Value
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from PIL import Image

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.data.splits import SPLITS
from tests.training.pictures import NAMES, THREE, colour, config, draw, encode, write_image_folder, write_parquet

CMYK_RED = Image.new("CMYK", (8, 8), (0, 255, 255, 0))


def content(loaded, split: str) -> set[tuple[int, int, int]]:
    """Label, red and green of each image of a split."""
    pixels = loaded.pixels[split].numpy()
    assert (pixels.min(axis=(2, 3)) == pixels.max(axis=(2, 3))).all()
    return {
        (int(label), int(image[0, 0, 0]), int(image[1, 0, 0]))
        for label, image in zip(loaded.images[split].labels, pixels, strict=True)
    }


def expected(offset: int, count: int) -> set[tuple[int, int, int]]:
    return {(label, *colour(label, 10 * offset + number)[:2]) for label in range(3) for number in range(count)}


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev"])
def test_an_image_folder_gives_its_splits_labels_and_pixels(tmp_path, validation):
    loaded = load_data(config(write_image_folder(tmp_path, {"train": 4, validation: 2, "test": 1})))
    assert [content(loaded, split) for split in SPLITS] == [expected(0, 4), expected(1, 2), expected(2, 1)]
    assert loaded.info.class_names == NAMES
    assert loaded.info.split_sizes == {"train": 12, "validation": 6, "test": 3}
    assert loaded.info.notes == ()


def test_an_image_is_called_by_the_hash_of_its_file(tmp_path):
    folder = write_image_folder(tmp_path, {"train": 4, "validation": 2, "test": 1})
    loaded = load_data(config(folder))
    for split, count in (("train", 12), ("validation", 6), ("test", 3)):
        files = [path for path in (folder / split).rglob("*") if path.is_file()]
        assert len(files) == count
        wanted = sorted(hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in files)
        assert sorted(loaded.images[split].ids) == wanted


@pytest.mark.parametrize(("image", "label"), [("image", "labels"), ("image", "label"), ("picture", "disease")])
def test_a_parquet_folder_is_read_whatever_its_columns_are_called(tmp_path, image, label):
    loaded = load_data(config(write_parquet(tmp_path, THREE, image, label)))
    assert [content(loaded, split) for split in SPLITS] == [expected(0, 4), expected(1, 2), expected(2, 1)]
    assert loaded.info.class_names == NAMES


@pytest.mark.parametrize("kind", [Value("string"), Value("int64")])
def test_a_label_column_of_plain_values_is_read_when_named(tmp_path, kind):
    folder = write_parquet(tmp_path, THREE, label="kind", kind=kind)
    with pytest.raises(ConfigError, match=r"has no label column of type ClassLabel; it has image \(Image\), kind"):
        describe_data(config(folder))
    loaded = load_data(config(folder, label_column="kind"))
    assert content(loaded, "train") == expected(0, 4)
    assert loaded.info.class_names == (NAMES if kind.dtype == "string" else ("0", "1", "2"))


def test_the_readme_says_the_types_that_the_files_do_not(tmp_path):
    folder = write_parquet(tmp_path, THREE)
    before = describe_data(config(folder))
    for path in (folder / "data").iterdir():
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(ConfigError, match="has no image column of type Image"):
        describe_data(config(folder))
    names = "".join(f"            '{number}': {name}\n" for number, name in enumerate(NAMES))
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: labels\n    dtype:\n"
        f"      class_label:\n        names:\n{names}  - name: note\n    dtype: string\n---\n# Leaves\n"
    )
    assert describe_data(config(folder)).fingerprint == before.fingerprint


def test_columns_that_are_not_there_or_do_not_fit_are_refused(tmp_path):
    folder = write_parquet(tmp_path, THREE)
    with pytest.raises(ConfigError, match="has no column 'pic'; it has image, labels, note"):
        describe_data(config(folder, image_column="pic"))
    with pytest.raises(ConfigError, match=r"column 'note' of .* holds string, no encoded images"):
        describe_data(config(folder, image_column="note"))


def test_equal_images_have_one_fingerprint_however_they_are_stored(tmp_path):
    places = [
        write_image_folder(tmp_path / "images", THREE),
        write_parquet(tmp_path / "a", THREE),
        write_parquet(tmp_path / "b", THREE, label="label"),
    ]
    fingerprints = {describe_data(config(place)).fingerprint for place in places}
    assert len(fingerprints) == 1
    (places[0] / "train" / "rust" / "0.png").write_bytes(draw(2, 49))
    assert describe_data(config(places[0])).fingerprint not in fingerprints
    shutil.move(places[0] / "test" / "rust" / "0.png", places[0] / "test" / "healthy" / "9.png")
    assert describe_data(config(places[0])).fingerprint not in fingerprints


def test_a_missing_validation_split_is_made_stratified_seeded_and_aloud(tmp_path):
    folder = write_image_folder(tmp_path, {"train": 8, "test": 2})
    one, again, other = (load_data(config(folder, validation_fraction=0.25, split_seed=seed)) for seed in (0, 0, 1))
    # a quarter of 8 images of each class
    assert one.info.split_sizes == {"train": 18, "validation": 6, "test": 6}
    assert np.bincount(one.images["validation"].labels).tolist() == [2, 2, 2]
    assert content(one, "train") | content(one, "validation") == expected(0, 8)
    assert not content(one, "train") & content(one, "validation")
    assert content(one, "test") == expected(1, 2)
    assert content(again, "validation") == content(one, "validation") != content(other, "validation")
    assert one.info.fingerprint == again.info.fingerprint != other.info.fingerprint
    assert one.info.notes == (
        f"{folder} has no validation split: 6 of 24 training images became one (stratified, data.split_seed=0)",
    )


def test_folders_of_classes_alone_give_all_three_splits(tmp_path):
    info = describe_data(config(write_image_folder(tmp_path, {"": 10}), validation_fraction=0.2))
    # a fifth of the 30 images for each of both
    assert info.split_sizes == {"train": 18, "validation": 6, "test": 6}
    assert ["no test split" in info.notes[0], "no validation split" in info.notes[1]] == [True, True]


def test_a_class_that_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no validation split, and class 0 has too few images to split one off"):
        describe_data(config(write_image_folder(tmp_path, {"train": 1, "test": 1})))


STRANGE = {
    "grey": (encode(Image.new("L", (8, 8), 90)), (90, 90, 90)),
    # a JPEG of CMYK; red is no cyan, all magenta and yellow
    "cmyk": (encode(CMYK_RED, "JPEG"), (255, 0, 0)),
    "16-bit": (encode(Image.fromarray(np.full((8, 8), 200 * 257, dtype=np.uint16))), (200, 200, 200)),
    "transparent": (encode(Image.new("RGBA", (8, 8), (9, 9, 9, 0))), (255, 255, 255)),
}


@pytest.mark.parametrize("name", STRANGE)
def test_images_of_another_mode_become_rgb(tmp_path, name):
    folder = write_image_folder(tmp_path, THREE)
    data, rgb = STRANGE[name]
    suffix = "jpg" if name == "cmyk" else "png"
    (folder / "test" / "rust" / f"strange.{suffix}").write_bytes(data)
    pixels = torch.as_tensor(load_data(config(folder)).pixels["test"]).numpy()
    distances = np.abs(pixels.astype(int) - np.array(rgb).reshape(1, 3, 1, 1)).max(axis=(1, 2, 3))
    assert min(distances) <= 2


@pytest.mark.parametrize("data", [b"no image at all", draw(0, 0)[:50]])
def test_a_broken_image_is_found_before_training_and_named(tmp_path, data):
    folder = write_image_folder(tmp_path, THREE)
    (folder / "test" / "rust" / "0.png").write_bytes(data)
    with pytest.raises(ConfigError, match=r"the image in split test, row 2 .* cannot be decoded: (?!.*object at)") as e:
        describe_data(config(folder))
    assert str(folder / "test" / "rust" / "0.png") in e.value.message
    assert e.value.hint == "repair or remove it, or set data.on_corrupt to skip"


def test_an_image_without_label_or_a_class_without_images_is_refused(tmp_path):
    folder = write_parquet(tmp_path, THREE, kind=ClassLabel(names=[*NAMES, "unseen"]))
    with pytest.raises(ConfigError, match="1 of 4 classes have no training images: unseen"):
        describe_data(config(folder))
    path = folder / "data" / "train-00000-of-00001.parquet"
    table = Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "c"))
    table.map(lambda row, i: {"labels": -1 if i == 5 else row["labels"]}, with_indices=True).to_parquet(path)
    with pytest.raises(ConfigError, match=r"1 of 12 images of split train have no label .* the first in row 5"):
        describe_data(config(folder))


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data.source: .*gone does not exist"):
        describe_data(config(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"cannot be read as a data set"):
        describe_data(config(tmp_path))
    (tmp_path / "train.parquet").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match=r"cannot be read as a data set"):
        describe_data(config(tmp_path))
    with pytest.raises(ConfigError, match=r"train\.parquet is no folder"):
        describe_data(config(tmp_path / "train.parquet"))


def test_a_hub_name_offline_says_what_where_and_how(monkeypatch, own_caches):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError, match=r"'AI-Lab-Makerere/beans' \(revision abc\) is not in the cache") as caught:
        describe_data(DataConfig(source="AI-Lab-Makerere/beans", revision="abc"))
    assert str(own_caches / "datasets") in caught.value.message
    assert "cannot be downloaded" in caught.value.message
    assert "make demo" in caught.value.hint
    assert "local folder" in caught.value.hint


def http_error() -> Exception:
    base = HfHubHTTPError.__mro__[1]
    return base("connection reset by peer")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ConnectionError("refused"), SetupError, "cannot be downloaded: refused"),
        (TimeoutError("too slow"), SetupError, "cannot be downloaded: too slow"),
        (OfflineModeIsEnabled("offline"), SetupError, "cannot be downloaded: offline"),
        (http_error(), SetupError, "cannot be downloaded: connection reset by peer"),
        (OSError(28, "No space left on device"), SetupError, "No space left on device"),
        (DatasetNotFoundError("no such set"), SetupError, "the hub has no data set 'some/set'"),
        (datasets.exceptions.DataFilesNotFoundError("none"), ConfigError, "cannot be read as a data set: none"),
        (datasets.exceptions.DefunctDatasetError("gone"), ConfigError, "cannot be read as a data set: gone"),
    ],
)
def test_what_the_hub_raises_becomes_one_of_ours(monkeypatch, error, kind, message):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(kind, match=message) as caught:
        describe_data(DataConfig(source="some/set"))
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_a_data_set_that_was_downloaded_once_is_used_offline(monkeypatch, tmp_path, own_caches):
    """The cache is what `load_dataset` leaves of a hub's data set: `<owner>___<name>/<configuration>/...`."""
    folder = write_parquet(tmp_path / "beans", THREE)
    online = describe_data(config(folder))
    (info,) = (own_caches / "datasets").rglob("dataset_info.json")  # in <version>/<hash>
    copy = shutil.copytree(info.parents[2], own_caches / "datasets" / "acme___beans" / "default")
    for file in copy.rglob("parquet-*.arrow"):  # a data set of the hub has its own name there
        file.rename(file.with_name(file.name.replace("parquet-", "beans-")))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    cached = describe_data(DataConfig(source="acme/beans", image_size=8))
    assert cached.fingerprint == online.fingerprint
