"""The cache of the library that reads tables: where it cannot be written, and where its files are torn."""

import errno
import os
from pathlib import Path

import datasets
import pytest

from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.data.loading import describe_data
from tests.training.pictures import THREE, config, write_image_folder, write_parquet


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [empty, cut_off, Path.unlink])
@pytest.mark.parametrize("name", ["parquet-train.arrow", "dataset_info.json"])
def test_a_torn_copy_of_the_library_is_made_again_and_said(tmp_path, own_caches, spoil, name):
    data = config(write_parquet(tmp_path, THREE))
    before = describe_data(data)
    (file,) = (own_caches / "datasets").rglob(name)
    spoil(file)
    after = describe_data(data)
    assert after.fingerprint == before.fingerprint
    if (spoil, name) != (Path.unlink, "dataset_info.json"):  # which the library makes again by itself
        (note,) = after.notes
        assert "the copy that the datasets library keeps in" in note
        assert "was damaged, and was made again" in note
    assert describe_data(data).notes == ()


def test_a_copy_with_fewer_rows_than_the_files_is_made_again(tmp_path, own_caches):
    """A stream whose tail is zeros ends there for whoever reads it: no error, and rows are missing."""
    data = config(write_parquet(tmp_path, THREE))
    describe_data(data)
    (train,) = (own_caches / "datasets").rglob("parquet-train.arrow")
    (test,) = (own_caches / "datasets").rglob("parquet-test.arrow")
    train.write_bytes(test.read_bytes())  # 3 rows for 12
    assert describe_data(data).split_sizes["train"] == 12


def test_a_torn_file_of_the_folder_itself_is_blamed_on_the_folder(tmp_path):
    folder = write_parquet(tmp_path, THREE)
    file = folder / "data" / "train-00000-of-00001.parquet"
    data = file.read_bytes()
    file.write_bytes(data[:10] + b"\0" * 400 + data[410:])  # the footer is whole, what it describes is not
    with pytest.raises(ConfigError, match=rf"{folder} cannot be read as a data set"):
        describe_data(config(folder))


def test_a_cache_that_cannot_be_written_is_blamed_itself(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "datasets")
    with pytest.raises(
        SetupError, match=r"the cache of the datasets library \(.*file/datasets\) cannot be written"
    ) as e:
        describe_data(config(write_parquet(tmp_path / "a", THREE)))
    assert e.value.hint == "set HF_HOME to a folder that can be written and has room"
    # a folder of images needs no such cache
    assert describe_data(config(write_image_folder(tmp_path / "b", THREE))).split_sizes["train"] == 12


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_cache_that_is_full_is_blamed_itself(tmp_path, monkeypatch, reason):
    def refuse(*args, **kwargs):
        try:
            raise OSError(reason, os.strerror(reason))
        except OSError as error:
            raise datasets.exceptions.DatasetGenerationError("An error occurred") from error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(SetupError, match=f"cannot be written: {os.strerror(reason)}"):
        describe_data(config(write_parquet(tmp_path, THREE)))
