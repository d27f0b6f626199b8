"""What a frozen set costs, counted on tensors without data: nothing is downloaded or computed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.models import ModelConfig
from orchestrator.records.facts import Cost
from orchestrator.training.network.architectures import build_empty
from orchestrator.training.network.backbones import POOL, block_modules, network_stages
from orchestrator.training.network.freezing import choose_trainable, count_parameters, require_trainable
from orchestrator.training.network.lora import add_factors

_Demand = tuple[Tuning, bool]
"""What a backward pass is asked for: gradients of the weights that train; of its input, since a part before trains."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A part of the network between two tensors.

    Attributes:
        parameters: Its parameters.
        forward: FLOPs of its forward pass, as it is kept.
        trainable: Those of its parameters that train, by tuning.
        training: FLOPs of its forward and backward pass in training, by what is asked of it.
    """

    parameters: int
    forward: int
    trainable: dict[Tuning, int]
    training: dict[_Demand, int]


def measure_costs(
    model: ModelConfig, num_classes: int, image_size: int, frozen_sets: Sequence[FrozenSet]
) -> dict[FrozenSet, Cost]:
    """Count parameters and floating-point operations of each frozen set.

    The backward pass is counted by autograd, a block at a time, so it stops where nothing before it trains. Factors of
    LoRA count where they are trained: not in the network that is kept, into whose weights they are merged.

    Raises:
        ConfigError: A block has nothing that its tuning would train, or a weight has not the rank of its LoRA.
    """
    with torch.device("meta"):
        image = torch.empty(1, 3, image_size, image_size)
    plain = _list_parts(build_empty(model.backbone, num_classes), model.backbone)
    demands = [_list_demands(plain, frozen) for frozen in frozen_sets]
    stages = {}
    value = image
    for name, part in plain.items():
        asked = {each[name] for each in demands}
        tuned = {tuning: _add_rank(model.backbone, num_classes, name, tuning) for tuning, _ in asked if tuning.rank}
        stages[name] = _measure(name, part, tuned, value, asked)
        value = part(value).detach()
    return {frozen: _add_up(stages, frozen) for frozen in frozen_sets}


def _list_parts(network: nn.Module, backbone: str) -> dict[str, nn.Module]:
    # BatchNorm refuses to train on one value a channel; its mode changes no count
    parts = network_stages(network.eval(), backbone)
    parts["head"] = nn.Sequential(parts.pop(POOL), parts.pop("head"))
    return parts


def _add_rank(backbone: str, num_classes: int, block: str, tuning: Tuning) -> nn.Module:
    """Build a block with the factors of its LoRA."""
    network = build_empty(backbone, num_classes)
    add_factors(network, block_modules(network, backbone)[block], tuning.rank or 0)
    return _list_parts(network, backbone)[block]


def _list_demands(names: Iterable[str], frozen: FrozenSet) -> dict[str, _Demand]:
    """Describe what a frozen set asks of each part."""
    demands: dict[str, _Demand] = {}
    needs_input = False
    for name in names:
        tuning = frozen.tuning(name)
        demands[name] = (tuning, needs_input)
        needs_input = needs_input or not tuning.is_fixed
    return demands


def _add_up(stages: dict[str, _Stage], frozen: FrozenSet) -> Cost:
    demands = _list_demands(stages, frozen)
    return Cost(
        trainable_params=sum(stage.trainable[frozen.tuning(name)] for name, stage in stages.items()),
        total_params=sum(stage.parameters for stage in stages.values()),
        gflops_forward_per_image=sum(stage.forward for stage in stages.values()) / 1e9,
        gflops_train_per_image=sum(stage.training[demands[name]] for name, stage in stages.items()) / 1e9,
    )


def _measure(
    name: str, part: nn.Module, tuned: Mapping[Tuning, nn.Module], value: Tensor, demands: Iterable[_Demand]
) -> _Stage:
    """Measure a part.

    Args:
        name: Its name.
        part: The part as it is kept.
        tuned: The part as it is trained, by tuning, where that is something else.
        value: What it takes, of one image.
        demands: What is asked of it.
    """
    trainable, training = {}, {}
    for tuning, needs_input in demands:
        trained = tuned.get(tuning, part)
        choose_trainable(trained, tuning)
        trainable[tuning], _ = count_parameters(trained)
        require_trainable(name, tuning, trainable[tuning])
        backward = _count_backward(trained, value.detach().requires_grad_(needs_input))
        training[tuning, needs_input] = _count_forward(trained, value) + backward
    return _Stage(
        parameters=sum(parameter.numel() for parameter in part.parameters()),
        forward=_count_forward(part, value),
        trainable=trainable,
        training=training,
    )


def _count_forward(part: nn.Module, value: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(value)
    return int(counter.get_total_flops())


def _count_backward(part: nn.Module, value: Tensor) -> int:
    result = part(value)
    if not result.requires_grad:
        return 0
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(result.sum())
    return int(counter.get_total_flops())
