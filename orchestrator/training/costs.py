"""What a frozen set costs, counted on tensors without data: nothing is downloaded or computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import ModelConfig
from orchestrator.records import Cost
from orchestrator.training.backbones import POOL, network_stages


@dataclass(frozen=True, slots=True)
class _Stage:
    """A part of the network between two tensors.

    Attributes:
        parameters: Its parameters.
        forward: FLOPs of its forward pass.
        backward: FLOPs of its backward pass, by (it trains, something before it trains).
    """

    parameters: int
    forward: int
    backward: dict[tuple[bool, bool], int]


def measure_costs(
    model: ModelConfig, num_classes: int, image_size: int, frozen_sets: Sequence[FrozenSet]
) -> dict[str, Cost]:
    """Count parameters and floating-point operations of each frozen set, by key.

    The backward pass is counted by autograd, a block at a time, so it stops where nothing before it trains.
    """
    with torch.device("meta"):
        network: nn.Module = torchvision.models.get_model(model.backbone, weights=None, num_classes=num_classes)
        image = torch.empty(1, 3, image_size, image_size)
    # BatchNorm refuses to train on one value a channel; its mode changes no count
    stages = _measure_stages(network.eval(), model.backbone, image)
    return {frozen.key: _add_up(stages, frozen) for frozen in frozen_sets}


def _add_up(stages: dict[str, _Stage], frozen: FrozenSet) -> Cost:
    forward = backward = trainable = 0
    needs_input = False
    for name, stage in stages.items():
        trains = name not in frozen
        forward += stage.forward
        backward += stage.backward[trains, needs_input]
        trainable += stage.parameters if trains else 0
        needs_input = needs_input or trains
    return Cost(
        trainable_params=trainable,
        total_params=sum(stage.parameters for stage in stages.values()),
        gflops_forward_per_image=forward / 1e9,
        gflops_train_per_image=(forward + backward) / 1e9,
    )


def _measure_stages(network: nn.Module, backbone: str, image: Tensor) -> dict[str, _Stage]:
    parts = network_stages(network, backbone)
    parts["head"] = nn.Sequential(parts.pop(POOL), parts.pop("head"))
    stages = {}
    value = image
    for name, part in parts.items():
        stages[name] = _measure(part, value)
        value = part(value).detach()
    return stages


def _measure(part: nn.Module, value: Tensor) -> _Stage:
    def count(*, trains: bool, needs_input: bool) -> tuple[int, int]:
        part.requires_grad_(trains)
        given = value.detach().requires_grad_(needs_input)
        with FlopCounterMode(display=False) as counter:
            result = part(given)
            forward = counter.get_total_flops()
            if result.requires_grad:
                torch.autograd.backward(result.sum())
            return forward, counter.get_total_flops() - forward

    cases = [(False, False), (False, True), (True, False), (True, True)]
    counts = {case: count(trains=case[0], needs_input=case[1]) for case in cases}
    return _Stage(
        sum(parameter.numel() for parameter in part.parameters()),
        counts[False, False][0],
        {case: backward for case, (_, backward) in counts.items()},
    )
