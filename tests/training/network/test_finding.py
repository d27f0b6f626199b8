"""Blocks that are found: where they lie, what they are called, and what they refuse."""

import sys

import pytest
import torch
import torchvision
from torch import nn

from orchestrator.backbones import BACKBONES, HEAD, find_backbone
from orchestrator.config.models import ModelConfig
from orchestrator.discovery import OWN, TORCHVISION
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.network import architectures
from orchestrator.training.network.architectures import build_random, find_smallest_size, require_size
from orchestrator.training.network.cuts import CutFinder
from orchestrator.training.network.finding import find_blocks
from tests.training.network import nets

PLAIN, BRIDGED, WRONG, TRANSFORMER = (
    f"{nets.__name__}:build_{each}" for each in ("plain", "bridged", "wrong", "transformer")
)


def count_parameters(name: str, paths: list[str]) -> int:
    """Count by name, without the package's own way to look blocks up."""
    named = dict(build_random(name, 13, 64).named_parameters())
    return sum(p.numel() for n, p in named.items() if any(n == path or n.startswith(f"{path}.") for path in paths))


def test_the_names_are_those_of_torchvision():
    assert sorted(TORCHVISION) == torchvision.models.list_models(module=torchvision.models)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.models)])
def test_the_resnets_have_the_blocks_that_are_stated(name):
    known, found = find_backbone(name), find_blocks(name)
    last = list(known.modules)[-1]
    stated = {block: [*paths, *(known.pool if block == last else ())] for block, paths in known.modules.items()}
    assert found["modules"] == stated
    assert found["head"] == known.head
    assert found["cuts"] == {**{block: f"{block}.0" for block in list(stated)[1:]}, HEAD: "fc"}


def test_every_residual_block_is_one_of_its_own_if_asked():
    """ResNet18: conv1 and bn1 3*64*49 + 128 = 9,536; a basic block of 64 channels 2 * (64*64*9 + 128) = 73,984."""
    found = find_blocks("resnet18", "unit")["modules"]
    assert list(found) == ["stem", *(f"layer{layer}.{number}" for layer in range(1, 5) for number in range(2))]
    counts = {block: count_parameters("resnet18", paths) for block, paths in found.items()}
    assert (counts["stem"], counts["layer1.0"], counts["layer1.1"]) == (9_536, 73_984, 73_984)
    assert sum(counts.values()) == 11_176_512  # all but the head


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("mobilenet_v3_small", ["stem", "features.2-3", "features.4-8", "features.9-12", "classifier.0-1"]),
        ("squeezenet1_1", ["stem", "features.3-5", "features.6-8", "features.9-12"]),
        ("shufflenet_v2_x0_5", ["stem", "stage2", "stage3", "stage4"]),
        ("regnet_y_400mf", ["stem", "block1", "block2", "block3", "block4"]),
        (TRANSFORMER, ["stem", *(f"encoder_layer_{k}-{k + 1}" for k in (0, 2, 4, 6))]),
    ],
)
def test_blocks_are_named_after_the_networks_modules(name, blocks):
    assert list(find_backbone(name).modules) == blocks


def test_parameters_that_no_module_holds_belong_to_the_block_that_uses_them_first():
    stem = find_backbone(TRANSFORMER).modules["stem"]
    assert {"conv_proj", "class_token", "encoder.pos_embedding"} <= set(stem)


def test_a_plain_row_is_cut_where_the_maps_get_smaller():
    """The dropout before the pooling belongs to the head: it stays on where all blocks are frozen."""
    found = find_blocks(PLAIN)
    assert list(found["modules"].values()) == [["0", "1", "2"], ["3"], ["4"]]
    assert list(found["cuts"].values()) == ["5", "3", "4"]
    assert found["head"] == "8"


def test_small_linear_layers_behind_the_maps_belong_to_the_last_block():
    """They have 8 * 4 + 4 = 36 of 43,372 parameters: less than 5 %, so they are no block of their own."""
    found = find_blocks(f"{nets.__name__}:build_hidden")
    assert list(found["modules"].values()) == [["0"], ["1"], ["2", "3", "4", "5"]]


def test_a_block_that_something_passes_by_is_no_cut():
    found = find_blocks(BRIDGED)
    assert list(found["modules"].values()) == [["first", "offset"], ["second"], ["third"]]
    assert found["cuts"] == {list(found["modules"])[2]: "third", HEAD: "head"}


def test_poison_finds_what_passes_by():
    torch.manual_seed(0)
    finder = CutFinder(nets.build_bridged(5).eval(), 16)
    assert [finder.is_cut(path) for path in ("first", "second", "third", "head")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"a": ("first",), "b": ("third", "offset")}, "no block has second.weight, second.bias"),
        ({"a": ("first", "second"), "b": ("second", "third", "offset")}, r"held twice: second.weight \(a, b\)"),
        ({"a": ("first", "second", "third", "offset", "head")}, "head holds the head"),
        ({"a": ("first", "second", "third", "offset", "fourth")}, "the network has no fourth"),
    ],
)
def test_given_blocks_must_cover_every_parameter_once(blocks, said):
    with pytest.raises(ConfigError, match=rf"model\.blocks: .*{said}"):
        find_blocks(BRIDGED, blocks=tuple(blocks.items()))


def test_given_blocks_are_put_in_network_order():
    model = ModelConfig(backbone=BRIDGED, blocks={"late": ("third",), "early": ("first", "second", "offset")})
    assert model.network.blocks == ("early", "late")
    assert model.network.cuts == {"late": "third", HEAD: "head"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (WRONG, r"gives a tensor \[2, 14\] for 2 images, not \[2, 13\]"),
        (f"{nets.__name__}:build_nothing", "returns a str, not a torch.nn.Module"),
        (f"{nets.__name__}:build_gone", "cannot be imported: .* has no attribute 'build_gone'"),
        ("no.such.module:build", "cannot be imported: No module named 'no'"),
    ],
)
def test_a_function_that_builds_something_else_is_refused(name, said):
    assert OWN.fullmatch(name)
    with pytest.raises(ConfigError, match=rf"model\.backbone: .*{said}"):
        find_blocks(name)


def test_timm_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SetupError, match="need the package timm") as caught:
        build_random("timm/resnet18")
    assert caught.value.hint == "pip install 'freeze-orchestrator[timm]'"


def test_a_size_that_is_too_small_is_refused_with_the_smallest():
    """AlexNet halves its images five times: 63 pixels become one, as torchvision states (`min_size`)."""
    smallest = torchvision.models.AlexNet_Weights.DEFAULT.meta["min_size"][0]
    assert find_smallest_size("alexnet") == smallest == 63
    empty = architectures.build_empty("alexnet")
    require_size(empty, "alexnet", 63)
    with pytest.raises(ConfigError, match=r"data\.image_size: alexnet cannot take images of 32 px") as caught:
        require_size(empty, "alexnet", 32)
    assert caught.value.hint == "the smallest that it takes have 63 px"


def test_a_package_may_shadow_a_name_of_torchvision(monkeypatch):
    monkeypatch.setitem(BACKBONES._shipped, "alexnet", find_backbone("resnet18"))
    assert find_backbone("alexnet") is find_backbone("resnet18")


def test_googlenet_takes_the_input_of_its_weights_and_has_no_auxiliary_classifiers():
    network = build_random("googlenet", 5)
    assert network.transform_input
    assert not any(isinstance(module, nn.Module) for module in (network.aux1, network.aux2))
