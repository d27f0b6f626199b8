"""Whether it pays to keep what the frozen first blocks give: decided by size, and by time to read and to compute."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.backbones import HEAD, POOL, Backbone, find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import CacheConfig, DataConfig, Experiment, ModelConfig, TrainerConfig
from orchestrator.config.transforms import NO_TRANSFORM, describe_augment
from orchestrator.discovery import Blocks, Granularity
from orchestrator.storage.cache import format_size
from orchestrator.training.network.architectures import build_empty
from orchestrator.training.network.backbones import network_span
from orchestrator.training.reuse.padding import pads_batches

_FLOP_PER_S = {"cpu": 50e9, "gpu": 10e12}
"""What a convolution reaches, about: two cores of a CPU, one GPU in mixed precision."""
_BYTES_PER_S = {"cpu": 1e9, "gpu": 5e9}
"""From the cache to where the network takes it, about."""
_GIB = 2**30
_RESIDENT = 8 * _GIB
"""Bytes that are thought to fit into the memory of a GPU beside a run: they are read once a run, not each epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixPlan:
    """What becomes of the blocks before the first that trains.

    Attributes:
        parts: Their names; `pool` follows the last block, where all are frozen.
        image_bytes: Size of what they give for an image.
        image_flops: Floating-point operations that give it.
        refused: Why it is computed each epoch; None: it is computed once, and kept.
        views: Views of each training image for which it is.
    """

    parts: tuple[str, ...]
    image_bytes: int
    image_flops: int
    refused: str | None
    views: int = 1

    @property
    def kept(self) -> bool:
        """Whether it is computed once, and kept."""
        return self.refused is None


def first_frozen(model: ModelConfig, frozen: FrozenSet) -> tuple[str, ...]:
    """Name the parts of a network before the first that trains."""
    order = model.network.blocks
    parts = order[: frozen.prefix_length(order)]
    return (*parts, POOL) if parts == order else parts


def count_padded(model: ModelConfig, frozen: FrozenSet, accelerator: str) -> int:
    """Count the frozen first parts of a network that are computed in batches of one size, whether they are kept or not.

    Args:
        model: The network.
        frozen: The frozen set.
        accelerator: What the run computes on.
    """
    parts = first_frozen(model, frozen)
    padded = pads_batches(model.network, accelerator) and model.frozen_batchnorm == "eval"
    return len(parts) if padded and find_uncut(model.network, parts) is None else 0


def find_uncut(known: Backbone, parts: Sequence[str]) -> str | None:
    """Return the part behind `parts` where it cannot begin from what they gave; None: it can."""
    if known.chained or not parts:
        return None
    behind = HEAD if POOL in parts else known.parts[len(parts)]
    return None if behind in known.cuts else behind


def plan_prefix(
    model: ModelConfig,
    data: DataConfig,
    frozen: FrozenSet,
    *,
    trainer: TrainerConfig,
    cache: CacheConfig,
    images: int | None = None,
) -> PrefixPlan:
    """Decide whether the activations of a frozen set's first blocks are kept.

    Args:
        model: The network.
        data: Says how large images are, and whether they change from epoch to epoch.
        frozen: The frozen set.
        trainer: Says on what the blocks are computed, and in which precision, in concrete terms.
        cache: Says whether activations are kept at all, and how much there may be of them.
        images: Images of all splits, as `DataConfig.count_images` counts them; None where that is not known yet.
    """
    parts = first_frozen(model, frozen)
    uncut = find_uncut(model.network, parts)
    elements, flops = (0, 0) if uncut else _measure(model, data.image_size, len(parts))
    size = elements * (2 if trainer.precision == "16-mixed" else 4)
    reading, computing = size / _BYTES_PER_S[trainer.accelerator], flops / _FLOP_PER_S[trainer.accelerator]
    resident = trainer.accelerator == "gpu" and (images or 0) * size <= _RESIDENT
    refused = None
    if not parts:
        refused = "the first block trains"
    elif uncut is not None:
        refused = f"what arrives at {uncut} is more than one tensor, or is not replayed to the last bit"
    elif model.frozen_batchnorm == "track":
        refused = "model.frozen_batchnorm is track: the frozen blocks change with each batch"
    elif data.mixup > 0 or data.cutmix > 0:
        name = "mixup" if data.mixup > 0 else "cutmix"
        refused = f"data.{name} is {getattr(data, name):g}: each batch mixes its images anew"
    elif data.augment != NO_TRANSFORM and data.augment_views is None:
        refused = f"data.augment is {describe_augment(data.augment)}: the images change in each epoch"
    elif not cache.activations:
        refused = "cache.activations is false"
    elif images is not None and images * size > cache.max_gb * _GIB:
        refused = f"{images * size / _GIB:.3g} GiB are more than cache.max_gb ({cache.max_gb:g})"
    elif reading > computing and not resident:
        refused = (
            f"to read it takes longer than to compute it ({1e3 * reading:.2g} and {1e3 * computing:.2g} ms an image)"
        )
    return PrefixPlan(parts=parts, image_bytes=size, image_flops=flops, refused=refused, views=data.augment_views or 1)


def plan_prefixes(experiment: Experiment, images: int | None = None) -> dict[FrozenSet, PrefixPlan]:
    """Decide for each frozen set of a sweep whether the activations of its first blocks are kept.

    Args:
        experiment: The sweep; where its accelerator is `auto`, the machine says which that is.
        images: Images of all splits, as `DataConfig.count_images` counts them; None where that is not known yet.
    """
    trainer = experiment.trainer
    if trainer.accelerator == "auto":
        found: Literal["gpu", "cpu"] = "gpu" if torch.cuda.is_available() else "cpu"
        trainer = trainer.model_copy(update={"accelerator": found})
    data, cache = experiment.data, experiment.cache
    return {
        frozen: plan_prefix(experiment.model, data, frozen, trainer=trainer, cache=cache, images=images)
        for frozen in experiment.frozen_sets
    }


def describe_reuse(plans: Iterable[PrefixPlan], images: int | None = None) -> list[str]:
    """Return which first blocks are computed once for all runs of a sweep, and which are not and why, a sentence each.

    Args:
        plans: Of each frozen set of the sweep.
        images: Images of all splits, as `DataConfig.count_images` counts them; None where that is not known yet.
    """
    return [_describe(plan, sets, images) for plan, sets in Counter(plans).items() if plan.parts]


def _describe(plan: PrefixPlan, sets: int, images: int | None) -> str:
    blocks = "+".join(part for part in plan.parts if part != POOL)
    what = f"{blocks} of {sets} frozen {'set' if sets == 1 else 'sets'}"
    if plan.refused is not None:
        return f"computed each epoch: {what}; {plan.refused}"
    size = f"{plan.image_bytes / 2**10:.0f} KiB an image" if images is None else format_size(images * plan.image_bytes)
    views = f", {plan.views} views of each training image" if plan.views > 1 else ""
    return f"computed once for all runs: {what} ({size}{views})"


def _measure(model: ModelConfig, image_size: int, parts: int) -> tuple[int, int]:
    """Count the elements that the first parts of a network give for an image, and the operations; without data."""
    blocks = None if model.blocks is None else tuple((block, tuple(paths)) for block, paths in model.blocks.items())
    return _count(model.backbone, model.granularity, blocks, image_size, parts)


@functools.cache
def _count(
    backbone: str, granularity: Granularity, blocks: Blocks | None, image_size: int, parts: int
) -> tuple[int, int]:
    if not parts:
        return 3 * image_size**2, 0
    known = find_backbone(backbone, granularity, None if blocks is None else dict(blocks))
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        network = build_empty(backbone, image_size=image_size).eval()
        value = network_span(network, known, 0, parts, image_size)(torch.empty(1, 3, image_size, image_size))
    return value.numel(), counter.get_total_flops()
