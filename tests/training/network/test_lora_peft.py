"""LoRA beside Hugging Face's PEFT, where that is installed: `pip install peft`, which needs transformers."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from orchestrator.training.network.lora import ThinLora, add_factors, list_factors, merge_factors

peft = pytest.importorskip("peft", exc_type=ImportError)
RANK = 4


@pytest.fixture(scope="module")
def networks():
    """A ResNet18 with factors of ours, and one with PEFT's of the same values."""
    torch.manual_seed(0)
    plain = torchvision.models.resnet18(num_classes=3).eval()
    ours = copy.deepcopy(plain)
    add_factors(ours, [ours.layer2, ours.layer3], RANK)
    names = [name for name, module in plain.named_modules() if isinstance(module, nn.Conv2d)]
    target = [name for name in names if name.startswith(("layer2.", "layer3."))]
    # alpha is left at PEFT's default, as ours is
    theirs = peft.get_peft_model(copy.deepcopy(plain), peft.LoraConfig(r=RANK, target_modules=target)).eval()
    return plain, ours, theirs, target


def pairs(networks):
    _, ours, theirs, target = networks
    for name in target:
        layer = theirs.base_model.model.get_submodule(name)
        yield ours.get_submodule(name), layer.lora_A["default"], layer.lora_B["default"]


def test_the_same_layers_have_factors_of_the_same_shapes_and_of_the_same_start(networks):
    for one, down, up in pairs(networks):
        assert isinstance(one, ThinLora)
        assert (one.down.weight.shape, one.up.weight.shape) == (down.weight.shape, up.weight.shape)
        assert not one.up.weight.any()
        assert not up.weight.any()
        # drawn from the same interval: the largest of many numbers is near its end
        assert one.down.weight.abs().max().item() == pytest.approx(down.weight.abs().max().item(), rel=0.1)
    trainable = sum(p.numel() for p in networks[2].parameters() if p.requires_grad)
    assert sum(factor.numel() for factor in list_factors(networks[1])) == trainable


def test_outputs_and_gradients_are_equal_to_the_last_bit_and_merged_to_rounding(networks):
    _, ours, theirs, _ = networks
    torch.manual_seed(1)
    for one, down, up in pairs(networks):
        for mine, other in ((one.down, down), (one.up, up)):
            nn.init.normal_(mine.weight, std=0.05)
            other.weight.data.copy_(mine.weight)
    images = torch.randn(4, 3, 64, 64)
    found, expected = ours(images), theirs(images)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for one, down, up in pairs(networks):
        assert torch.equal(one.down.weight.grad, down.weight.grad)
        assert torch.equal(one.up.weight.grad, up.weight.grad)
    merge_factors(ours)
    merged = theirs.merge_and_unload().state_dict()
    assert ours.state_dict().keys() == merged.keys()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, merged[name], rtol=1e-6, atol=1e-6)
