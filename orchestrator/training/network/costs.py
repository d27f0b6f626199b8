"""What a frozen set costs, counted on tensors without data: nothing is downloaded or computed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.backbones import HEAD, POOL, Backbone
from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.models import ModelConfig
from orchestrator.records.facts import Cost
from orchestrator.training.network.architectures import build_empty, require_size
from orchestrator.training.network.backbones import block_modules, network_stages
from orchestrator.training.network.freezing import choose_trainable, count_parameters, require_trainable, tune
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
    known = model.network
    empty = _Empty(backbone=model.backbone, known=known, num_classes=num_classes, image_size=image_size)
    require_size(empty.build(), model.backbone, image_size)
    if not known.chained and {*known.blocks[1:], HEAD} - set(known.cuts):
        return {frozen: _measure_whole(empty, frozen) for frozen in frozen_sets}
    stages = _measure_stages(empty, frozen_sets)
    return {frozen: _add_up(stages, frozen) for frozen in frozen_sets}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Empty:
    """A network without values, for images of one size."""

    backbone: str
    known: Backbone
    num_classes: int
    image_size: int

    @property
    def image(self) -> Tensor:
        """A batch of one image."""
        with torch.device("meta"):
            return torch.empty(1, 3, self.image_size, self.image_size)

    def build(self, ranks: Mapping[str, int] | None = None) -> nn.Module:
        """Build the network, with the factors of LoRA of a rank in some blocks.

        BatchNorm refuses to train on one value a channel: the network is in eval mode, which changes no count.
        """
        network = build_empty(self.backbone, self.num_classes, self.image_size)
        blocks = block_modules(network, self.known)
        for block, rank in (ranks or {}).items():
            add_factors(network, blocks[block], rank)
        return network.eval()

    def list_parts(self, network: nn.Module) -> dict[str, nn.Module]:
        """Cut a network into its blocks and its head, with what comes between."""
        parts = network_stages(network, self.known, self.image_size)
        parts[HEAD] = nn.Sequential(parts.pop(POOL), parts.pop(HEAD))
        return parts


def _measure_stages(empty: _Empty, frozen_sets: Sequence[FrozenSet]) -> dict[str, _Stage]:
    plain = empty.list_parts(empty.build())
    demands = [_list_demands(plain, frozen) for frozen in frozen_sets]
    stages: dict[str, _Stage] = {}
    value = empty.image
    for name, part in plain.items():
        asked = {each[name] for each in demands}
        tuned = {tuning: empty.list_parts(empty.build({name: tuning.rank}))[name] for tuning, _ in asked if tuning.rank}
        # a span computes all that comes before it once more, of an image of its own
        before = 0 if empty.known.chained else sum(each.forward for each in stages.values())
        stages[name] = _measure(name, part, tuned, value, asked, before)
        value = part(value).detach()
    return stages


def _measure_whole(empty: _Empty, frozen: FrozenSet) -> Cost:
    """Count a frozen set of a network that cannot be cut into its blocks."""
    image = empty.image
    network = empty.build({block: tuning.rank for block, tuning in frozen.tunings if tuning.rank})
    tune(block_modules(network, empty.known), frozen)
    choose_trainable(network.get_submodule(empty.known.head), Tuning.FULL)
    trainable, total = count_parameters(network)
    training = _count_forward(network, image) + _count_backward(network, image)
    return Cost(
        trainable_params=trainable,
        total_params=total,
        gflops_forward_per_image=_count_forward(empty.build(), image) / 1e9,
        gflops_train_per_image=training / 1e9,
    )


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
    name: str,
    part: nn.Module,
    tuned: Mapping[Tuning, nn.Module],
    value: Tensor,
    demands: Iterable[_Demand],
    before: int,
) -> _Stage:
    """Measure a part.

    Args:
        name: Its name.
        part: The part as it is kept.
        tuned: The part as it is trained, by tuning, where that is something else.
        value: What it takes, of one image.
        demands: What is asked of it.
        before: FLOPs of a forward pass that are not its own.
    """
    trainable, training = {}, {}
    for tuning, needs_input in demands:
        trained = tuned.get(tuning, part)
        choose_trainable(trained, tuning)
        trainable[tuning], _ = count_parameters(trained)
        require_trainable(name, tuning, trainable[tuning])
        backward = _count_backward(trained, value.detach().requires_grad_(needs_input))
        training[tuning, needs_input] = _count_forward(trained, value) - before + backward
    return _Stage(
        parameters=sum(parameter.numel() for parameter in part.parameters()),
        forward=_count_forward(part, value) - before,
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
