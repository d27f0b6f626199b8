"""Networks: a backbone in named blocks, and a head."""

from dataclasses import dataclass

import torch
from torch import nn

from orchestrator.backbones import HEAD, POOL, Backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.training.network.architectures import build_empty, build_random
from orchestrator.training.network.freezing import tune
from orchestrator.training.network.lora import add_factors
from orchestrator.training.network.spans import Span
from orchestrator.training.network.weights import LoadedWeights, load_weights
from orchestrator.training.seeds import derive_seed


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
    model: ModelConfig,
    num_classes: int,
    head_seed: int,
    frozen: FrozenSet,
    weights: LoadedWeights | None = None,
    image_size: int | None = None,
) -> nn.Module:
    """Build the network: a new head, and blocks that do what their tunings say.

    Args:
        model: The network's configuration.
        num_classes: Outputs of the head.
        head_seed: Seed of the head; random backbone weights and the factors of LoRA take theirs from it. None of them
            depends on what other blocks do.
        frozen: Says what each block does.
        weights: What the backbone starts from, as `load_weights` gives it; None: random weights.
        image_size: Pixels square of its images; None: the size that it was made for.

    Raises:
        ConfigError: A block has nothing that its tuning would train, or a weight has not the rank of its LoRA.
    """
    known = model.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(head_seed, "backbone"))
        # weights cover all but the head: to draw what they replace takes four times as long as the rest; what is not
        # known in advance may hold more than weights cover
        if weights is None or known.builder is not None or not known.chained:
            network = build_random(model.backbone, num_classes, image_size)
        else:
            network = build_empty(model.backbone, num_classes).to_empty(device="cpu")
        torch.manual_seed(derive_seed(head_seed, "head"))
        for module in network.get_submodule(known.head).modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    if weights is not None:
        network.load_state_dict(weights.state, strict=False)
    blocks = block_modules(network, known)
    for block, tuning in frozen.tunings:
        if tuning.rank is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(head_seed, f"lora of {block}"))
                add_factors(network, blocks[block], tuning.rank)
    tune(block_modules(network, known), frozen, model.frozen_batchnorm)
    return network


def block_modules(network: nn.Module, known: Backbone) -> dict[str, list[nn.Module]]:
    """List the modules of each block, in network order; parameters that no module of a block holds get one."""
    return {block: [_find_part(network, path) for path in paths] for block, paths in known.modules.items()}


def _find_part(network: nn.Module, path: str) -> nn.Module:
    parent, _, name = path.rpartition(".")
    found = getattr(network.get_submodule(parent), name)
    if not isinstance(found, nn.Parameter):
        return network.get_submodule(path)
    holder = nn.Module()  # the parameter keeps its name, which says whether it is a bias
    holder.register_parameter(name, found)
    return holder


def network_stages(network: nn.Module, known: Backbone, image_size: int | None = None) -> dict[str, nn.Module]:
    """Cut a network into parts that give the same as the whole, one after the other: its blocks, pool and head.

    The parts of a network that is not chained are spans: each begins with an image of its own, so they are for
    evaluation, and for the frozen blocks of a run. What follows the last of those is trained as one (`network_span`).

    Args:
        network: The network.
        known: Its blocks.
        image_size: Pixels square of its images; None: the size that it was made for.

    Raises:
        ConfigError: More than one tensor crosses from a block to the next, or what comes in is not replayed exactly.
    """
    if known.chained:
        blocks = {block: nn.Sequential(*modules) for block, modules in block_modules(network, known).items()}
        pool = nn.Sequential(*map(network.get_submodule, known.pool), nn.Flatten())
        return {**blocks, POOL: pool, HEAD: network.get_submodule(known.head)}
    parts = known.parts
    lacking = [part for part in parts[1:] if part not in known.cuts and part != POOL]
    if lacking:
        raise ConfigError(f"model.backbone: {known.name} cannot be cut before {', '.join(lacking)}")
    return {
        part: nn.Identity() if part == POOL else network_span(network, known, place, place + 1, image_size)
        for place, part in enumerate(parts)
    }


def network_span(
    network: nn.Module, known: Backbone, start: int, stop: int | None = None, image_size: int | None = None
) -> nn.Module:
    """Return what a network computes from one of its parts up to another, as a module; see `network_stages`.

    Args:
        network: The network.
        known: Its blocks.
        start: Place of the first part.
        stop: Place of the first part that is left out; None: none is.
        image_size: As in `network_stages`.

    Raises:
        ConfigError: The network cannot be cut there.
    """
    if known.chained:
        return nn.Sequential(*list(network_stages(network, known).values())[start:stop])
    parts = known.parts
    stop = len(parts) if stop is None else stop
    blocks = block_modules(network, known)
    own = [module for part in parts[start:stop] for module in blocks.get(part, ())]
    own += [network.get_submodule(known.head)] if stop == len(parts) else []
    return Span(
        network,
        own,
        start=_find_cut(known, start),
        stop=_find_cut(known, stop),
        image_size=image_size or known.image_size,
    )


def network_rest(
    network: nn.Module, known: Backbone, start: int, image_size: int | None = None
) -> tuple[nn.Module, ...]:
    """Return what a network computes from one of its parts on, as modules that are computed one after the other.

    Of a network that is not chained it is one: only what comes before the first cut is computed of another image.

    Raises:
        ConfigError: The network cannot be cut there.
    """
    if known.chained:
        return tuple(network_stages(network, known).values())[start:]
    return (network_span(network, known, start, image_size=image_size),)


def _find_cut(known: Backbone, place: int) -> str | None:
    """Return the module before which a part begins; None for the first, and for the end."""
    parts = known.parts
    if place in {0, len(parts)}:
        return None
    part = HEAD if parts[place] == POOL else parts[place]
    if part not in known.cuts:
        raise ConfigError(f"model.backbone: {known.name} cannot be cut before {part}")
    return known.cuts[part]


def describe_weights(model: ModelConfig, file: str | None = None, image_size: int | None = None) -> WeightsInfo:
    """Load the backbone's weights, make sure that they fit, and say what they are.

    Args:
        model: The backbone, and its weights.
        file: Where they lie, if they are those of a sweep.
        image_size: Pixels square of the images.

    Raises:
        ConfigError: The weights do not fit.
        SetupError: The weights cannot be brought.
    """
    weights = load_weights(model, file, image_size)
    return WeightsInfo() if weights is None else WeightsInfo(sha256=weights.sha256, notes=weights.notes)
