"""Convolutions over maps of few pixels, without the products whose factor is padding.

A 3x3 kernel over a map of 2x2 pixels with a border of zeros takes 36 products of a weight with a pixel for each pair of
channels, and 20 of them are with the border. Here each tap of the kernel (one of its 3x3 places) is one product of
matrices, over the pixels that it meets. What is added up is the same as in `torch.nn.Conv2d`, in another order.
"""

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.config.models import TrainerConfig

_STRIDE = 32
"""Pixels of the image along a side, for each of a map of the last block."""
_UP_TO = 4
"""Pixels along a side; larger maps are computed no faster so."""


def has_small_maps(trainer: TrainerConfig, image_size: int) -> bool:
    """Say whether the maps of the last block are so small that its convolutions are computed by taps.

    They are on a CPU in fp32; for a GPU and for other precisions nothing was measured. The rule knows the configuration
    only, as the last bit of a result depends on it.

    Args:
        trainer: With accelerator and precision in concrete terms.
        image_size: Pixels along a side.
    """
    return trainer.accelerator == "cpu" and trainer.precision == "32-true" and image_size <= _UP_TO * _STRIDE


def use_taps(block: nn.Module, memory_format: torch.memory_format) -> None:
    """Compute the convolutions of a block by taps, where their kernels have more than one.

    Args:
        block: Of a ResNet: its convolutions have no bias, groups or dilation. Their weights become new parameters,
            which train where the old ones did.
        memory_format: How activations lie in memory.
    """
    for module in list(block.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
                setattr(module, name, TapConv2d(child, memory_format))


class TapConv2d(nn.Module):
    """A convolution computed by taps. Its state dict is that of the `torch.nn.Conv2d` that it replaces.

    Args:
        conv: The convolution to compute; without bias, groups and dilation.
        memory_format: How the output is to lie in memory.

    Attributes:
        weight: (kernel rows, kernel columns, channels out, channels in), so that the weights of a tap lie together, and
            that torch's fused optimizers need no copy of the gradient.
    """

    def __init__(self, conv: nn.Conv2d, memory_format: torch.memory_format) -> None:
        super().__init__()
        weight = conv.weight.detach().permute(2, 3, 0, 1).contiguous()
        self.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        self.stride = conv.stride
        self.padding = tuple(map(int, conv.padding))
        self.memory_format = memory_format
        self.register_state_dict_post_hook(_to_conv)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_conv)  # type: ignore[no-untyped-call]

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve maps of (images, channels, rows, columns)."""
        rows, columns = (
            _Axis(maps.shape[2 + axis], self.weight.shape[axis], self.stride[axis], self.padding[axis])
            for axis in (0, 1)
        )
        convolved: Tensor = _SumOfTaps.apply(maps, self.weight, rows, columns)
        return convolved.contiguous(memory_format=self.memory_format)


def _to_conv(_: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"].permute(2, 3, 0, 1)


def _from_conv(_: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    if f"{prefix}weight" in state:  # else torch says that it is missing
        state[f"{prefix}weight"] = state[f"{prefix}weight"].permute(2, 3, 0, 1)


class _Axis:
    """One axis of a convolution.

    Attributes:
        outputs: Pixels of the output.
        taps: Those that meet any pixel: number, the pixels that it meets, the outputs to which it adds.
    """

    def __init__(self, size: int, kernel: int, stride: int, padding: int) -> None:
        self.outputs = (size + 2 * padding - kernel) // stride + 1
        self.taps: list[tuple[int, slice, slice]] = []
        for tap in range(kernel):
            met = [output for output in range(self.outputs) if 0 <= output * stride + tap - padding < size]
            if met:
                first, last = (output * stride + tap - padding for output in (met[0], met[-1]))
                self.taps.append((tap, slice(first, last + 1, stride), slice(met[0], met[-1] + 1)))


class _SumOfTaps(torch.autograd.Function):
    """The convolution and its gradients. Within, maps are (rows, columns, images, channels)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
        pixels = maps.permute(2, 3, 0, 1).contiguous()
        ctx.save_for_backward(pixels, weight)
        ctx.axes = rows, columns
        convolved = pixels.new_zeros(rows.outputs, columns.outputs, pixels.shape[2], weight.shape[2])
        for row, met_rows, to_rows in rows.taps:
            for column, met_columns, to_columns in columns.taps:
                met = pixels[met_rows, met_columns]
                added = met.flatten(end_dim=2) @ weight[row, column].t()
                convolved[to_rows, to_columns] += added.view(*met.shape[:3], -1)
        return convolved.permute(2, 3, 0, 1)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        pixels, weight = ctx.saved_tensors
        rows, columns = ctx.axes
        of_output = of_output.permute(2, 3, 0, 1).contiguous()
        of_pixels = torch.zeros_like(pixels) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        if of_weight is not None and len(rows.taps) * len(columns.taps) < weight.shape[0] * weight.shape[1]:
            of_weight.zero_()  # a tap that meets padding only
        for row, met_rows, to_rows in rows.taps:
            for column, met_columns, to_columns in columns.taps:
                given = of_output[to_rows, to_columns]
                flat = given.flatten(end_dim=2)
                if of_pixels is not None:
                    of_pixels[met_rows, met_columns] += (flat @ weight[row, column]).view(*given.shape[:3], -1)
                if of_weight is not None:
                    met = pixels[met_rows, met_columns].flatten(end_dim=2)
                    torch.mm(flat.t(), met, out=of_weight[row, column])
        return None if of_pixels is None else of_pixels.permute(2, 3, 0, 1), of_weight, None, None
