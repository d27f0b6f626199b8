"""A zip archive of class folders is read where it lies, and gives what the folder gives."""

import os
import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.folders.archive import Archive
from orchestrator.training.preparation.precheck import check_archive
from tests.training.trees import Tree, images, plant, png, split_images

SPLIT = split_images("training", "valid", "testing", count=3)
LITTER = {"__MACOSX/training/blight/._0.png": b"x", "training/.ipynb_checkpoints/0.png": png(0), ".DS_Store": b"x"}


def pack(path: Path, tree: Tree, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return path


def config(path: Path, **options: object) -> DataConfig:
    return DataConfig(source=str(path), image_size=8, **options)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_archive_gives_the_data_of_its_folder(method, tmp_path):
    folder = load_data(config(plant(tmp_path / "leaves", SPLIT)))
    tree = {f"leaves/{name}": content for name, content in (SPLIT | LITTER).items()} | {
        "leaves/": b"",
        "__MACOSX/a": b"",
    }
    packed = load_data(config(pack(tmp_path / "leaves.ZIP", tree, compression=method)))
    assert packed.info.fingerprint == folder.info.fingerprint
    assert packed.info.class_names == ("blight", "healthy", "rust")
    assert packed.info.split_sizes == {"train": 9, "validation": 9, "test": 9}
    for split in SPLITS:
        assert np.array_equal(packed.pixels[split], folder.pixels[split])
        assert np.array_equal(packed.images[split].labels, folder.images[split].labels)
    assert not {path.name for path in tmp_path.iterdir()} - {"leaves", "leaves.ZIP"}  # nothing is unpacked


def test_what_is_not_used_is_accounted_for_and_named_by_its_place(tmp_path):
    path = pack(tmp_path / "a.zip", SPLIT | LITTER | {"training/blight/9.heic": b"", "readme.md": b"x"})
    with pytest.raises(ConfigError, match=r"a\.zip: 1 file is HEIF.*: training/blight/9\.heic"):
        describe_data(config(path))
    report = inspect_data(config(path, on_unread="skip"))
    assert report.reading.startswith("a zip archive; folders of classes; train from training")
    assert report.files == 27
    assert {name for group in report.left_out for name in group.names} == {
        *LITTER,
        "readme.md",
        "training/blight/9.heic",
    }
    broken = pack(tmp_path / "b.zip", SPLIT | {"valid/rust/0.png": b"no image"})
    found = inspect_data(config(broken)).broken
    assert [(image.split, image.file) for image in found] == [("validation", f"{broken}/valid/rust/0.png")]


def test_other_processes_and_pickled_rows_read_it_too(tmp_path):
    path = pack(tmp_path / "a.zip", SPLIT, compression=zipfile.ZIP_DEFLATED)
    archive = Archive(path, "a.zip")
    names = [tuple(name.split("/")) for name in SPLIT]
    assert pickle.loads(pickle.dumps(archive)).read(names[0]) == SPLIT["/".join(names[0])]
    here, there = os.pipe()
    child = os.fork()
    if child == 0:  # a file that a fork inherits has one place for both
        right = all(archive.read(name) == SPLIT["/".join(name)] for name in reversed(names * 20))
        os.write(there, b"1" if right else b"0")
        os._exit(0)
    assert all(archive.read(name) == SPLIT["/".join(name)] for name in names * 20)
    os.waitpid(child, 0)
    assert os.read(here, 1) == b"1"


def test_the_quick_look_counts_its_files(tmp_path):
    found = check_archive(pack(tmp_path / "a.zip", SPLIT | LITTER), config(tmp_path / "a.zip"))
    assert found.files == len(SPLIT) == 27
    assert found.notes == (f"data.source: {tmp_path}/a.zip is a zip archive of 27 files: 27 .png",)
    with pytest.raises(ConfigError, match="holds no file"):
        check_archive(pack(tmp_path / "e.zip", {}), config(tmp_path / "e.zip"))


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


UNSAFE = {
    "a way out": ("train/../../x/0.png", "1 files in the archive lead out of it, such as train/../../x/0.png"),
    "an absolute path": ("/etc/x/0.png", "lead out of it, such as /etc/x/0.png"),
    "a path of Windows": ("..\\x\\0.png", r"lead out of it, such as ..\\x\\0.png"),
    "a link": (link("train/rust/l.png"), "are links, such as train/rust/l.png"),
    "one name twice": ("training/rust/0.png", "are there more than once, such as training/rust/0.png"),
}


@pytest.mark.parametrize("case", UNSAFE)
@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's own, on writing
def test_what_no_archive_of_images_holds_is_refused(case, tmp_path):
    name, message = UNSAFE[case]
    path = pack(tmp_path / "a.zip", SPLIT)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, png(1))
    with pytest.raises(ConfigError) as caught:
        describe_data(config(path))
    assert message.replace("\\\\", "\\") in caught.value.message


def test_what_unpacks_without_end_is_refused_unread(tmp_path):
    bomb = pack(
        tmp_path / "a.zip", SPLIT | {"train/rust/bomb.png": bytes(300 * 2**20)}, compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 2**20
    with pytest.raises(
        ConfigError, match=r"would unpack to 314,5\d\d,\d\d\d in 28 files, which no archive of images does"
    ):
        describe_data(config(bomb))


def test_a_password_and_damage_are_named(tmp_path):
    path = pack(tmp_path / "a.zip", SPLIT)
    data = path.read_bytes()
    locked = data.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")  # the flag in the list at the end
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(ConfigError, match=r"locked\.zip: 27 files in the archive need a password"):
        describe_data(config(tmp_path / "locked.zip"))
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match=r"cut\.zip is no whole zip archive"):
        describe_data(config(tmp_path / "cut.zip"))
    content = SPLIT["valid/rust/1.png"]
    (tmp_path / "flipped.zip").write_bytes(data.replace(content, content[:-1] + b"\xff"))
    with pytest.raises(ConfigError, match=r"valid/rust/1\.png.* damaged in the archive: Bad CRC-32"):
        load_data(config(tmp_path / "flipped.zip", on_corrupt="skip").model_copy(update={"on_corrupt": "fail"}))


def test_other_things_in_an_archive_are_not_guessed_at(tmp_path):
    path = pack(tmp_path / "a.zip", {"train.parquet": b"PAR1", "labels.csv": b"path,label"})
    with pytest.raises(ConfigError, match=r"it holds no images, but 1 \.csv files, 1 tables") as caught:
        describe_data(config(path))
    assert f"unzip -q {path} -d {tmp_path}/a" in caught.value.hint
    beside = images("all/{i}.png", classes=("all",), count=4) | {"labels.csv": b"path,label"}
    with pytest.raises(ConfigError, match=r"labels\.csv may hold their labels") as caught:
        describe_data(config(pack(tmp_path / "list.zip", beside)))
    assert "unpack the archive, and point data.source at that list" in caught.value.hint
    with pytest.raises(ConfigError, match="has no classes"):
        describe_data(config(pack(tmp_path / "flat.zip", {f"{n}.png": png(n) for n in range(4)})))


# A list that says what it is


def test_a_list_is_read_whatever_its_suffix_where_that_is_said(tmp_path):
    tree = images("{c}/{i}.png", count=10)
    plant(tmp_path, tree)
    rows = "".join(f"{name};{name.partition('/')[0]}\n" for name in tree)
    (tmp_path / "labels.txt").write_text(f"where;what\n{rows}")
    (tmp_path / "labels.csv").write_text(f"where;what\n{rows}")
    columns = {"image_column": "where", "label_column": "what"}
    with pytest.raises(ConfigError, match="is no folder"):
        describe_data(config(tmp_path / "labels.txt", **columns))
    said = describe_data(DataConfig(source=f"csv:{tmp_path}/labels.txt", **columns))
    plain = describe_data(config(tmp_path / "labels.csv", **columns))
    assert said.fingerprint == plain.fingerprint
    assert said.class_names == ("blight", "healthy", "rust")
    with pytest.raises(ConfigError, match=r"csv:.*gone\.csv is no folder and no regular file"):
        describe_data(DataConfig(source=f"csv:{tmp_path}/gone.csv"))
