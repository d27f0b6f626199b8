"""LoRA against its definition: the layer itself, with the weight W + (8 / R) B A worked out by numpy."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vision_transformer import VisionTransformer

from orchestrator.errors import ConfigError
from orchestrator.training.kernels.convolutions import QuickConv2d, quicken_convolutions
from orchestrator.training.network.lora import SummedLora, ThinLora, add_factors, list_factors, merge_factors

RANK = 3
torch.manual_seed(0)  # the layers are the same in each process
LAYERS = {
    "linear": (nn.Linear(6, 5), (4, 6), ThinLora),
    "linear of tokens, no bias": (nn.Linear(6, 5, bias=False), (2, 7, 6), ThinLora),
    "1x1": (nn.Conv2d(4, 6, 1), (2, 4, 5, 5), ThinLora),
    "strides": (nn.Conv2d(4, 6, 3, stride=(2, 1), padding=1, bias=False), (2, 4, 7, 9), ThinLora),
    "dilation": (nn.Conv2d(4, 6, 3, dilation=2, padding=(2, 0)), (2, 4, 9, 9), ThinLora),
    "padding by name": (nn.Conv2d(4, 6, (3, 5), padding="same"), (2, 4, 8, 8), ThinLora),
    "padding by reflection": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 6, 6), ThinLora),
    "groups": (nn.Conv2d(6, 9, 3, groups=3, padding=1), (2, 6, 6, 6), SummedLora),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, stride=2), (2, 6, 7, 7), SummedLora),
    "one dimension": (nn.Conv1d(4, 6, 3), (2, 4, 9), SummedLora),
}


def tune(layer: nn.Module, rank: int = RANK, seed: int = 0) -> nn.Sequential:
    """A network of that layer with factors of which none is zero."""
    network = nn.Sequential(copy.deepcopy(layer)).requires_grad_(requires_grad=False)
    torch.manual_seed(seed)
    add_factors(network, [network], rank)
    for factor in list_factors(network):
        nn.init.normal_(factor)
    return network


def change_of(lora: nn.Module) -> np.ndarray:
    """The change of the weight by its definition, in double precision."""
    up, down = (next(iter(getattr(lora, name).parameters())).detach().double().numpy() for name in ("up", "down"))
    change = np.zeros((len(up), down[0].size))
    for row in range(len(up)):
        for rank in range(len(down)):
            change[row] += 8 / len(down) * up[row].ravel()[rank] * down[rank].ravel()
    return change


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_with_its_weight_and_the_change(name):
    layer, shape, kind = LAYERS[name]
    network = tune(layer)
    assert type(network[0]) is kind
    value = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    plain = copy.deepcopy(layer).double()
    changed = plain.weight.detach().numpy() + change_of(network[0]).reshape(plain.weight.shape)
    plain.weight.data = torch.from_numpy(changed)
    expected = plain(value.double())
    torch.testing.assert_close(network(value).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network[0].weight.double(), plain.weight.data, rtol=1e-6, atol=1e-6)
    # merged it is that layer again, with its names
    assert merge_factors(network)
    assert network.state_dict().keys() == nn.Sequential(layer).state_dict().keys()
    torch.testing.assert_close(network.state_dict()["0.weight"].double(), plain.weight.data, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(network(value).double(), expected, rtol=1e-4, atol=1e-4)
    assert list_factors(network) == []
    before = copy.deepcopy(network.state_dict())
    merge_factors(network)  # a second time changes nothing
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_factors_are_those_of_the_definition(name):
    """By the chain rule from the gradient of the whole weight, which autograd works out for the plain layer."""
    layer, shape, _ = LAYERS[name]
    network = tune(layer)
    value = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    network(value).square().sum().backward()
    plain = nn.Sequential(copy.deepcopy(layer)).double()
    plain[0].weight.data = network[0].weight.detach().double()
    plain(value.double()).square().sum().backward()
    of_weight = plain[0].weight.grad.flatten(1)
    up, down = (next(iter(getattr(network[0], side).parameters())) for side in ("up", "down"))
    expected_up = 8 / RANK * of_weight @ down.detach().double().flatten(1).t()
    expected_down = 8 / RANK * up.detach().double().flatten(1).t() @ of_weight
    for factor, expected in ((up, expected_up), (down, expected_down)):
        assert torch.dist(factor.grad.double().flatten(1), expected) <= 1e-5 * expected.norm()
    assert {p.requires_grad for p in network[0].base.parameters()} == {False}
    assert [p.grad for p in network[0].base.parameters()] == [None] * len(list(network[0].base.parameters()))


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_changes_at_first_and_the_start_is_drawn_within_its_bounds(name):
    layer, shape, _ = LAYERS[name]
    network = nn.Sequential(copy.deepcopy(layer))
    torch.manual_seed(5)
    add_factors(network, [network], RANK)
    value = torch.randn(shape)
    assert torch.equal(network(value), layer(value))
    down, up = (next(iter(getattr(network[0], side).parameters())) for side in ("down", "up"))
    # Kaiming's uniform rule with a = sqrt(5): gain sqrt(2 / 6), bound gain * sqrt(3 / inputs) = 1 / sqrt(inputs)
    bound = 1 / math.sqrt(down[0].numel())
    assert 0.6 * bound < down.abs().max() <= bound
    assert not up.any()
    again = nn.Sequential(copy.deepcopy(layer))
    torch.manual_seed(5)
    add_factors(again, [again], RANK)
    assert all(torch.equal(a, b) for a, b in zip(list_factors(network), list_factors(again), strict=True))


def test_a_state_dict_has_the_names_of_before_and_the_factors_and_goes_back_and_forth():
    network = tune(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2)))
    plain = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2)))
    state = network.state_dict()
    factors = {"0.0.down.weight", "0.0.up.weight", "0.2.down.0", "0.2.up.0"}
    assert state.keys() == plain.state_dict().keys() | factors
    assert network.load_state_dict(plain.state_dict(), strict=False).missing_keys == sorted(factors)
    assert torch.equal(network[0][0].base.weight, plain[0][0].weight)
    assert network.load_state_dict(state) == ([], [])
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())
    value = torch.randn(2, 3, 8, 8)
    for same in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(same.eval()(value), network.eval()(value))


def test_a_rank_beyond_the_smaller_side_of_a_weight_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 64, 7), nn.Conv2d(64, 64, 3, groups=64))
    add_factors(network, [network[0]], 64)  # 64 by 3 * 7 * 7
    assert [list(factor.shape) for factor in list_factors(network)] == [[64, 3, 7, 7], [64, 64, 1, 1]]
    with pytest.raises(ConfigError, match=r"^lora-10 is more than 1\.weight can have, a matrix of 64 by 9$") as caught:
        add_factors(network, [network[1]], 10)
    assert caught.value.hint == "lora-9 is the most for this block"


def test_only_the_parts_that_are_named_get_factors():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4))
    add_factors(network, [network[1], network[2]], 2)
    assert [type(module) for module in (network[0], network[1][0], network[2])] == [nn.Linear, ThinLora, ThinLora]


def test_a_layer_that_stands_twice_is_tuned_once():
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    add_factors(network, [network], 2)
    assert network[0] is network[2]
    assert len(list_factors(network)) == 2


def test_a_thin_layer_computes_no_gradient_of_the_whole_weight():
    network = tune(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False)), rank=4)
    value = torch.zeros(1, 64, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        network(value).sum().backward()
    whole, thin, up = (2 * 64 * out * kernel * 8 * 8 for out, kernel in ((64, 9), (4, 9), (4, 1)))
    # forward and the gradient of the input for all, that of the weight for what trains
    assert counter.get_total_flops() == 2 * whole + 3 * (thin + up)


def test_quick_convolutions_take_the_place_of_the_layer_and_not_of_the_thin_one():
    layer = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1, bias=False))
    network, value = tune(layer), torch.randn(2, 128, 8, 8)
    expected = network(value)
    quicken_convolutions(network, value[:1], torch.contiguous_format)
    lora = network[0][0]
    assert type(lora.base) is QuickConv2d
    assert [module for module in network.modules() if isinstance(module, QuickConv2d)] == [lora.base]
    torch.testing.assert_close(network(value), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    torch.testing.assert_close(lora.weight, tune(layer)[0][0].weight)
    merge_factors(network)
    torch.testing.assert_close(network(value), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    plain = copy.deepcopy(layer)
    plain.load_state_dict({name.removeprefix("0."): tensor for name, tensor in network.state_dict().items()})
    torch.testing.assert_close(plain(value), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_attention_is_tuned_in_its_projections():
    attention, value = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 5, 8)
    network = tune(attention, rank=2)
    assert set(network[0].names) == {"in_proj_weight", "out_proj.weight"}
    plain = copy.deepcopy(attention)
    with torch.no_grad():
        for name, up, down in zip(network[0].names, network[0].up, network[0].down, strict=True):
            plain.get_parameter(name).add_(4 * up @ down)
    expected, _ = plain(value, value, value, need_weights=False)
    found, _ = network[0](value, value, value, need_weights=False)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(factor.grad is not None and factor.grad.any() for factor in list_factors(network))


NETWORKS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=3),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=3),
    "vit": lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_in_whole_networks_no_factor_is_without_effect(name):
    """Some networks take the weights of their layers and compute themselves: a layer beside would never be called."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval().requires_grad_(requires_grad=False)
    if name == "vit":
        nn.init.normal_(network.heads.head.weight)
    images = torch.randn(2, 3, 32, 32)
    before = network(images)
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    add_factors(network, [network], 1)
    assert torch.equal(network(images), before) or torch.allclose(network(images), before, atol=1e-6)
    for factor in list_factors(network):
        nn.init.normal_(factor, std=0.1)
    changed = network(images)
    functional.cross_entropy(changed, torch.tensor([0, 1])).backward()
    without = [factor for factor in list_factors(network) if factor.grad is None or not factor.grad.any()]
    assert not without
    assert len(list_factors(network)) == 2 * len(layers) + 2 * sum(
        isinstance(m, nn.MultiheadAttention) for m in network.modules()
    )
    assert not torch.allclose(changed, before, rtol=1e-2)
    merge_factors(network)
    assert torch.dist(network(images), changed) <= 1e-4 * changed.norm()
