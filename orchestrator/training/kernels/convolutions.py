"""Convolutions on a CPU with fewer products than `torch.nn.Conv2d` computes, where that is faster.

Which ones are computed so follows from the shapes in the network, the size of the images and the configuration: the
last bit of a result depends on it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.config.models import TrainerConfig
from orchestrator.training.kernels.taps import SumOfTaps
from orchestrator.training.kernels.winograd import TILE, Winograd

_CHANNELS = 128
"""With fewer, the additions that Winograd's algorithm takes cost about as much as the products that it saves."""
_Size = tuple[int, int]
"""Rows and columns."""


def has_quick_convolutions(trainer: TrainerConfig) -> bool:
    """Return whether convolutions are computed with fewer products.

    They are on a CPU in fp32, unless the configuration says otherwise; for a GPU and for other precisions nothing was
    measured.

    Args:
        trainer: With accelerator and precision in concrete terms.
    """
    return trainer.convolutions == "auto" and trainer.accelerator == "cpu" and trainer.precision == "32-true"


def quicken_convolutions(network: nn.Module, sample: Tensor, memory_format: torch.memory_format) -> None:
    """Put quicker convolutions into a network or a part of one, in place.

    Args:
        network: With its weights, what is frozen in it frozen. The weights of quicker convolutions become new
            parameters, which train where the old ones did.
        sample: An input of it, from which the sizes of all maps are measured: [1, ...] is enough.
        memory_format: How activations lie in memory.
    """
    quick = {
        conv: QuickConv2d(conv, function, memory_format)
        for conv, size in _measure_outputs(network, sample).items()
        if (function := _choose(conv, size)) is not None
    }
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module in quick:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, quick[module])


def _measure_outputs(network: nn.Module, sample: Tensor) -> dict[nn.Conv2d, _Size]:
    """Measure the maps that each convolution gives; those that give maps of several sizes are left out."""
    found: dict[nn.Conv2d, set[_Size]] = {}

    def note(conv: nn.Module, _: object, output: Tensor) -> None:
        found.setdefault(conv, set()).add((output.shape[-2], output.shape[-1]))  # type: ignore[arg-type]

    modes = {module: module.training for module in network.modules()}
    # a subclass may compute something else
    hooks = [module.register_forward_hook(note) for module in modes if type(module) is nn.Conv2d]
    try:
        with torch.inference_mode():
            network.eval()(sample)  # no statistics move
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return {conv: sizes.pop() for conv, sizes in found.items() if len(sizes) == 1}


def _choose(conv: nn.Conv2d, size: _Size) -> type[SumOfTaps | Winograd] | None:
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.bias is None and conv.padding_mode == "zeros"
    if not plain or conv.kernel_size != (3, 3) or conv.padding != (1, 1) or conv.stride not in ((1, 1), (2, 2)):
        return None
    if conv.stride == (1, 1) and min(size) >= TILE and conv.in_channels >= _CHANNELS:
        return Winograd
    return SumOfTaps if max(size) <= TILE else None


class QuickConv2d(nn.Module):
    """A convolution computed in another way. Its state dict is that of the `torch.nn.Conv2d` that it replaces.

    Args:
        conv: The convolution to compute; square, without bias, groups and dilation, padded with zeros.
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
