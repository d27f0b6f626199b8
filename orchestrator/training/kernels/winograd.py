"""3x3 convolutions with fewer products: Winograd's minimal filtering, F(2x2, 3x3).

Each tile of 4x4 pixels gives 2x2 outputs, with 16 products for each pair of channels where the definition has 36. The
pixels, the weights and the products go through small linear maps, which but for the weights are additions:

    output = A^T [(G weight G^T) * (B^T pixels B)] A

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. The gradients are the transposes
of these maps. For each of the 16 places of a tile, the products over all tiles are one product of matrices.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.kernels.products import multiply_rows

TILE = 4
"""Pixels of a tile along a side. Tiles begin at every second pixel."""
_G = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_KERNEL_MAP = torch.kron(_G, _G)
"""From the 9 weights of a pair of channels to the 16 of its tile."""


class Winograd(torch.autograd.Function):
    """The convolution and its gradients. Within, maps are (images, rows, columns, channels)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Convolve.

        Args:
            ctx: Torch's, for the backward pass.
            maps: (images, channels, rows, columns).
            weight: (3, 3, channels out, channels in).
            stride: Pixels from one output to the next: 1.
            padding: Zeros on each side: 1.

        Returns:
            (images, channels, rows, columns).
        """
        if (stride, padding, *weight.shape[:2]) != (1, 1, 3, 3):
            raise ValueError(
                f"stride {stride}, padding {padding} and kernel {tuple(weight.shape[:2])} are not 1, 1, 3x3"
            )
        tiles = _to_tiles(maps.permute(0, 2, 3, 1).contiguous())
        kernel = (_KERNEL_MAP.to(weight) @ weight.flatten(2).flatten(end_dim=1)).view(TILE**2, *weight.shape[2:])
        products = multiply_rows(tiles.flatten(2, 4).flatten(end_dim=1), kernel.transpose(1, 2))
        ctx.save_for_backward(tiles if ctx.needs_input_grad[1] else None, kernel)
        ctx.size = maps.shape[2:]
        return _sum_products(products.reshape(*tiles.shape[:-1], -1), *ctx.size).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of maps and weight, of those that are asked for."""
        tiles, kernel = ctx.saved_tensors
        of_products = _spread(of_output.permute(0, 2, 3, 1).contiguous())
        flat = of_products.flatten(2, 4).flatten(end_dim=1)
        of_maps = of_weight = None
        if ctx.needs_input_grad[1]:
            of_kernel = torch.bmm(flat.transpose(1, 2), tiles.flatten(2, 4).flatten(end_dim=1))
            of_weight = (_KERNEL_MAP.to(kernel).t() @ of_kernel.flatten(1)).view(3, 3, *kernel.shape[1:])
        if ctx.needs_input_grad[0]:
            of_tiles = torch.bmm(flat, kernel).view(*of_products.shape[:-1], -1)
            of_maps = _add_tiles(of_tiles, *ctx.size).permute(0, 3, 1, 2)
        return of_maps, of_weight, None, None


def _to_tiles(maps: Tensor) -> Tensor:
    """Return B^T pixels B of each tile: (4, 4, images, tiles down, tiles across, channels)."""
    images, rows, columns, channels = maps.shape
    down, across = _count_tiles(rows, columns)
    padded = maps.new_zeros(images, 2 * down + 2, 2 * across + 2, channels)
    padded[:, 1 : rows + 1, 1 : columns + 1] = maps
    by_rows = maps.new_empty(TILE, images, down, 2 * across + 2, channels)
    _difference(_lines(padded, 1, down), by_rows.unbind())
    tiles = maps.new_empty(TILE, TILE, images, down, across, channels)
    _difference(_lines(by_rows, 3, across), tiles.unbind(1))
    return tiles


def _add_tiles(of_tiles: Tensor, rows: int, columns: int) -> Tensor:
    """Turn the gradients of tiles into those of maps: the transpose of `_to_tiles`."""
    _, _, images, down, across, channels = of_tiles.shape
    by_rows = of_tiles.new_zeros(TILE, images, down, 2 * across + 2, channels)
    _add_differences(of_tiles.unbind(1), _lines(by_rows, 3, across))
    padded = of_tiles.new_zeros(images, 2 * down + 2, 2 * across + 2, channels)
    _add_differences(by_rows.unbind(), _lines(padded, 1, down))
    return padded[:, 1 : rows + 1, 1 : columns + 1]


def _sum_products(products: Tensor, rows: int, columns: int) -> Tensor:
    """Return the outputs, A^T products A: (images, rows, columns, channels)."""
    _, _, images, down, across, channels = products.shape
    outputs = products.new_empty(images, down, 2, across, 2, channels)
    by_rows = products.new_empty(2, *products.shape[1:])
    _sum(products, by_rows)
    for row, of_row in enumerate(by_rows):
        _sum(of_row, [outputs[:, :, row, :, column] for column in range(2)])
    return _cut(outputs.view(images, 2 * down, 2 * across, channels), rows, columns)


def _spread(of_output: Tensor) -> Tensor:
    """Turn the gradients of outputs into those of products: the transpose of `_sum_products`."""
    images, rows, columns, channels = of_output.shape
    down, across = _count_tiles(rows, columns)
    if (2 * down, 2 * across) != (rows, columns):
        whole = of_output.new_zeros(images, 2 * down, 2 * across, channels)
        whole[:, :rows, :columns] = of_output
        of_output = whole
    by_rows = of_output.new_empty(TILE, images, down, 2 * across, channels)
    _spread_sums(of_output[:, ::2], of_output[:, 1::2], by_rows.unbind())
    of_products = of_output.new_empty(TILE, TILE, images, down, across, channels)
    _spread_sums(by_rows[:, :, :, ::2], by_rows[:, :, :, 1::2], of_products.unbind(1))
    return of_products


def _count_tiles(rows: int, columns: int) -> tuple[int, int]:
    return (rows + 1) // 2, (columns + 1) // 2


def _lines(maps: Tensor, axis: int, tiles: int) -> list[Tensor]:
    """Return the first, second, third and fourth pixel of each tile along an axis, as views."""
    before = (slice(None),) * axis
    return [maps[(*before, slice(first, first + 2 * tiles - 1, 2))] for first in range(TILE)]


def _cut(maps: Tensor, rows: int, columns: int) -> Tensor:
    return maps if maps.shape[1:3] == (rows, columns) else maps[:, :rows, :columns].contiguous()


def _difference(pixels: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    """B^T along one axis."""
    torch.sub(pixels[0], pixels[2], out=into[0])
    torch.add(pixels[1], pixels[2], out=into[1])
    torch.sub(pixels[2], pixels[1], out=into[2])
    torch.sub(pixels[1], pixels[3], out=into[3])


def _add_differences(given: Sequence[Tensor], to: Sequence[Tensor]) -> None:
    """B along one axis, added to what is there: tiles overlap."""
    to[0].add_(given[0])
    to[1].add_(given[1]).sub_(given[2]).add_(given[3])
    to[2].sub_(given[0]).add_(given[1]).add_(given[2])
    to[3].sub_(given[3])


def _sum(products: Sequence[Tensor] | Tensor, into: Sequence[Tensor] | Tensor) -> None:
    """A^T along one axis."""
    torch.add(products[0], products[1], out=into[0]).add_(products[2])
    torch.sub(products[1], products[2], out=into[1]).sub_(products[3])


def _spread_sums(first: Tensor, second: Tensor, into: Sequence[Tensor]) -> None:
    """A along one axis."""
    into[0].copy_(first)
    torch.add(first, second, out=into[1])
    torch.sub(first, second, out=into[2])
    torch.neg(second, out=into[3])
