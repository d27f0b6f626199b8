"""What a frozen set costs, counted on tensors without data: nothing is downloaded or computed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.backbones import HEAD, POOL, Backbone
from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.models import ModelConfig
from orchestrator.records.facts import Cost
from orchestrator.training.network.architectures import build_empty, require_size
from orchestrator.training.network.backbones import block_modules, network_stages
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
    known = model.network
    network = build_empty(model.backbone, num_classes, image_size)
    require_size(network, model.backbone, image_size)
    with torch.device("meta"):
        image = torch.empty(1, 3, image_size, image_size)
    # BatchNorm refuses to train on one value a channel; its mode changes no count
    network.eval()
    if not known.chained and {*known.blocks[1:], HEAD} - set(known.cuts):
        return {frozen: _measure_whole(network, known, image, frozen) for frozen in frozen_sets}
    stages = _measure_stages(network, known, image, frozen_sets)
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
    network: nn.Module, known: Backbone, image: Tensor, frozen_sets: Sequence[FrozenSet]
) -> dict[str, _Stage]:
    parts = network_stages(network, known, image.shape[-1])
    parts[HEAD] = nn.Sequential(parts.pop(POOL), parts.pop(HEAD))
    demands = [_list_demands(parts, frozen) for frozen in frozen_sets]
    stages: dict[str, _Stage] = {}
    value = image
    for name, part in parts.items():
        stage = _measure(part, value, {each[name] for each in demands})
        # a span computes all that comes before it once more, of an image of its own
        before = 0 if known.chained else sum(each.forward for each in stages.values())
        stages[name] = replace(stage, forward=stage.forward - before)
        value = part(value).detach()
    return stages


def _measure_whole(network: nn.Module, known: Backbone, image: Tensor, frozen: FrozenSet) -> Cost:
    """Count a frozen set of a network that cannot be cut into its blocks."""
    for block, modules in block_modules(network, known).items():
        for module in modules:
            choose_trainable(module, frozen.tuning(block))
    choose_trainable(network.get_submodule(known.head), Tuning.FULL)
    trainable, total = count_parameters(network)
    with FlopCounterMode(display=False) as counter:
        logits = network(image)
        forward = counter.get_total_flops()
        torch.autograd.backward(logits.sum())
    return Cost(
        trainable_params=trainable,
        total_params=total,
        gflops_forward_per_image=forward / 1e9,
        gflops_train_per_image=counter.get_total_flops() / 1e9,
    )


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
