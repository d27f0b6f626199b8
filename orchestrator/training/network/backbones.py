"""Networks: a backbone in named blocks, and a head."""

from dataclasses import dataclass

import torch
from torch import nn

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import ModelConfig
from orchestrator.training.network.architectures import build_empty, build_random
from orchestrator.training.network.freezing import tune
from orchestrator.training.network.lora import add_factors
from orchestrator.training.network.weights import LoadedWeights, load_weights
from orchestrator.training.seeds import derive_seed

POOL = "pool"
"""What follows the last block and has nothing to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInfo:
    """What is known of a backbone's weights once they are loaded.

    Attributes:
        sha256: Hash of the tensors (hex), wherever they come from; None for random weights.
        notes: What the user should hear, a sentence each.
    """

    sha256: str | None = None
    notes: tuple[str, ...] = ()


def build_network(
    model: ModelConfig, num_classes: int, head_seed: int, frozen: FrozenSet, weights: LoadedWeights | None = None
) -> nn.Module:
    """Build the network: a new head, and blocks that do what their tunings say.

    Args:
        model: The network's configuration.
        num_classes: Outputs of the head.
        head_seed: Seed of the head; random backbone weights and the factors of LoRA take theirs from it. None of them
            depends on what other blocks do.
        frozen: Says what each block does.
        weights: What the backbone starts from, as `load_weights` gives it; None: random weights.

    Raises:
        ConfigError: A block has nothing that its tuning would train, or a weight has not the rank of its LoRA.
    """
    known = find_backbone(model.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(head_seed, "backbone"))
        # weights cover all but the head: to draw what they replace takes four times as long as the rest; what a package
        # builds may hold more than weights cover
        if weights is None or known.builder is not None:
            network = build_random(model.backbone, num_classes)
        else:
            network = build_empty(model.backbone, num_classes).to_empty(device="cpu")
        torch.manual_seed(derive_seed(head_seed, "head"))
        for module in network.get_submodule(known.head).modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    if weights is not None:
        network.load_state_dict(weights.state, strict=False)
    blocks = block_modules(network, model.backbone)
    for block, tuning in frozen.tunings:
        if tuning.rank is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(head_seed, f"lora of {block}"))
                add_factors(network, blocks[block], tuning.rank)
    tune(block_modules(network, model.backbone), frozen, model.frozen_batchnorm)
    return network


def block_modules(network: nn.Module, backbone: str) -> dict[str, list[nn.Module]]:
    """List the modules of each block, in network order."""
    modules = find_backbone(backbone).modules
    return {block: [network.get_submodule(path) for path in paths] for block, paths in modules.items()}


def network_stages(network: nn.Module, backbone: str) -> dict[str, nn.Module]:
    """Cut a network into parts that give the same as the whole, one after the other: its blocks, pool and head."""
    known = find_backbone(backbone)
    blocks = {block: nn.Sequential(*modules) for block, modules in block_modules(network, backbone).items()}
    pool = nn.Sequential(*map(network.get_submodule, known.pool), nn.Flatten())
    return {**blocks, POOL: pool, "head": network.get_submodule(known.head)}


def describe_weights(model: ModelConfig, file: str | None = None) -> WeightsInfo:
    """Load the backbone's weights, make sure that they fit, and say what they are.

    Args:
        model: The backbone, and its weights.
        file: Where they lie, if they are those of a sweep.

    Raises:
        ConfigError: The weights do not fit.
        SetupError: The weights cannot be brought.
    """
    weights = load_weights(model, file)
    return WeightsInfo() if weights is None else WeightsInfo(sha256=weights.sha256, notes=weights.notes)
