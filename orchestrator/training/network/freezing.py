"""What the tunings of blocks mean for their modules: which parameters train, and which BatchNorm statistics stay."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.errors import ConfigError
from orchestrator.training.network.lora import list_factors

FrozenBatchNorm = Literal["eval", "track"]
BlockModules = Mapping[str, Iterable[nn.Module]]


_WITH_STATISTICS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_NORMS = (*_WITH_STATISTICS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """What a tuning means for a module of its block.

    Attributes:
        trainable: Lists the parameters that train.
        holds: What is in eval mode during training, unless the model lets statistics follow the data: the whole module,
            or its batch normalisation.
    """

    trainable: Callable[[nn.Module], Iterable[nn.Parameter]]
    holds: Literal["all", "statistics", "nothing"]


def _list_of_norms(module: nn.Module) -> list[nn.Parameter]:
    norms = [each for each in module.modules() if isinstance(each, _NORMS)]
    return [parameter for each in norms for parameter in each.parameters(recurse=False)]


def _list_biases(module: nn.Module) -> list[nn.Parameter]:
    """List what is added to what a layer gives, by torch's names: `bias`, and `in_proj_bias` of attention."""
    named = module.named_parameters()
    return [each for name, each in named if (last := name.rpartition(".")[2]) == "bias" or last.endswith("_bias")]


_MEANINGS = {
    "frozen": _Meaning(trainable=lambda _: (), holds="all"),
    "full": _Meaning(trainable=nn.Module.parameters, holds="nothing"),
    "norm": _Meaning(trainable=_list_of_norms, holds="statistics"),
    "bias": _Meaning(trainable=_list_biases, holds="statistics"),
    "lora": _Meaning(trainable=list_factors, holds="statistics"),
}


def tune(blocks: BlockModules, frozen: FrozenSet, batchnorm: FrozenBatchNorm = "eval") -> None:
    """Let each block do what its tuning says.

    A later `train()` of the network undoes the held statistics; whoever calls it calls `hold` after it.

    Args:
        blocks: Modules by block.
        frozen: Says what each block does.
        batchnorm: `eval` holds the BatchNorm statistics of blocks that do not train in full; `track` lets them follow
            the data.

    Raises:
        ConfigError: A block has nothing that its tuning would train.
    """
    for block, modules in blocks.items():
        tuning, kept = frozen.tuning(block), list(modules)
        for module in kept:
            choose_trainable(module, tuning)
        require_trainable(block, tuning, sum(count_parameters(module)[0] for module in kept))
    hold(blocks, frozen, batchnorm)


def require_trainable(block: str, tuning: Tuning, trainable: int) -> None:
    """Refuse a tuning of part of a block that trains nothing of it: that is freezing the block.

    Raises:
        ConfigError: It trains nothing.
    """
    if tuning not in {Tuning.FROZEN, Tuning.FULL} and not trainable:
        raise ConfigError(
            f"{block}:{tuning} trains nothing: the block has no such parameters",
            hint=f"freeze {block}, or let it train in full: search.mode list takes the sets by name",
        )


def choose_trainable(module: nn.Module, tuning: Tuning) -> None:
    """Let those parameters of a module have gradients that train with a tuning, and no others."""
    module.requires_grad_(requires_grad=False)
    for parameter in _MEANINGS[tuning.kind].trainable(module):
        parameter.requires_grad_()


def hold(blocks: BlockModules, frozen: FrozenSet, batchnorm: FrozenBatchNorm) -> None:
    """Put the modules whose statistics stay into eval mode; of frozen blocks dropout and stochastic depth are off, too.

    With `track` the statistics of all blocks go on to follow the data.
    """
    for block, modules in blocks.items():
        holds = _MEANINGS[frozen.tuning(block).kind].holds
        for each in (each for module in modules for each in module.modules()):
            has_statistics = isinstance(each, _WITH_STATISTICS)
            stays = holds != "nothing" and batchnorm == "eval" if has_statistics else holds == "all"
            each.training = each.training and not stays


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """Count the parameters that train, and all of the network that is kept: factors of LoRA are merged into others."""
    parameters = list(network.parameters())
    factors = sum(factor.numel() for factor in list_factors(network))
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters) - factors
