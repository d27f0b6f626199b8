"""The optimizer of a run: its parameter groups, and what it holds from the start."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from orchestrator.config.models import TrainerConfig
from orchestrator.config.optimizers import OPTIMIZERS

_SCALE = "lr_scale"
"""Key of a parameter group that holds what the learning rate is multiplied by in it."""


def build_optimizer(
    network: nn.Module, blocks: Mapping[str, Iterable[nn.Module]], config: TrainerConfig
) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters only.

    Args:
        network: The network.
        blocks: Modules of its blocks, in network order.
        config: Says which.
    """
    kind = OPTIMIZERS[config.optimizer]
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [{"params": trainable}] if config.lr_decay == 1 else _group(trainable, blocks, config.lr_decay)
    optimizer: torch.optim.Optimizer = getattr(torch.optim, kind.torch_name)(
        groups, lr=config.lr, weight_decay=config.weight_decay, **kind.arguments
    )
    if config.precision == "16-mixed":
        # torch would only allocate these in the first step, which the scaler of the loss skips where it overflows;
        # the second one then reads what the memory happened to hold
        for parameter in trainable:
            for name in kind.late_state:
                optimizer.state[parameter][name] = torch.zeros_like(parameter)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the head, and those of the blocks by it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(_SCALE, 1.0)


def _group(
    trainable: Iterable[nn.Parameter], blocks: Mapping[str, Iterable[nn.Module]], decay: float
) -> list[dict[str, object]]:
    """Group parameters by block, from the head towards the stem: that is what the first group is."""
    depth = {
        parameter: len(blocks) - place
        for place, modules in enumerate(blocks.values())
        for module in modules
        for parameter in module.parameters()
    }
    groups: dict[int, list[nn.Parameter]] = {}
    for parameter in trainable:
        groups.setdefault(depth.get(parameter, 0), []).append(parameter)
    return [{"params": groups[each], _SCALE: decay**each} for each in sorted(groups)]
