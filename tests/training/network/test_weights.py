import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.network.backbones import WeightsInfo, build_network, describe_weights
from orchestrator.training.network.weights import load_weights
from tests.training.tiny import parse


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=200).state_dict()


def save(state, path: Path) -> ModelConfig:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return ModelConfig(weights=str(path))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_a_file_gives_the_backbone_and_drops_the_head_aloud(state, tmp_path, name):
    weights = load_weights(save(state, tmp_path / name))
    assert set(weights.state) == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(weights.state[key], state[key]) for key in weights.state)
    assert [note.split(": ")[1] for note in weights.notes] == [
        "its head of 200 classes is dropped; each run trains a new head"
    ]


def test_half_precision_is_cast_up(state, tmp_path):
    half = {key: t.half() if t.is_floating_point() else t for key, t in state.items()}
    weights = load_weights(save(half, tmp_path / "w.pth"))
    assert {t.dtype for key, t in weights.state.items() if "num_batches" not in key} == {torch.float32}
    assert torch.equal(weights.state["conv1.weight"], state["conv1.weight"].half().float())
    assert "float16 cast to float32" in weights.notes[0]


def test_the_network_starts_from_the_file(state, tmp_path):
    model = save(state, tmp_path / "w.pth")
    network = build_network(model, 3, 0, parse("stem"), load_weights(model))
    assert torch.equal(network.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert network.fc.weight.shape == (3, 512)


def test_the_hash_is_that_of_the_values_wherever_they_lie(state, tmp_path):
    expected = hashlib.sha256()
    for name in sorted(state):
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            expected.update(f"{name}:{tuple(state[name].shape)}:".encode() + state[name].numpy().tobytes())
    no_head = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    no_counters = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    configs = [
        save(state, tmp_path / "a.pth"),
        save(state, tmp_path / "b.safetensors"),
        save(no_head, tmp_path / "c.pth"),
        save(no_counters, tmp_path / "d.pth"),
    ]
    assert {describe_weights(config).sha256 for config in configs} == {expected.hexdigest()}
    changed = dict(state) | {"bn1.bias": state["bn1.bias"] + 1e-3}
    assert describe_weights(save(changed, tmp_path / "e.pth")).sha256 != expected.hexdigest()


def test_what_the_user_should_hear_comes_with_the_hash(state, tmp_path):
    half = {key: t.half() if t.is_floating_point() else t for key, t in state.items()}
    config = save(half, tmp_path / "w.pth")
    info = describe_weights(config)
    assert info.sha256 == load_weights(config).sha256
    assert [note.removeprefix(f"{tmp_path}/w.pth: ") for note in info.notes] == [
        "float16 cast to float32",
        "its head of 200 classes is dropped; each run trains a new head",
    ]
    assert describe_weights(ModelConfig(weights="none")) == WeightsInfo(sha256=None, notes=())


def without(state, *names):
    return {key: tensor for key, tensor in state.items() if key not in names}


BROKEN = {
    "missing": (lambda s: without(s, "conv1.weight", "bn1.bias"), r"2 missing keys: conv1.weight, bn1.bias"),
    "unexpected": (lambda s: s | {"layer9.x": torch.zeros(1)}, r"1 unexpected keys: layer9.x"),
    "shape": (
        lambda s: s | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
        r"conv1.weight is \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)",
    ),
    "empty": (lambda s: {}, "no entries"),
    "list": (lambda s: list(s.values()), "holds a list, not a state dict"),
    "tensor": (lambda s: s["conv1.weight"], "holds a Tensor, not a state dict"),
    "tensors and more": (lambda s: {"a": s["conv1.weight"], "b": 3}, "it has entries that are no tensors: b"),
    "number": (lambda s: 3, "holds a int, not a state dict"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_named(state, tmp_path, case):
    change, message = BROKEN[case]
    with pytest.raises(ConfigError, match=message) as caught:
        load_weights(save(change(dict(state)), tmp_path / "w.pth"))
    assert str(tmp_path / "w.pth") in caught.value.message
    assert caught.value.hint


def test_another_backbone_is_an_error(state, tmp_path):
    config = save(state, tmp_path / "w.pth").model_copy(update={"backbone": "resnet50"})
    with pytest.raises(ConfigError, match=r"does not fit resnet50: .* missing keys"):
        load_weights(config)


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_of_code_is_refused(tmp_path, capsys):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"a": Evil()}, tmp_path / "zip.pth")
    for name in ("plain.pth", "zip.pth"):
        with pytest.raises(ConfigError, match="could run any code"):
            load_weights(ModelConfig(weights=str(tmp_path / name)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04rubbish"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name} is (damaged|a pickle)"):
        load_weights(ModelConfig(weights=str(tmp_path / name)))


def test_a_truncated_file_is_refused(state, tmp_path):
    config = save(state, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:1_000_000])
    with pytest.raises(ConfigError, match=r"w.pth is damaged"):
        load_weights(config)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file: .*gone\.pth"):
        load_weights(ModelConfig(weights=str(tmp_path / "gone.pth")))
    with pytest.raises(ConfigError, match="is a folder, which is no state dict"):
        load_weights(ModelConfig(weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "close"), [("IMAGENET1K_V2", "IMAGENET1K_V1"), ("imagenet1k_v1", "IMAGENET1K_V1"), ("non", "none")]
)
def test_an_unknown_name_gets_a_suggestion(name, close):
    with pytest.raises(ConfigError, match=rf"unknown weights '{name}' of resnet18; known: .*IMAGENET1K_V1") as caught:
        load_weights(ModelConfig(weights=name))
    assert caught.value.hint == f"did you mean '{close}'?"


def test_without_network_and_cache_the_error_says_what_where_and_how(monkeypatch, own_caches):
    def refuse(*_args, **_kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(SetupError, match=r"not in the cache .*resnet18-f37072fd\.pth.*no network") as e:
        load_weights(ModelConfig())
    assert str(own_caches) in e.value.message
    assert "make demo" in e.value.hint


def test_a_cached_download_is_used_offline(monkeypatch, own_caches, state):
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a, **k: pytest.fail("tried the network"))
    cache = own_caches / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(state, cache / "resnet18-f37072fd.pth")
    weights = load_weights(ModelConfig(weights="IMAGENET1K_V1"))
    assert torch.equal(weights.state["conv1.weight"], state["conv1.weight"])


def test_a_damaged_cache_names_the_file(own_caches):
    cache = own_caches / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(SetupError, match=r"cached weights .*resnet18-f37072fd\.pth are damaged"):
        load_weights(ModelConfig(weights="IMAGENET1K_V1"))


# The network of another sweep


def checkpoint(state, **hparams) -> dict:
    return {
        "state_dict": {
            **{f"network.{name}": tensor for name, tensor in state.items()},
            "accuracy.total": torch.zeros(1),
        },
        "hyper_parameters": {"backbone": "resnet18", "num_classes": 200, **hparams},
        "epoch": 3,
    }


def test_a_runs_checkpoint_gives_its_network_by_path_and_as_a_sweeps(state, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint(state), path)
    plain = describe_weights(save(state, tmp_path / "w.pth"))
    for found in (
        describe_weights(ModelConfig(weights=str(path))),
        describe_weights(ModelConfig(weights="sweep:source"), str(path)),
    ):
        assert found.sha256 == plain.sha256
        assert found.notes == (f"{path}: its head of 200 classes is dropped; each run trains a new head",)


def test_a_checkpoint_of_another_backbone_is_named(state, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint(state, backbone="resnet50"), path)
    with pytest.raises(
        ConfigError, match=r"best\.ckpt is a checkpoint of a resnet50, and model\.backbone is resnet18$"
    ):
        load_weights(ModelConfig(weights="sweep:source"), str(path))


def test_a_sweeps_weights_have_to_be_looked_up():
    with pytest.raises(ConfigError, match=r"^model\.weights: sweep:source lies under a root, and none is known here$"):
        load_weights(ModelConfig(weights="sweep:source"))
