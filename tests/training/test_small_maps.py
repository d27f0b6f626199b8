"""Convolutions by taps: what `torch.nn.Conv2d` gives, and the same state."""

import pytest
import torch
from torch import nn

from orchestrator.config.models import ModelConfig, TrainerConfig
from orchestrator.records import Workplace
from orchestrator.training.backbones import build_network
from orchestrator.training.run import run_training
from orchestrator.training.small_maps import TapConv2d, has_small_maps, use_taps
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, parse

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


def make_pair(stride: int = 1, *, trains: bool = True, memory_format: torch.memory_format = CONTIGUOUS):
    """Make a convolution and the one by taps, in double precision: another order of sums changes 1e-16 of them."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, stride=stride, padding=1, bias=False).double().requires_grad_(trains)
    return conv, TapConv2d(conv, memory_format)


def run_both(conv, taps, size, *, needs_input=True):
    """Give outputs, gradients of the input and gradients of the weight, of both."""
    given = torch.randn(3, 6, *size, dtype=torch.float64)
    found = []
    for module in (conv, taps):
        maps = given.clone().requires_grad_(needs_input)
        output = module(maps)
        torch.manual_seed(1)
        output.backward(torch.randn(output.shape, dtype=torch.float64))
        found.append((output.detach(), maps.grad, module.weight.grad))
    return found


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 3), (4, 2), (8, 8)])
def test_outputs_and_gradients_are_those_of_a_convolution(size, stride):
    (output, of_maps, of_weight), by_taps = run_both(*make_pair(stride), size)
    expected = output, of_maps, of_weight.permute(2, 3, 0, 1)
    for one, other in zip(expected, by_taps, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


def test_no_gradient_is_computed_of_what_does_not_train():
    _, (_, of_maps, of_weight) = run_both(*make_pair(trains=False), (2, 2))
    assert of_weight is None
    assert of_maps.abs().sum() > 0
    _, (_, of_maps, of_weight) = run_both(*make_pair(), (2, 2), needs_input=False)
    assert of_maps is None
    assert of_weight.abs().sum() > 0


@pytest.mark.parametrize("memory_format", [CONTIGUOUS, CHANNELS_LAST])
def test_the_output_lies_as_it_is_asked_however_the_input_lies(memory_format):
    _, taps = make_pair(memory_format=memory_format)
    for given in (CONTIGUOUS, CHANNELS_LAST):
        output = taps(torch.randn(3, 6, 2, 2, dtype=torch.float64).contiguous(memory_format=given))
        assert output.is_contiguous(memory_format=memory_format)


def test_the_optimizer_gets_weights_and_gradients_in_the_order_in_which_they_lie():
    _, taps = make_pair()
    taps(torch.randn(3, 6, 2, 2, dtype=torch.float64)).sum().backward()
    assert taps.weight.is_contiguous()
    assert taps.weight.grad.is_contiguous()


def test_the_state_is_that_of_a_convolution():
    conv, taps = make_pair()
    assert taps.state_dict().keys() == conv.state_dict().keys()
    assert torch.equal(taps.state_dict()["weight"], conv.weight)
    other = {"weight": torch.randn_like(conv.weight)}
    taps.load_state_dict(other)
    assert torch.equal(taps.state_dict()["weight"], other["weight"])
    assert other["weight"].shape == conv.weight.shape  # what is given is left as it is
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight"'):
        taps.load_state_dict({})


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_block_gives_the_same_and_keeps_its_state_and_what_is_frozen_in_it(backbone):
    model = ModelConfig(backbone=backbone, weights="none")
    networks = [build_network(model, 3, 0, parse(frozen)).eval() for frozen in ("none", "layer4")]
    block, frozen = (network.get_submodule("layer4").double() for network in networks)
    maps = torch.randn(2, {"resnet18": 256, "resnet50": 1024}[backbone], 4, 4, dtype=torch.float64)
    expected, state = block(maps), {name: tensor.clone() for name, tensor in block.state_dict().items()}
    for each in (block, frozen):
        use_taps(each, CONTIGUOUS)
        kernels = {module.kernel_size for module in each.modules() if isinstance(module, nn.Conv2d)}
        assert kernels == {(1, 1)}
    torch.testing.assert_close(block(maps), expected, rtol=1e-9, atol=1e-9)
    assert state.keys() == block.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in block.state_dict().items())
    assert all(parameter.requires_grad for parameter in block.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize(
    ("trainer", "image_size", "expected"),
    [
        ({"accelerator": "cpu", "precision": "32-true"}, 32, True),
        ({"accelerator": "cpu", "precision": "32-true"}, 128, True),
        ({"accelerator": "cpu", "precision": "32-true"}, 129, False),
        ({"accelerator": "cpu", "precision": "bf16-mixed"}, 64, False),
        ({"accelerator": "gpu", "precision": "32-true"}, 64, False),
    ],
)
def test_maps_are_small_up_to_four_pixels(trainer, image_size, expected):
    assert has_small_maps(TrainerConfig(**trainer), image_size) is expected


@pytest.mark.usefixtures("narrow")
def test_a_run_of_small_images_uses_taps_and_ends_where_one_without_them_does(tmp_path, monkeypatch):
    spec = make_spec("stem", data=make_data(image_size=64), max_epochs=1, optimizer="sgd")
    results, sizes = [], set()
    forward = TapConv2d.forward
    monkeypatch.setattr(TapConv2d, "forward", lambda self, maps: sizes.add(maps.shape[-1]) or forward(self, maps))
    for expected in ({4, 2}, set()):
        place = Workplace(directory=str(tmp_path / str(len(results))), threads=1, cost=make_cost(spec.frozen))
        results.append(run_training(spec, place, lambda _: None))
        assert sizes == expected
        sizes.clear()
        monkeypatch.setattr("orchestrator.training.run.has_small_maps", lambda *_: False)
    by_taps, without = results
    for value in ("train_loss", "val_loss", "test_loss"):
        assert getattr(by_taps, value) == pytest.approx(getattr(without, value), rel=1e-5)


@pytest.mark.usefixtures("narrow")
def test_a_run_of_larger_images_uses_none(tmp_path, monkeypatch):
    monkeypatch.setattr(TapConv2d, "forward", None)
    spec = make_spec("none", data=make_data(image_size=129), max_epochs=1)
    run_training(spec, Workplace(directory=str(tmp_path), threads=1, cost=make_cost(spec.frozen)), lambda _: None)
