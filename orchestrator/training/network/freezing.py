"""What the tunings of blocks mean for their modules: which parameters train, and which BatchNorm statistics stay."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.blocks import FrozenSet, Tuning

FrozenBatchNorm = Literal["eval", "track"]
BlockModules = Mapping[str, Iterable[nn.Module]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """What a tuning means for a module of its block.

    Attributes:
        trainable: Lists the parameters that train.
        holds_batchnorm: BatchNorm statistics stay, unless the model lets those of frozen blocks follow the data.
    """

    trainable: Callable[[nn.Module], Iterable[nn.Parameter]]
    holds_batchnorm: bool


_MEANINGS = {
    Tuning.FROZEN: _Meaning(trainable=lambda _: (), holds_batchnorm=True),
    Tuning.FULL: _Meaning(trainable=nn.Module.parameters, holds_batchnorm=False),
}


def tune(blocks: BlockModules, frozen: FrozenSet, batchnorm: FrozenBatchNorm = "eval") -> None:
    """Let each block do what its tuning says.

    A later `train()` of the network undoes the held statistics; whoever calls it calls `hold` after it.

    Args:
        blocks: Modules by block.
        frozen: Says what each block does.
        batchnorm: `eval` holds the BatchNorm statistics of frozen blocks too; `track` lets them follow the data.
    """
    for block, modules in blocks.items():
        for module in modules:
            choose_trainable(module, frozen.tuning(block))
    hold(blocks, frozen, batchnorm)


def choose_trainable(module: nn.Module, tuning: Tuning) -> None:
    """Let those parameters of a module have gradients that train with a tuning, and no others."""
    module.requires_grad_(requires_grad=False)
    for parameter in _MEANINGS[tuning].trainable(module):
        parameter.requires_grad_()


def hold(blocks: BlockModules, frozen: FrozenSet, batchnorm: FrozenBatchNorm) -> None:
    """Put the modules whose statistics stay into eval mode, which also turns off dropout and stochastic depth.

    With `track` BatchNorm stays as it is, and goes on to follow the data.
    """
    for block, modules in blocks.items():
        if _MEANINGS[frozen.tuning(block)].holds_batchnorm:
            for each in (each for module in modules for each in module.modules()):
                each.training = each.training and batchnorm == "track" and isinstance(each, _BatchNorm)


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """Count the parameters that train, and all of them."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
