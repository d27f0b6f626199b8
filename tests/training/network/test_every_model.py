"""Networks of torchvision and timm: blocks that hold all parameters, and cuts that are replayed to the last bit.

A few small ones by default, all of them with `make test-models`.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from orchestrator.backbones import HEAD, Backbone
from orchestrator.discovery import TORCHVISION
from orchestrator.training.network.architectures import build_random, find_smallest_size
from orchestrator.training.network.backbones import network_span
from orchestrator.training.network.finding import enliven, find_blocks

SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf")
TOO_LARGE = {"regnet_y_128gf", "vit_h_14"}
"""Networks of more than 600 million parameters: 8 GB with what is computed beside them."""
TIMM = """
resnet18 resnetv2_50 convnext_atto convnextv2_atto efficientnet_b0 tf_efficientnet_lite0 mobilenetv3_small_100
mobilenetv4_conv_small regnety_002 vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224
mixer_s32_224 nfnet_l0 rexnet_100 densenet121 dpn68 pvt_v2_b0 edgenext_xx_small fastvit_t8 mobilevit_xxs ghostnet_100
poolformer_s12 dla34 res2net50_26w_4s efficientvit_b0 cspresnet50 tiny_vit_5m_224 maxvit_rmlp_pico_rw_256
coatnet_nano_rw_224
"""
CLASSES = 5


@dataclass(frozen=True)
class Cut:
    """A network at a size that it takes, and how it is cut."""

    network: nn.Module
    known: Backbone
    size: int


def cut(name: str) -> Cut:
    known = Backbone(**find_blocks(name))
    size = 64 if (find_smallest_size(name, 63) or known.image_size) <= 64 else known.image_size
    torch.manual_seed(1)
    network = build_random(name, CLASSES, size)
    enliven(network, size)
    return Cut(network, known, size)


def list_names() -> list[object]:
    marks = [pytest.mark.models, pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")]
    return [
        *SMALL,
        *(pytest.param(name, marks=pytest.mark.models) for name in TORCHVISION if name not in {*SMALL, *TOO_LARGE}),
        *(pytest.param(f"timm/{name}", marks=marks) for name in TIMM.split()),
    ]


def choose_places(known: Backbone) -> list[int]:
    """Take the first cut, one in the middle and the last: places of parts as `network_span` counts them."""
    cuts = [place for place, part in enumerate(known.parts) if part in known.cuts]
    return sorted({cuts[0], cuts[len(cuts) // 2], cuts[-1]})


def step(network: nn.Module, images: Tensor, *parts: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute logits, and the gradients of a training step."""
    network.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    value = images
    for part in parts:
        value = part(value)
    nn.functional.cross_entropy(value, torch.arange(len(images)) % CLASSES).backward()
    return value.detach(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def restore(network: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])


@pytest.mark.parametrize("name", list_names())
def test_a_network_is_cut_and_replayed(name):
    given = cut(name)
    network, known, size = given.network, given.known, given.size
    named = {n: p for n, p in network.named_parameters() if not known.is_of_head(n)}
    owners = [
        [
            block
            for block, paths in known.modules.items()
            if any(n == path or n.startswith(f"{path}.") for path in paths)
        ]
        for n in named
    ]
    assert all(len(found) == 1 for found in owners)
    assert 3 <= len(known.modules) <= 9
    assert {*known.blocks[1:], HEAD} == set(known.cuts)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    for place in choose_places(known):
        prefix, rest = (network_span(network, known, *ends, image_size=size) for ends in ((0, place), (place,)))
        network.eval().requires_grad_(requires_grad=True)
        with torch.no_grad():
            whole = network(images)
            assert torch.equal(rest(prefix(images)), whole)
            assert len(whole.unique()) > CLASSES  # a head of zeros would make all of this empty
        network.train()
        for module in prefix.modules():
            module.eval()
            module.requires_grad_(requires_grad=False)
        before = {n: b.clone() for n, b in network.named_buffers()}
        logits, gradients = step(network, images, network)
        moved = {n: b.clone() for n, b in network.named_buffers()}
        restore(network, before)
        again, replayed = step(network, images, prefix, rest)
        assert torch.equal(logits, again)
        assert gradients.keys() == replayed.keys() != set()
        assert all(torch.equal(gradients[n], replayed[n]) for n in gradients)
        assert all(torch.equal(moved[n], b) for n, b in network.named_buffers())
        restore(network, before)
