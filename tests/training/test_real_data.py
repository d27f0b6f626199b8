"""The published study's images and weights, where they lie on this machine: `pytest -m real_data`."""

import os
from pathlib import Path

import pytest

from orchestrator.config.models import DataConfig, ModelConfig
from orchestrator.training.data.loading import describe_data
from orchestrator.training.network.backbones import build_network, describe_weights
from orchestrator.training.network.weights import load_weights
from tests.training.tiny import RESNET18, make_spec, parse, train

pytestmark = pytest.mark.real_data

ALL = "+".join(RESNET18)
CLASSES = ("angular_leaf_spot", "bean_rust", "healthy")


def read_variable(name: str, what: str) -> str:
    """Who asks for these tests wants them run: without the variable they fail, and are not skipped in silence."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"set {name} to {what}")
    if not Path(value).exists():
        pytest.fail(f"{name} is {value!r}, which does not exist; set it to {what}")
    return str(Path(value).resolve())


@pytest.fixture(scope="module")
def data() -> DataConfig:
    source = read_variable("ORCHESTRATOR_BEANS", "a folder of the Beans data set (Parquet files or images)")
    return DataConfig(source=source, image_size=64)


@pytest.fixture(scope="module")
def model() -> ModelConfig:
    weights = read_variable("ORCHESTRATOR_WEIGHTS", "a ResNet18 state dict (.pth or .safetensors)")
    return ModelConfig(weights=weights, num_classes=3)


def test_the_data_set_is_the_published_one(data):
    info = describe_data(data)
    assert info.split_sizes == {"train": 1034, "validation": 133, "test": 128}
    assert info.class_names == CLASSES
    assert info.notes == ()


def test_the_weights_fit_and_each_run_gets_a_new_head(model):
    info = describe_weights(model)
    assert len(info.sha256) == 64
    network = build_network(model, 3, 0, parse(ALL), load_weights(model))
    assert network.fc.weight.shape == (3, 512)


def test_a_head_alone_beats_chance_after_an_epoch(data, model, tmp_path):
    spec = make_spec(ALL, data=data, model=model, max_epochs=1)
    spec = spec.model_copy(update={"weights_sha256": describe_weights(model).sha256})
    result, _ = train(spec, tmp_path)
    assert (result.n_val, result.n_test) == (133, 128)
    assert result.trainable_params == 512 * 3 + 3
    # guessing has a standard error of sqrt(1/3 * 2/3 / 133) = 0.04; this is five of them above 1/3
    assert result.val_acc > 0.54
