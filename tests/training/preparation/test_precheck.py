"""What is told of weights and data before torch is loaded; nothing here loads it."""

import os

import pytest

from orchestrator.config.models import DataConfig, ModelConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.network.weight_names import cached_file
from orchestrator.training.preparation.precheck import check_inputs
from tests.factories import make_experiment


def check(source="synthetic", weights="none", deep=False, **data):
    experiment = make_experiment(data=DataConfig(source=source, **data), model=ModelConfig(weights=weights))
    return check_inputs(experiment, deep=deep)


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Empty caches of downloads."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    for name in ("HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_mistakes_are_one_error(tmp_path):
    found = check(source="./gone/images", weights=str(tmp_path / "gone.pth"))
    with pytest.raises(ConfigError, match=r"^2 mistakes\nmodel\.weights: no such .*\ndata\.source: .* does not exist"):
        found.raise_any()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./gone", "./gone does not exist"),
        ("a/b/c", "a/b/c does not exist"),
        ("file.txt", "file.txt is no folder"),
        ("empty", "empty holds no file"),
        ("two words", "'two words' is no folder and no name of a hub data set"),
        ("https://host/data.zip", "https://host/data.zip does not exist"),
    ],
)
def test_a_source_that_cannot_be_is_a_mistake(source, message, tmp_path):
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"^data\.source: ") as caught:
        check(source=source).raise_any()
    assert message in caught.value.message
    assert caught.value.hint


def test_a_folder_is_described_and_its_images_are_not_checked(tmp_path):
    for number in range(3):
        (tmp_path / "images" / "a" / f"{number}.PNG").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "a" / f"{number}.PNG").touch()
    (tmp_path / "images" / "README").touch()
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    found = check(source=str(tmp_path / "images"), revision="v1")
    assert found.notes[1].endswith("is a folder of 5 files: 4 .png, 1 without suffix")
    assert found.files == 5
    assert "the images in" in found.unchecked[0]
    assert "data.revision 'v1': a folder has none" in found.unchecked[1]


def test_a_hub_data_set_is_in_the_cache_or_not_checked(tmp_path, monkeypatch):
    assert check(source="me/mine").unchecked == (
        "hub data set me/mine: not in the cache; whether the hub has it, and what it holds",
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not in the cache, and HF_HUB_OFFLINE=1 forbids to download it" in check(source="me/mine").unchecked[0]
    snapshot = tmp_path / "hub" / "datasets--me--mine" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "datasets--me--mine" / "refs").mkdir()
    (tmp_path / "hub" / "datasets--me--mine" / "refs" / "v1").write_text("abc")
    for revision in (None, "v1", "abc"):
        found = check(source="me/mine", revision=revision)
        assert "is in the cache (" in found.notes[1]
        assert str(snapshot) in found.notes[1]
    assert "at revision v2: not in the cache" in check(source="me/mine", revision="v2").unchecked[0]
    (tmp_path / "home" / "datasets" / "me___your_set").mkdir(parents=True)
    assert "is in the cache" in check(source="me/your-set").notes[1]


def test_torchvisions_weights_are_in_the_cache_or_not_checked():
    assert "not in the cache" in check(weights="IMAGENET1K_V1").unchecked[0]
    file = cached_file("resnet18", "IMAGENET1K_V1")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"<html>")
    assert "are in the cache" in check(weights="IMAGENET1K_V1").notes[0]
    with pytest.raises(SetupError, match=r"cannot be used: the file is a web page") as caught:
        check(weights="IMAGENET1K_V1", deep=True).raise_any()
    assert "delete" in caught.value.hint


def test_an_unknown_name_of_weights_is_a_mistake():
    with pytest.raises(ConfigError, match=r"weights 'IMAGENET1K_V3' of resnet18; known: IMAGENET1K_V1") as caught:
        check(weights="IMAGENET1K_V3").raise_any()
    assert caught.value.hint == "did you mean 'IMAGENET1K_V1'?"
