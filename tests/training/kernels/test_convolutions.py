"""Convolutions with fewer products: what `torch.nn.Conv2d` gives, and the same state."""

import pytest
import torch
import torchvision
from torch import nn

from orchestrator.config.models import ModelConfig, TrainerConfig
from orchestrator.records.place import Workplace
from orchestrator.training.kernels import convolutions
from orchestrator.training.kernels.convolutions import (
    QuickConv2d,
    has_quick_convolutions,
    quicken_convolutions,
)
from orchestrator.training.kernels.taps import SumOfTaps
from orchestrator.training.kernels.winograd import Winograd
from orchestrator.training.network.backbones import build_network
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, parse

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
EACH = pytest.mark.parametrize("function", [SumOfTaps, Winograd])


def make_pair(function, stride=1, *, trains=True, memory_format=CONTIGUOUS):
    """Make a convolution and a quick one, in double precision: another order of sums changes 1e-16 of them."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, stride=stride, padding=1, bias=False).double().requires_grad_(trains)
    return conv, QuickConv2d(conv, function, memory_format)


def run_both(pair, size, *, needs_input=True):
    """Give outputs, gradients of the input and gradients of the weight, of both."""
    given = torch.randn(3, 6, *size, dtype=torch.float64)
    found = []
    for module in pair:
        maps = given.clone().requires_grad_(needs_input)
        output = module(maps)
        torch.manual_seed(1)
        output.backward(torch.randn(output.shape, dtype=torch.float64))
        found.append((output.detach(), maps.grad, module.weight.grad))
    return found


@pytest.mark.parametrize(("function", "stride"), [(SumOfTaps, 1), (SumOfTaps, 2), (Winograd, 1)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 3), (4, 2), (7, 6), (8, 8)])
def test_outputs_and_gradients_are_those_of_a_convolution(function, stride, size):
    (output, of_maps, of_weight), quick = run_both(make_pair(function, stride), size)
    expected = output, of_maps, of_weight.permute(2, 3, 0, 1)
    for one, other in zip(expected, quick, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


@EACH
def test_no_gradient_is_computed_of_what_does_not_train(function):
    _, (_, of_maps, of_weight) = run_both(make_pair(function, trains=False), (2, 2))
    assert of_weight is None
    assert of_maps.abs().sum() > 0
    _, (_, of_maps, of_weight) = run_both(make_pair(function), (2, 2), needs_input=False)
    assert of_maps is None
    assert of_weight.abs().sum() > 0


@EACH
@pytest.mark.parametrize("memory_format", [CONTIGUOUS, CHANNELS_LAST])
def test_the_output_lies_as_it_is_asked_however_the_input_lies(function, memory_format):
    _, quick = make_pair(function, memory_format=memory_format)
    for given in (CONTIGUOUS, CHANNELS_LAST):
        output = quick(torch.randn(3, 6, 2, 2, dtype=torch.float64).contiguous(memory_format=given))
        assert output.is_contiguous(memory_format=memory_format)


@EACH
def test_the_optimizer_gets_weights_and_gradients_in_the_order_in_which_they_lie(function):
    _, quick = make_pair(function)
    quick(torch.randn(3, 6, 2, 2, dtype=torch.float64)).sum().backward()
    assert quick.weight.is_contiguous()
    assert quick.weight.grad.is_contiguous()


@EACH
def test_the_state_is_that_of_a_convolution(function):
    conv, quick = make_pair(function)
    assert quick.state_dict().keys() == conv.state_dict().keys()
    assert torch.equal(quick.state_dict()["weight"], conv.weight)
    other = {"weight": torch.randn_like(conv.weight)}
    quick.load_state_dict(other)
    assert torch.equal(quick.state_dict()["weight"], other["weight"])
    assert other["weight"].shape == conv.weight.shape  # what is given is left as it is
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight"'):
        quick.load_state_dict({})


@pytest.mark.parametrize(("function", "size"), [(SumOfTaps, 1), (SumOfTaps, 2), (SumOfTaps, 4), (Winograd, 4)])
def test_an_image_is_computed_alike_to_the_last_bit_however_many_are_beside_it(function, size):
    """The cache counts on it. With few rows, libraries may add up in another order; a single one is theirs to batch."""
    torch.manual_seed(0)
    quick = QuickConv2d(nn.Conv2d(512, 512, 3, padding=1, bias=False), function, CONTIGUOUS)
    maps = torch.randn(40, 512, size, size)
    with torch.no_grad():
        computed = quick(maps)
        assert [n for n in range(1, 40) if not torch.equal(quick(maps[:n]), computed[:n])] == []


@pytest.mark.parametrize("size", [4, 7, 14])
def test_in_fp32_winograds_algorithm_is_about_as_exact_as_the_convolution(size):
    """Against the sum in double precision; the cache counts on an image's not depending on those beside it."""
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    maps, quick = torch.randn(16, 128, size, size), QuickConv2d(conv, Winograd, CONTIGUOUS)
    with torch.no_grad():
        exact = nn.functional.conv2d(maps.double(), conv.weight.double(), padding=1)
        computed = quick(maps)
        assert (computed - exact).abs().max() < 2 * (conv(maps) - exact).abs().max()
        assert all(torch.equal(quick(maps[first:last]), computed[first:last]) for first, last in ((0, 1), (3, 13)))


def test_winograds_algorithm_refuses_what_it_does_not_compute():
    _, quick = make_pair(Winograd, stride=2)
    with pytest.raises(ValueError, match="stride 2, padding 1 and kernel"):
        quick(torch.randn(3, 6, 4, 4, dtype=torch.float64))


def sample(size: int) -> torch.Tensor:
    return torch.zeros(1, 3, size, size)


def list_quick(network: nn.Module) -> dict[str, str]:
    return {
        name: module.function.__name__ for name, module in network.named_modules() if isinstance(module, QuickConv2d)
    }


@pytest.mark.parametrize(("backbone", "image_size"), [("resnet18", 64), ("resnet18", 128), ("resnet50", 64)])
def test_a_network_gives_the_same_and_keeps_its_state_and_what_is_frozen_in_it(backbone, image_size):
    model = ModelConfig(backbone=backbone, weights="none")
    network = build_network(model, 3, 0, parse("layer2+layer4")).eval().double()
    images = torch.randn(2, 3, image_size, image_size, dtype=torch.float64)
    trains = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    expected, state = network(images), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quicken_convolutions(network, sample(image_size).double(), CONTIGUOUS)
    assert list_quick(network)
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == trains


def list_by_name(backbone: str, image_size: int) -> dict[str, str]:
    """Return which convolutions are computed how, by what is known of ResNets alone.

    All but the stem's have a kernel of 1x1 or 3x3; the side of the maps halves, rounded up, in the stem, in its pooling
    and at the start of layer2 to layer4; one 3x3 convolution of each of these three has a stride of 2.
    """
    network, found = build_network(ModelConfig(backbone=backbone, weights="none"), 3, 0, parse("none")), {}
    for number in (1, 2, 3, 4):
        side = image_size
        for _ in range(1 + number):
            side = (side + 1) // 2
        for name, module in network.get_submodule(f"layer{number}").named_modules():
            if not isinstance(module, nn.Conv2d) or module.kernel_size != (3, 3):
                continue
            if module.stride == (1, 1) and module.in_channels >= 128 and side >= 4:
                found[f"layer{number}.{name}"] = "Winograd"
            elif side <= 4:
                found[f"layer{number}.{name}"] = "SumOfTaps"
    return found


@pytest.mark.parametrize("image_size", [8, 32, 33, 64, 100, 128, 224])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_in_a_resnet_the_measured_maps_are_those_that_its_blocks_are_known_to_give(backbone, image_size):
    network = build_network(ModelConfig(backbone=backbone, weights="none"), 3, 0, parse("none"))
    quicken_convolutions(network, sample(image_size), CONTIGUOUS)
    assert list_quick(network) == list_by_name(backbone, image_size)


def test_measuring_moves_no_statistics_no_random_number_and_no_mode():
    network = build_network(ModelConfig(weights="none"), 3, 0, parse("layer1"))
    network.layer1.eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    quicken_convolutions(network, sample(64), CONTIGUOUS)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules() if not isinstance(module, QuickConv2d)] == [
        mode for mode, module in zip(modes, network.modules(), strict=True) if not isinstance(module, QuickConv2d)
    ]
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "vgg11_bn"])
def test_any_network_gives_about_the_same(name):
    """Depthwise convolutions, concatenations, and convolutions with a bias, which stay torch's."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None, num_classes=3).eval()
    images = torch.randn(2, 3, 64, 64)
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    others = {name for name, conv in convs.items() if conv.groups > 1 or conv.bias is not None}
    expected = network(images)
    quicken_convolutions(network, images[:1], CONTIGUOUS)
    assert not others & list_quick(network).keys()
    assert bool(list_quick(network)) == (name == "densenet121")
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


class Odd(nn.Module):
    """Convolutions that no rule fits: used at two sizes, used under two names, never used, of a class of their own."""

    class Scaled(nn.Conv2d):
        def forward(self, maps):
            return 2 * super().forward(maps)

    def __init__(self) -> None:
        super().__init__()
        self.at_two_sizes, self.twice, self.unused = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(3))
        self.again, self.scaled = self.twice, Odd.Scaled(3, 3, 3, padding=1, bias=False)

    def forward(self, maps):
        maps = self.at_two_sizes(self.at_two_sizes(maps)[..., ::2, ::2])
        return self.scaled(self.again(self.twice(maps)))


def test_what_is_used_otherwise_is_left_to_torch_and_what_has_two_names_stays_one():
    network, maps = Odd().double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = network(maps)
    quicken_convolutions(network, maps[:1], CONTIGUOUS)
    assert list_quick(network) == {"twice": "SumOfTaps"}
    assert network.again is network.twice
    torch.testing.assert_close(network(maps), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "cpu", "precision": "32-true"}, True),
        ({"accelerator": "cpu", "precision": "32-true", "convolutions": "torch"}, False),
        ({"accelerator": "cpu", "precision": "bf16-mixed"}, False),
        ({"accelerator": "gpu", "precision": "32-true"}, False),
    ],
)
def test_convolutions_are_quick_on_a_cpu_in_fp32(trainer, expected):
    assert has_quick_convolutions(TrainerConfig(**trainer)) is expected


@pytest.mark.usefixtures("narrow")
def test_a_run_uses_quick_convolutions_and_ends_where_one_without_them_does(tmp_path, monkeypatch):
    monkeypatch.setattr(convolutions, "_CHANNELS", 1)  # the network of this test has few
    results, seen = [], set()
    forward = QuickConv2d.forward

    def note(self, maps):
        seen.add((self.function.__name__, maps.shape[-1]))
        return forward(self, maps)

    monkeypatch.setattr(QuickConv2d, "forward", note)
    of_64 = {("Winograd", 16), ("Winograd", 8), ("Winograd", 4), *(("SumOfTaps", side) for side in (8, 4, 2))}
    for chosen, expected in (("auto", of_64), ("torch", set())):
        spec = make_spec("stem", data=make_data(image_size=64), max_epochs=1, optimizer="sgd", convolutions=chosen)
        place = Workplace(directory=str(tmp_path / str(len(results))), threads=1, cost=make_cost(spec.frozen))
        results.append(run_training(spec, place, lambda _: None))
        assert seen == expected
        seen.clear()
    quick, without = results
    for value in ("train_loss", "val_loss", "test_loss"):
        assert getattr(quick, value) == pytest.approx(getattr(without, value), rel=1e-5)
