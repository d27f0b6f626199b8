"""Bad data of every kind, made here: found before any training, named, and all at once."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.data.splits import SPLITS
from tests.training.pictures import (
    NAMES,
    THREE,
    config,
    draw,
    encode,
    stored,
    write_image_folder,
    write_parquet,
    write_table,
)
from tests.training.tiny import make_spec, train

TRUNCATED = draw(0, 0)[:50]


def refuse(data: DataConfig, match: str) -> ConfigError:
    with pytest.raises(ConfigError, match=match) as caught:
        describe_data(data)
    return caught.value


def spoil(folder: Path, *files: str) -> None:
    """Cut a file off, or empty it: the first, the second, the first, ..."""
    for index, file in enumerate(files):
        (folder / file).write_bytes(TRUNCATED if index % 2 == 0 else b"")


# Broken images


def test_all_broken_images_are_named_at_once_with_split_row_and_file(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    spoil(folder, "train/blight/0.png", "test/rust/0.png")
    error = refuse(config(folder, memory_mb=0), "^2 problems\n")
    # rows count through the classes in their order: blight 0 to 3 in train; one image a class in test
    _, train_line, test_line = error.message.split("\n")
    assert f"the image in split train, row 0 ({folder}/train/blight/0.png) cannot be decoded: " in train_line
    assert f"the image in split test, row 2 ({folder}/test/rust/0.png) cannot be decoded: it is empty" in test_line
    assert error.hint == "repair or remove it, or set data.on_corrupt to skip"


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_skipping_broken_images_is_the_same_as_not_having_them(tmp_path, memory_mb):
    folder = write_image_folder(tmp_path / "a", THREE)
    bad = ["train/blight/0.png", "train/rust/3.png", "validation/healthy/1.png"]
    clean = Path(shutil.copytree(folder, tmp_path / "b"))
    spoil(folder, *bad)
    for file in bad:
        (clean / file).unlink()
    skip = config(folder, on_corrupt="skip", memory_mb=memory_mb)
    info, expected = describe_data(skip), describe_data(config(clean))
    # 3 classes of 4, 2 and 1 images, less 2, 1 and 0
    assert info.split_sizes == expected.split_sizes == {"train": 10, "validation": 5, "test": 3}
    assert info.fingerprint == expected.fingerprint
    (note,) = info.notes
    assert "3 of 21 images are broken and left out (data.on_corrupt=skip)" in note
    assert all(f"{folder / file}" in note for file in bad)
    assert expected.notes == ()
    # a worker finds the same, in memory or not
    loaded, wanted = load_data(skip), load_data(config(clean))
    assert loaded.in_memory is (memory_mb > 0)
    assert loaded.info == info
    for split in SPLITS:
        for (images, labels), (images_2, labels_2) in zip(loaded.batches(split), wanted.batches(split), strict=True):
            assert (images == images_2).all()
            assert (labels == labels_2).all()


def test_a_made_validation_split_does_not_depend_on_what_was_skipped(tmp_path):
    folder = write_image_folder(tmp_path / "a", {"train": 8, "test": 1})
    clean = Path(shutil.copytree(folder, tmp_path / "b"))
    spoil(folder, "train/rust/0.png")
    (clean / "train/rust/0.png").unlink()
    options = {"validation_fraction": 0.25}
    skipped, expected = (
        describe_data(config(folder, on_corrupt="skip", **options)),
        describe_data(config(clean, **options)),
    )
    assert (skipped.fingerprint, skipped.split_sizes) == (expected.fingerprint, expected.split_sizes)


@pytest.mark.usefixtures("narrow")
def test_a_run_trains_without_the_broken_images_that_do_not_fit_the_memory(tmp_path):
    folder = write_image_folder(tmp_path / "data", THREE)
    spoil(folder, "train/blight/0.png", "validation/rust/0.png")
    data = config(folder, image_size=32, batch_size=4, loader_workers=0, memory_mb=0, on_corrupt="skip")
    result, history = train(make_spec("stem", data=data, max_epochs=1), tmp_path / "run")
    assert (result.n_val, result.n_test, len(history)) == (5, 3, 1)  # 6 - 1, 3


def test_a_class_or_split_that_is_broken_throughout_is_refused_although_skipped(tmp_path):
    folder = write_image_folder(tmp_path / "a", {"train": 2, "validation": 1, "test": 1})
    spoil(folder, "train/rust/0.png", "train/rust/1.png")
    refuse(config(folder, on_corrupt="skip"), "1 of 3 classes have no training images: rust")
    spoil(folder, *(f"test/{name}/0.png" for name in NAMES))
    refuse(config(folder, on_corrupt="skip"), "split test is empty")


def test_many_broken_images_are_counted(tmp_path):
    folder = write_image_folder(tmp_path, {"train": 12, "test": 1})
    spoil(folder, *(f"train/{name}/{number}.png" for name in NAMES[:2] for number in range(11)))
    error = refuse(config(folder), "^2 problems\n")  # 22 broken of two kinds: a line each, with the first three
    truncated, empty = error.message.splitlines()[1:]
    assert (
        "11 images, each of which cannot be decoded: image file is truncated, such as split train, row 0" in truncated
    )
    assert "11 images, each of which cannot be decoded: it is empty (0 bytes), such as" in empty
    assert [line.count(".png") for line in (truncated, empty)] == [3, 3]
    assert truncated.endswith("and 8 more")


def test_rows_without_an_image_are_broken_too(tmp_path):
    write_table(
        tmp_path / "train.parquet",
        [*stored(*range(6)), None, {"bytes": b"", "path": "leaf.png"}],
        [0, 1, 2] * 2 + [0, 1],
    )
    write_table(tmp_path / "test.parquet", stored(6, 7, 8), [0, 1, 2])
    error = refuse(config(tmp_path), "^2 problems\n")
    assert "the image in split train, row 6 is not there: the row has none" in error.message
    assert "split train, row 7 (leaf.png) cannot be decoded: it is empty (0 bytes)" in error.message
    info = describe_data(config(tmp_path, on_corrupt="skip"))
    assert sum(info.split_sizes.values()) == 9


# Labels and classes


def test_missing_labels_labels_out_of_range_and_broken_images_are_told_together(tmp_path):
    write_table(tmp_path / "train.parquet", stored(*range(6)), [0, 1, 2, None, 7, -1])
    write_table(tmp_path / "test.parquet", [*stored(6), {"bytes": TRUNCATED, "path": None}], [0, 9])
    error = refuse(config(tmp_path), "^4 problems\n")
    assert "2 of 6 images of split train have no label in column 'labels', the first in row 3" in error.message
    assert re.search(
        r"1 of 6 images of split train have a label out of range, the first in row 4: 7, .* 0 to 2", error.message
    )
    assert "1 of 2 images of split test have a label out of range, the first in row 1: 9" in error.message
    assert "the image in split test, row 1 cannot be decoded" in error.message


def test_images_without_classes_and_columns_that_miss_are_told_together(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "0.png").write_bytes(draw(0, 0))
    error = refuse(config(flat), r"has no classes: its 1 images lie in no folders of classes")
    assert "give each class a folder of its own" in error.hint
    both = refuse(config(write_parquet(tmp_path / "b", THREE), image_column="x", label_column="y"), "^2 problems\n")
    assert "data.image_column: " in both.message
    assert "data.label_column: " in both.message


def test_a_class_folder_or_a_split_folder_without_files_is_no_silence(tmp_path):
    folder = write_image_folder(tmp_path, {"train": 4, "test": 1})
    (folder / "train" / "mildew").mkdir()
    (folder / "val" / "rust").mkdir(parents=True)
    (folder / "val" / ".DS_Store").touch()
    error = refuse(config(folder), "^2 problems\n")
    assert f"class mildew has no images: {folder}/train/mildew holds no file" in error.message
    assert f"split val is empty: {folder}/val holds no file" in error.message


def test_a_class_that_is_never_evaluated_is_said(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    (folder / "test" / "rust" / "0.png").unlink()
    assert describe_data(config(folder)).notes == (
        f"{folder}: 1 of 3 classes have no test images: rust; the accuracy there says nothing of them",
    )


def test_a_split_without_rows_is_named(tmp_path):
    write_table(tmp_path / "train.parquet", stored(*range(6)), [0, 1, 2] * 2)
    for name in ("test", "validation"):
        write_table(tmp_path / f"{name}.parquet", [], [])
    error = refuse(config(tmp_path), "has an empty split")
    assert f"{tmp_path}/test.parquet, {tmp_path}/validation.parquet" in error.message


# What is not read


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_out_of_the_folder_is_refused_and_named(tmp_path, kind):
    folder = write_image_folder(tmp_path / "data", THREE)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(draw(0, 9))
    link = folder / "train" / "blight" / "link.png" if kind == "file" else folder / "train" / "mildew"
    target = outside / "secret.png" if kind == "file" else outside
    link.symlink_to(target)
    error = refuse(config(folder), "1 symbolic links lead out of the folder")
    assert f"{link.relative_to(folder)} -> {target}" in error.message
    assert "set data.follow_links to true" in error.hint
    assert describe_data(config(folder, follow_links=True)).split_sizes["train"] == 13


def test_a_link_to_nothing_is_named_and_one_within_the_folder_is_read(tmp_path):
    folder = write_image_folder(tmp_path / "data", THREE)
    (folder / "train" / "blight" / "0.png").rename(folder / "train" / "blight" / "9.png")
    (folder / "train" / "blight" / "0.png").symlink_to("9.png")
    (tmp_path / "link").symlink_to(folder)
    assert describe_data(config(tmp_path / "link")).split_sizes["train"] == 13  # 12, and one of them twice
    (folder / "train" / "rust" / "gone.png").symlink_to("nowhere.png")
    refuse(config(tmp_path / "link"), "1 symbolic links point at nothing: .*gone.png")


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(tmp_path):
    """The cache keeps a repository's files in `blobs` and links to them from `snapshots/<commit>`."""
    written = write_parquet(tmp_path / "x", THREE) / "data"
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(written.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert describe_data(config(snapshot)).split_sizes == {"train": 12, "validation": 6, "test": 3}


@pytest.mark.parametrize("on_corrupt", ["fail", "skip"])
def test_a_path_in_a_table_that_leaves_the_folder_is_refused(tmp_path, on_corrupt):
    (tmp_path / "secret.png").write_bytes(draw(0, 9))
    folder = tmp_path / "data"
    rows = [*stored(0, 1, 2, 3, 4), {"bytes": None, "path": str(folder / ".." / "secret.png")}]
    write_table(folder / "train.parquet", rows, [0, 1, 2] * 2)
    write_table(folder / "test.parquet", stored(6), [0])
    error = refuse(
        config(folder, on_corrupt=on_corrupt), r"split train, row 5 .*secret.png\) lies outside the data folder"
    )
    assert "problems" not in error.message


def test_a_loading_script_is_refused_with_a_sentence(tmp_path):
    folder = write_image_folder(tmp_path / "leaves", THREE)
    (folder / "leaves.py").write_text("raise SystemExit('this must not run')\n")
    error = refuse(config(folder), r"has a loading script \(leaves\.py\).* trust_remote_code, and is never run")
    assert "convert the data set to Parquet" in error.hint


# Duplicates


def test_exact_duplicates_across_splits_are_counted_in_a_note(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    # two of train in validation, one of train and one of validation in test
    for origin, copy in (
        ("train/rust/0.png", "validation/rust/7.png"),
        ("train/rust/1.png", "validation/rust/8.png"),
        ("train/blight/3.png", "test/blight/7.png"),
        ("validation/healthy/0.png", "test/healthy/7.png"),
    ):
        shutil.copy(folder / origin, folder / copy)
    # 6 + 2 and 3 + 2 images
    (note,) = describe_data(config(folder)).notes
    counts = (
        "2 of 8 validation images are in train too, 1 of 5 test images are in train too, "
        "1 of 5 test images are in validation too"
    )
    assert note == (
        f"{folder}: exact duplicates across splits inflate the accuracy: {counts}; `orchestrator data check` names them"
    )


# Strange images that work


def strange_images() -> dict[str, tuple[bytes, str]]:
    grey16 = Image.fromarray(np.full((8, 8), 200 * 257, dtype=np.uint16))
    palette = Image.new("RGB", (8, 8), (200, 100, 50)).convert("P")
    return {
        "one pixel": (encode(Image.new("RGB", (1, 1), (200, 100, 50))), "png"),
        "one pixel, grey": (encode(Image.new("L", (1, 1), 200)), "png"),
        "one column": (encode(Image.new("RGB", (1, 300))), "png"),
        "grey": (encode(Image.new("L", (8, 8), 9), "JPEG"), "jpg"),
        "cmyk": (encode(Image.new("CMYK", (8, 8)), "JPEG"), "jpg"),
        "palette": (encode(palette), "png"),
        "gif": (encode(palette, "GIF"), "gif"),
        "16 bit": (encode(grey16), "png"),
        "16 bit, tiff": (encode(grey16, "TIFF"), "tif"),
    }


def test_strange_images_are_no_problem(tmp_path):
    folder = write_image_folder(tmp_path, THREE)
    images = strange_images()
    for number, (data, suffix) in enumerate(images.values()):
        (folder / "train" / "rust" / f"strange{number}.{suffix}").write_bytes(data)
    info = describe_data(config(folder, value_range="full"))  # those of 16 bits have one value only
    assert info.split_sizes["train"] == 12 + len(images)
    (note,) = info.notes
    assert note.startswith(f"{folder}: 2 of 30 images have more than 8 bits a channel, with values 51400 to 51400")


# Images that cannot be read


def test_images_that_cannot_be_read_are_one_line_and_equal_nothing(tmp_path):
    """240 paths out of the folder were 240 lines, and all validation images `in train too`."""
    folder, outside = tmp_path / "data", tmp_path / "elsewhere"
    outside.mkdir()
    for name, count, first in (("train", 220, 0), ("validation", 20, 220)):
        paths = [outside / f"{number}.png" for number in range(first, first + count)]
        for number, path in enumerate(paths):
            path.write_bytes(draw(number % 3, first + number))
        rows = [{"bytes": None, "path": str(path)} for path in paths]
        write_table(folder / f"{name}.parquet", rows, [number % 3 for number in range(count)])
    report = inspect_data(config(folder))
    train, validation = report.problems[:2]
    start = f"{folder}: 220 images lie outside the data folder, such as the one in split train, row 0 ({outside}/0.png)"
    assert train.startswith(start)
    assert train.count(".png") == 3
    assert validation.startswith(f"{folder}: 20 images lie outside the data folder")
    assert (report.equal, [note for note in report.notes if "duplicates" in note or "repeat" in note]) == ((), [])
    assert {portion.shared + portion.repeats for portion in report.portions} == {0}
    assert not [problem for problem in report.problems if len(problem) > 600]
    assert sum(whole.images for whole in inspect_data(config(folder, follow_links=True)).wholes) == 240


def test_files_that_went_away_are_one_line_and_equal_nothing(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,split\n" + "".join(f"{n}.png,{NAMES[n % 3]},{'train' if n < 30 else 'test'}\n" for n in range(40))
    )
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(draw(number % 3, number))
    report = inspect_data(config(tmp_path / "list.csv"))
    (line,) = [problem for problem in report.problems if "cannot be read: No such file" in problem]
    assert "34 images, each of which cannot be read: No such file or directory, such as split train, row 6" in line
    assert line.endswith("and 31 more")
    assert not [note for note in report.notes if "duplicates" in note or "repeat" in note]


def test_a_row_that_names_a_fifo_or_a_device_is_broken_and_blocks_nobody(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "list.csv").write_text("path,label\nfifo.png,a\nzero.png,b\n")
    error = refuse(config(tmp_path / "list.csv", follow_links=True), "problems\n")
    assert "cannot be read: it is a fifo, no regular file" in error.message
    assert "cannot be read: it is a device, no regular file" in error.message


def test_a_list_of_paths_elsewhere_is_read_when_links_may_be_followed(tmp_path):
    shared = write_image_folder(tmp_path / "shared", {"": 4})
    (tmp_path / "mine").mkdir()
    rows = [f"{shared}/{name}/{number}.png,{name}" for name in NAMES for number in range(4)]
    (tmp_path / "mine" / "list.csv").write_text("path,label\n" + "\n".join(rows))
    listed = config(tmp_path / "mine" / "list.csv", validation_fraction=0.25)
    error = refuse(listed, "12 images lie outside the data folder")
    assert "data.follow_links to true" in error.hint
    followed = describe_data(listed.model_copy(update={"follow_links": True}))
    assert followed.fingerprint == describe_data(config(shared, validation_fraction=0.25)).fingerprint
