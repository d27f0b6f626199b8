"""Convolutions on a CPU with fewer products than `torch.nn.Conv2d` computes, where that is faster.

Which ones are computed so follows from the configuration only: the last bit of a result depends on it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.blocks import BLOCKS
from orchestrator.config.models import TrainerConfig
from orchestrator.training.kernels.taps import SumOfTaps
from orchestrator.training.kernels.winograd import TILE, Winograd

_CHANNELS = 128
"""With fewer, the additions that Winograd's algorithm takes cost about as much as the products that it saves."""


def has_quick_convolutions(trainer: TrainerConfig) -> bool:
    """Say whether convolutions are computed with fewer products.

    They are on a CPU in fp32; for a GPU and for other precisions nothing was measured.

    Args:
        trainer: With accelerator and precision in concrete terms.
    """
    return trainer.accelerator == "cpu" and trainer.precision == "32-true"


def quicken_convolutions(
    network: nn.Module, backbone: str, image_size: int, memory_format: torch.memory_format
) -> None:
    """Put quicker convolutions into the blocks of a network, in place.

    Args:
        network: A ResNet, with its weights, what is frozen in it frozen.
        backbone: Its name.
        image_size: Pixels along a side.
        memory_format: How activations lie in memory.
    """
    for block in BLOCKS[backbone][1:]:
        quicken_block(network.get_submodule(block), map_side(backbone, block, image_size), memory_format)


def map_side(backbone: str, block: str, image_size: int) -> int:
    """Give the pixels along a side of the maps that a block of a ResNet gives; of the stem, what its pooling gives."""
    halvings = 1 + max(1, BLOCKS[backbone].index(block))
    side = image_size
    for _ in range(halvings):
        side = (side + 1) // 2
    return side


def quicken_block(block: nn.Module, side: int, memory_format: torch.memory_format) -> None:
    """Put quicker convolutions into one block, in place.

    Args:
        block: Of a ResNet: its convolutions have no bias, groups or dilation, and are square. Their weights become new
            parameters, which train where the old ones did.
        side: Pixels along a side of the maps that it gives.
        memory_format: How activations lie in memory.
    """
    for module in list(block.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and (function := _choose(child, side)) is not None:
                setattr(module, name, QuickConv2d(child, function, memory_format))


def _choose(conv: nn.Conv2d, side: int) -> type[SumOfTaps | Winograd] | None:
    if conv.kernel_size == (1, 1):
        return None
    fits = (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
    if fits and side >= TILE and conv.in_channels >= _CHANNELS:
        return Winograd
    return SumOfTaps if side <= TILE else None


class QuickConv2d(nn.Module):
    """A convolution computed in another way. Its state dict is that of the `torch.nn.Conv2d` that it replaces.

    Args:
        conv: The convolution to compute; square, without bias, groups and dilation.
        function: How it is computed.
        memory_format: How the output is to lie in memory.

    Attributes:
        weight: (kernel rows, kernel columns, channels out, channels in), so that the weights of a place of the kernel
            lie together, and that torch's fused optimizers need no copy of the gradient.
    """

    def __init__(
        self, conv: nn.Conv2d, function: type[SumOfTaps | Winograd], memory_format: torch.memory_format
    ) -> None:
        super().__init__()
        weight = conv.weight.detach().permute(2, 3, 0, 1).contiguous()
        self.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        self.function = function
        self.stride, self.padding = conv.stride[0], int(conv.padding[0])
        self.memory_format = memory_format
        self.register_state_dict_post_hook(_to_conv)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_conv)  # type: ignore[no-untyped-call]

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve maps of (images, channels, rows, columns)."""
        convolved: Tensor = self.function.apply(maps, self.weight, self.stride, self.padding)
        return convolved.contiguous(memory_format=self.memory_format)


def _to_conv(_: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"].permute(2, 3, 0, 1)


def _from_conv(_: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    if f"{prefix}weight" in state:  # else torch says that it is missing
        state[f"{prefix}weight"] = state[f"{prefix}weight"].permute(2, 3, 0, 1)
