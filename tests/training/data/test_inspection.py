"""What a look at a data set reports; every number is counted by hand from what was written."""

import shutil

import pytest
from PIL import Image

from orchestrator.config.models import DataConfig, SyntheticConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data
from orchestrator.training.data.quality import DataReport, Extent, Portion
from tests.training.pictures import THREE, config, encode, stored, write_image_folder, write_table


def portion(report: DataReport, split: str, label: str) -> Portion:
    (found,) = [each for each in report.portions if (each.split, each.label) == (split, label)]
    return found


def test_sizes_modes_and_counts_by_split_and_class(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    (folder / "train/rust/wide.png").write_bytes(encode(Image.new("L", (20, 10), 3)))
    (folder / "train/rust/dot.png").write_bytes(encode(Image.new("P", (1, 1))))
    report = inspect_data(config(folder))
    rust = portion(report, "train", "rust")
    # four of 8 x 8, one of 20 x 10, one of 1 x 1
    assert (rust.images, rust.modes) == (6, {"RGB": 4, "L": 1, "P": 1})
    assert rust.width == Extent(smallest=1, median=8, largest=20)
    assert rust.height == Extent(smallest=1, median=8, largest=10)
    assert [(each.split, each.label, each.images) for each in report.portions] == [
        *(("train", name, count) for name, count in (("blight", 4), ("healthy", 4), ("rust", 6), ("(all)", 14))),
        *(("validation", name, count) for name, count in (("blight", 2), ("healthy", 2), ("rust", 2), ("(all)", 6))),
        *(("test", name, count) for name, count in (("blight", 1), ("healthy", 1), ("rust", 1), ("(all)", 3))),
    ]
    assert (report.usable, report.broken, report.equal, report.notes) == (True, (), (), ())
    assert report.fingerprint == describe_data(config(folder)).fingerprint


@pytest.mark.parametrize("on_corrupt", ["fail", "skip"])
def test_broken_images_are_counted_apart(tmp_path, on_corrupt):
    folder = write_image_folder(tmp_path, THREE)
    for file in ("train/blight/1.png", "train/blight/2.png", "test/rust/0.png"):
        (folder / file).write_bytes(b"no image")
    data = config(folder, on_corrupt=on_corrupt)
    report = inspect_data(data)
    assert [(image.split, image.row, image.file, image.label) for image in report.broken] == [
        ("train", 1, f"{folder}/train/blight/1.png", "blight"),
        ("train", 2, f"{folder}/train/blight/2.png", "blight"),
        ("test", 2, f"{folder}/test/rust/0.png", "rust"),
    ]
    blight, train = portion(report, "train", "blight"), portion(report, "train", "(all)")
    assert [(each.images, each.broken) for each in (blight, train)] == [(2, 2), (10, 2)]
    assert (portion(report, "test", "rust").images, portion(report, "test", "rust").width) == (0, None)
    if on_corrupt == "skip":
        assert report.usable
        assert report.fingerprint == describe_data(data).fingerprint
        assert len(report.notes) == 2  # what is left out, and the class that test lacks
    else:
        assert len(report.problems) == 3
        assert report.fingerprint is None


def test_equal_images_are_grouped_and_counted(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    for origin, copy in (
        ("train/rust/0.png", "train/rust/8.png"),
        ("train/rust/0.png", "train/rust/9.png"),
        ("train/rust/0.png", "test/rust/9.png"),
        ("train/blight/0.png", "train/healthy/9.png"),
    ):
        shutil.copy(folder / origin, folder / copy)
    report = inspect_data(config(folder))
    assert [[(image.split, image.label, image.file) for image in group] for group in sorted(report.equal, key=len)] == [
        [("train", name, f"{folder}/train/{name}/{n}.png") for name, n in (("blight", 0), ("healthy", 9))],
        [
            *(("train", "rust", f"{folder}/train/rust/{n}.png") for n in (0, 8, 9)),
            ("test", "rust", f"{folder}/test/rust/9.png"),
        ],
    ]
    rust, train = portion(report, "train", "rust"), portion(report, "train", "(all)")
    # three of rust are one image, which test has too; over the classes blight 0 is healthy 9
    assert [(each.repeats, each.shared) for each in (rust, train)] == [(2, 3), (3, 3)]
    assert portion(report, "test", "rust").shared == 1
    assert report.usable
    across, within, torn = report.notes
    assert "1 of 4 test images are in train too" in across
    assert "3 of 15 images of split train repeat others of it" in within
    assert "1 groups of equal images have different labels" in torn
    assert "is blight and " in torn


def test_a_made_split_says_where_its_images_are_stored(tmp_path):
    folder = write_image_folder(tmp_path, {"train": 4, "test": 1})
    report = inspect_data(config(folder, validation_fraction=0.25))
    # a quarter of 4 images of each of 3 classes
    assert [portion(report, split, "(all)").images for split in ("train", "validation", "test")] == [9, 3, 3]
    shutil.copy(folder / "train/rust/0.png", folder / "test/rust/9.png")
    report = inspect_data(config(folder, validation_fraction=0.25))
    (group,) = report.equal
    assert {image.stored_split for image in group} == {"train", "test"}


def test_images_without_label_have_a_line_of_their_own(tmp_path):
    write_table(tmp_path / "train.parquet", stored(*range(6)), [0, 1, 2, 0, None, 5])
    report = inspect_data(config(tmp_path))
    assert [(each.label, each.images) for each in report.portions] == [
        ("blight", 2),
        ("healthy", 1),
        ("rust", 1),
        ("(none)", 2),
        ("(all)", 6),
    ]
    assert (report.usable, report.fingerprint, len(report.problems)) == (False, None, 2)


def test_drawn_images_are_looked_at_too():
    data = DataConfig(source="synthetic", image_size=16, synthetic=SyntheticConfig(train=9, validation=3, test=3))
    report = inspect_data(data)
    assert report.usable
    assert report.fingerprint == describe_data(data).fingerprint
    assert [each.images for each in report.wholes] == [9, 3, 3]
    assert portion(report, "train", "texture_1").width == Extent(smallest=16, median=16, largest=16)


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        inspect_data(config(tmp_path / "gone"))
