import zipfile

import pytest
import torch
import torchvision

from orchestrator.backbones import BACKBONES, Backbone, find_backbone
from orchestrator.blocks import all_sets
from orchestrator.config.models import ModelConfig
from orchestrator.errors import NotFoundError, RunError
from orchestrator.training.network.architectures import build_empty
from orchestrator.training.network.backbones import WeightsInfo, block_modules, build_network, describe_weights
from orchestrator.training.network.freezing import count_parameters
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.network.weights import load_weights
from tests.training.tiny import RESNET18, parse

MODEL = ModelConfig(weights="none")
# conv1 3*64*7*7 = 9,408 and bn1 2*64 = 128
PARAMS = {"stem": 9_536, "layer1": 147_968, "layer2": 525_568, "layer3": 2_099_712, "layer4": 8_393_728}
HEAD_3_CLASSES = 512 * 3 + 3  # weights + bias; 11_178_051 in all


def test_blocks_hold_every_parameter_but_the_heads():
    network = build_network(MODEL, 3, 0, parse("none"))
    counts = {
        block: sum(p.numel() for module in modules for p in module.parameters())
        for block, modules in block_modules(network, find_backbone("resnet18")).items()
    }
    assert counts == PARAMS
    assert count_parameters(network) == (sum(PARAMS.values()) + HEAD_3_CLASSES,) * 2 == (11_178_051,) * 2


@pytest.mark.parametrize("backbone", BACKBONES.shipped)
def test_every_backbone_has_its_blocks_and_a_head(backbone):
    network = build_network(ModelConfig(backbone=backbone, weights="none"), 4, 0, parse("stem"))
    blocks = block_modules(network, find_backbone(backbone))
    assert list(blocks) == list(find_backbone(backbone).blocks)
    held = {id(p) for modules in blocks.values() for module in modules for p in module.parameters()}
    outside = {name for name, p in network.named_parameters() if id(p) not in held}
    assert outside == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("key", ["none", "stem", "layer2+layer4", "+".join(RESNET18)])
def test_frozen_blocks_do_not_train_and_the_head_always_does(key):
    network = build_network(MODEL, 3, 0, parse(key))
    trainable = sum(PARAMS[block] for block in RESNET18 if block not in parse(key)) + HEAD_3_CLASSES
    assert count_parameters(network) == (trainable, 11_178_051)


def test_the_start_depends_on_the_seed_and_not_on_the_frozen_set():
    one, two, other = (
        build_network(MODEL, 3, seed, parse(key)).state_dict()
        for seed, key in ((0, "none"), (0, "stem+layer4"), (1, "none"))
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_the_head_does_not_depend_on_where_the_backbone_comes_from(tmp_path):
    torch.save(build_network(MODEL, 7, 5, parse("none")).state_dict(), tmp_path / "w.pth")
    random = build_network(MODEL, 3, 0, parse("none"))
    model = ModelConfig(weights=str(tmp_path / "w.pth"))
    loaded = build_network(model, 3, 0, parse("none"), load_weights(model))
    assert torch.equal(random.fc.weight, loaded.fc.weight)
    assert not torch.equal(random.conv1.weight, loaded.conv1.weight)


def test_a_network_with_weights_holds_them_all(tmp_path):
    """It is built without memory first, which must not show: no value is left over, and nothing stays on `meta`."""
    saved = torchvision.models.get_model("resnet18", weights=None)
    for buffer in saved.buffers():
        buffer.add_(3)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    model = ModelConfig(weights=str(tmp_path / "weights.pt"))
    network = build_network(model, 3, 0, parse("stem"), load_weights(model))
    assert {p.device.type for p in (*network.parameters(), *network.buffers())} == {"cpu"}
    expected = {**saved.state_dict(), **{f"fc.{name}": p for name, p in build_head(0).items()}}
    found = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert not any(p.requires_grad for p in network.get_submodule("conv1").parameters())
    assert all(p.requires_grad for p in network.get_submodule("layer1").parameters())


def build_head(seed: int) -> dict[str, torch.Tensor]:
    return dict(build_network(MODEL, 3, seed, parse("none")).get_submodule("fc").state_dict())


def test_building_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    build_network(MODEL, 3, 0, parse("none"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_weights_have_no_hash():
    assert describe_weights(MODEL) == WeightsInfo()


def test_there_are_32_different_counts():
    counts = {
        sum(PARAMS[block] for block in RESNET18 if block not in frozen) + HEAD_3_CLASSES
        for frozen in all_sets(RESNET18)
    }
    assert len(counts) == 32


def test_a_missing_checkpoint_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"no checkpoint at .*best\.ckpt"):
        load_checkpoint_network(tmp_path / "best.ckpt")


@pytest.mark.parametrize(("content", "message"), [(b"rubbish", "damaged"), (None, "no checkpoint of a run")])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "best.ckpt"
    if content is None:
        torch.save({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        load_checkpoint_network(path)


def checkpoint_of(**changes):
    network = torchvision.models.resnet18(num_classes=3)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    parts = {"state_dict": state, "hyper_parameters": {"backbone": "resnet18", "num_classes": 3}}
    return {**parts, **changes}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: {"state_dict": {}}, "is no checkpoint of a run"),
        (lambda: [1, 2], "is no checkpoint of a run"),
        (lambda: checkpoint_of(hyper_parameters=["resnet18", 3]), "is no checkpoint of a run"),
        (lambda: checkpoint_of(state_dict=[]), "is no checkpoint of a run"),
        (lambda: checkpoint_of(hyper_parameters={}), "names the network None: it must be a name"),
        (lambda: checkpoint_of(hyper_parameters={"backbone": ["resnet18"], "num_classes": 3}), "names the network"),
        (
            lambda: checkpoint_of(hyper_parameters={"backbone": "resnet18", "num_classes": 10**9}),
            "names 1000000000 classes, and the head that it holds is one of 3",
        ),
        (lambda: checkpoint_of(state_dict={"other": torch.zeros(1)}), "and the head that it holds is none"),
        (
            lambda: checkpoint_of(state_dict={"network.fc.weight": torch.zeros(3, 512)}),
            "does not hold the resnet18 of 3 classes that it names: Missing key",
        ),
        (
            lambda: checkpoint_of(
                state_dict={"network.fc.weight": torch.zeros(1).expand(10**9, 512)},
                hyper_parameters={"backbone": "resnet18", "num_classes": 10**9},
            ),
            r"is damaged: network.fc.weight has the shape \(1000000000, 512\) and 4 bytes",
        ),
    ],
)
def test_a_file_that_is_no_checkpoint_of_a_network_is_refused_in_our_words(tmp_path, content, said):
    path = tmp_path / "best.ckpt"
    torch.save(content(), path)
    with pytest.raises(RunError, match=rf"best\.ckpt.*{said}") as caught:
        load_checkpoint_network(path)
    assert caught.value.hint


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_not_unpacked(tmp_path):
    path = tmp_path / "best.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data/0", bytes(2**26))
    with pytest.raises(RunError, match=r"is damaged: it unpacks to 67108864 bytes, more than it has"):
        load_checkpoint_network(path)


def test_a_network_whose_constructor_computes_with_tensors_is_built_without_values(monkeypatch):
    name = "regnet_y_400mf"
    with pytest.raises(NotImplementedError), torch.device("meta"):
        torchvision.models.get_model(name, weights=None)
    monkeypatch.setitem(BACKBONES._shipped, name, Backbone(name=name, modules={"stem": ("stem",)}))
    before = torch.random.get_rng_state()
    empty = build_empty(name, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {each.device.type for each in empty.state_dict().values()} == {"meta"}
    built = torchvision.models.get_model(name, weights=None, num_classes=3).state_dict()
    assert {key: each.shape for key, each in empty.state_dict().items()} == {key: v.shape for key, v in built.items()}
