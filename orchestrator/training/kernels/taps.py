"""Convolutions over maps of few pixels, without the products whose factor is padding.

A 3x3 kernel over a map of 2x2 pixels with a border of zeros takes 36 products of a weight with a pixel for each pair of
channels, and 20 of them are with the border. Here each tap of the kernel (one of its 3x3 places) is one product of
matrices, over the pixels that it meets. What is added up is the same as in `torch.nn.Conv2d`, in another order.
"""

from typing import Any

import torch
from torch import Tensor

from orchestrator.training.kernels.products import multiply_rows


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


class SumOfTaps(torch.autograd.Function):
    """The convolution and its gradients. Within, maps are (rows, columns, images, channels)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Convolve.

        Args:
            ctx: Torch's, for the backward pass.
            maps: (images, channels, rows, columns).
            weight: (kernel rows, kernel columns, channels out, channels in).
            stride: Pixels from one output to the next, along both axes.
            padding: Zeros on each side.

        Returns:
            (images, channels, rows, columns).
        """
        rows, columns = (_Axis(maps.shape[2 + axis], weight.shape[axis], stride, padding) for axis in (0, 1))
        pixels = maps.permute(2, 3, 0, 1).contiguous()
        ctx.save_for_backward(pixels, weight)
        ctx.axes = rows, columns
        convolved = pixels.new_zeros(rows.outputs, columns.outputs, pixels.shape[2], weight.shape[2])
        for row, met_rows, to_rows in rows.taps:
            for column, met_columns, to_columns in columns.taps:
                met = pixels[met_rows, met_columns]
                added = multiply_rows(met.flatten(end_dim=2), weight[row, column].t())
                convolved[to_rows, to_columns] += added.view(*met.shape[:3], -1)
        return convolved.permute(2, 3, 0, 1)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of maps and weight, of those that are asked for."""
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
