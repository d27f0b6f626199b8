"""What a network is made of, found out without data and without a download."""

from dataclasses import dataclass

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import CacheConfig, DataConfig, ModelConfig, TrainerConfig
from orchestrator.training.network.architectures import build_empty, find_smallest_size
from orchestrator.training.network.backbones import block_modules
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.network.published import find_published
from orchestrator.training.reuse.plan import find_uncut, plan_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """A block of a network.

    Attributes:
        block: Its name.
        modules: Paths of its modules and parameters.
        parameters: Numbers that it holds.
        gflops_saved: Floating-point operations (10^9) of an image's training step that are saved where the block, and
            all before it, are frozen; those of blocks before are not counted.
        activations_kib: Size of what the blocks up to this one give for an image, in fp32.
        kept: Whether that can be computed once for all runs.
    """

    block: str
    modules: tuple[str, ...]
    parameters: int
    gflops_saved: float
    activations_kib: float | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A network.

    Attributes:
        name: As `model.backbone` names it.
        image_size: Pixels square of the images that the counts are for.
        smallest: Pixels square of the smallest images that it takes.
        blocks: In network order.
        head: Path of the module that each run replaces.
        total_params: Numbers of the network, with a head of 1000 classes.
        gflops_forward: Floating-point operations (10^9) of an image's forward pass.
        gflops_train: Of its training step, where nothing is frozen.
        weights: What is known of its published weights.
    """

    name: str
    image_size: int
    smallest: int | None
    blocks: tuple[BlockFacts, ...]
    head: str
    total_params: int
    gflops_forward: float
    gflops_train: float
    weights: str | None


def describe_model(model: ModelConfig, image_size: int | None = None) -> ModelFacts:
    """Describe a network: blocks, parameters, operations, and what can be kept of what frozen blocks give.

    Args:
        model: The network.
        image_size: Pixels square of the images; None: the size that it was made for.

    Raises:
        ConfigError: It is not known, or takes no such images.
        SetupError: A library is missing.
    """
    known = model.network
    size = image_size or known.image_size
    data, trainer = DataConfig(source="synthetic", image_size=size), TrainerConfig(accelerator="cpu")
    prefixes = [FrozenSet.of(known.blocks[:count], order=known.blocks) for count in range(len(known.blocks) + 1)]
    costs = list(measure_costs(model, 1000, size, prefixes).values())
    modules = block_modules(build_empty(model.backbone, image_size=size), known)
    facts = []
    for count, block in enumerate(known.blocks, start=1):
        kept = find_uncut(known, known.blocks[:count]) is None
        plan = plan_prefix(model, data, prefixes[count], trainer=trainer, cache=CacheConfig())
        facts.append(
            BlockFacts(
                block=block,
                modules=tuple(known.modules[block]),
                parameters=sum(each.numel() for module in modules[block] for each in module.parameters()),
                gflops_saved=costs[count - 1].gflops_train_per_image - costs[count].gflops_train_per_image,
                activations_kib=plan.image_bytes / 2**10 if kept else None,
                kept=kept,
            )
        )
    published = find_published(model.backbone, "DEFAULT")
    return ModelFacts(
        name=model.backbone,
        image_size=size,
        smallest=find_smallest_size(model.backbone),
        blocks=tuple(facts),
        head=known.head,
        total_params=costs[0].total_params,
        gflops_forward=costs[0].gflops_forward_per_image,
        gflops_train=costs[0].gflops_train_per_image,
        weights=None if published is None else str(published),
    )
