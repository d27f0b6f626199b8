"""Freezing, truly: no gradients, and BatchNorm statistics that stay."""

from collections.abc import Iterable
from typing import Literal

from torch import nn

FrozenBatchNorm = Literal["eval", "track"]


def freeze(modules: Iterable[nn.Module], batchnorm: FrozenBatchNorm = "eval") -> None:
    """Stop modules from changing.

    A later `train()` of the network undoes the held statistics; whoever calls it calls `hold` after it.

    Args:
        modules: Modules of the frozen blocks.
        batchnorm: `eval` holds the BatchNorm statistics too; `track` lets them follow the data.
    """
    modules = list(modules)
    for module in modules:
        module.requires_grad_(requires_grad=False)
    hold(modules, batchnorm)


def hold(modules: Iterable[nn.Module], batchnorm: FrozenBatchNorm) -> None:
    """Put frozen modules into eval mode; with `track` leave them as they are."""
    if batchnorm == "eval":
        for module in modules:
            module.eval()


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """Count the parameters that train, and all of them."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
