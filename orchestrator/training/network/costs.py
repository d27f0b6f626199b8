"""What a frozen set costs, counted on tensors without data: nothing is downloaded or computed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.models import ModelConfig
from orchestrator.records.facts import Cost
from orchestrator.training.network.architectures import build_empty
from orchestrator.training.network.backbones import POOL, network_stages
from orchestrator.training.network.freezing import choose_trainable, count_parameters

_Demand = tuple[Tuning, bool]
"""What a backward pass is asked for: gradients of the weights that train; of its input, since a part before trains."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A part of the network between two tensors.

    Attributes:
        parameters: Its parameters.
        trainable: Those of them that train, by tuning.
        forward: FLOPs of its forward pass.
        backward: FLOPs of its backward pass, by what is asked of it.
    """

    parameters: int
    trainable: dict[Tuning, int]
    forward: int
    backward: dict[_Demand, int]


def measure_costs(
    model: ModelConfig, num_classes: int, image_size: int, frozen_sets: Sequence[FrozenSet]
) -> dict[FrozenSet, Cost]:
    """Count parameters and floating-point operations of each frozen set.

    The backward pass is counted by autograd, a block at a time, so it stops where nothing before it trains.
    """
    network = build_empty(model.backbone, num_classes)
    with torch.device("meta"):
        image = torch.empty(1, 3, image_size, image_size)
    # BatchNorm refuses to train on one value a channel; its mode changes no count
    stages = _measure_stages(network.eval(), model.backbone, image, frozen_sets)
    return {frozen: _add_up(stages, frozen) for frozen in frozen_sets}


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
    forward = sum(stage.forward for stage in stages.values())
    backward = sum(stage.backward[demands[name]] for name, stage in stages.items())
    return Cost(
        trainable_params=sum(stage.trainable[frozen.tuning(name)] for name, stage in stages.items()),
        total_params=sum(stage.parameters for stage in stages.values()),
        gflops_forward_per_image=forward / 1e9,
        gflops_train_per_image=(forward + backward) / 1e9,
    )


def _measure_stages(
    network: nn.Module, backbone: str, image: Tensor, frozen_sets: Sequence[FrozenSet]
) -> dict[str, _Stage]:
    parts = network_stages(network, backbone)
    parts["head"] = nn.Sequential(parts.pop(POOL), parts.pop("head"))
    demands = [_list_demands(parts, frozen) for frozen in frozen_sets]
    stages = {}
    value = image
    for name, part in parts.items():
        stages[name] = _measure(part, value, {each[name] for each in demands})
        value = part(value).detach()
    return stages


def _measure(part: nn.Module, value: Tensor, demands: Iterable[_Demand]) -> _Stage:
    trainable, backward = {}, {}
    for tuning, needs_input in demands:
        choose_trainable(part, tuning)
        trainable[tuning], _ = count_parameters(part)
        backward[tuning, needs_input] = _count_backward(part, value.detach().requires_grad_(needs_input))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(value)
    return _Stage(
        parameters=sum(parameter.numel() for parameter in part.parameters()),
        trainable=trainable,
        forward=counter.get_total_flops(),
        backward=backward,
    )


def _count_backward(part: nn.Module, value: Tensor) -> int:
    result = part(value)
    if not result.requires_grad:
        return 0
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(result.sum())
    return int(counter.get_total_flops())
