"""What is done once before anything trains, in a process of its own: it loads the libraries that train.

The fork server of the workers loads this module before what runs need, which takes longer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment, TrainerConfig
from orchestrator.errors import ConfigError
from orchestrator.machine.gpus import GpuShare, explain_no_share
from orchestrator.records.facts import Cost
from orchestrator.records.place import CachePlace
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.records.scores import BlockScores
from orchestrator.storage.cache import Cache
from orchestrator.storage.layout import Root
from orchestrator.training.data.loading import describe_data
from orchestrator.training.device import Gpu, explain_cpu, list_gpus, resolve_trainer
from orchestrator.training.network.architectures import build_empty, require_size
from orchestrator.training.network.backbones import describe_weights
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.network.published import find_published
from orchestrator.training.network.weight_files import shorten
from orchestrator.training.preparation.scoring import find_scores
from orchestrator.training.preparation.work import estimate_work, list_boundaries
from orchestrator.training.reuse.plan import describe_reuse, plan_prefixes

Say = Callable[[str], None]


def prepare(
    experiment: Experiment, root: Root, kept: BlockScores | None, weights_file: str | None, say: Say
) -> Prepared:
    """Load the data once, hash the weights, settle the device, count what each frozen set costs, and score the blocks.

    Decoding every image to find broken ones fills the cache, where that is on.

    Args:
        experiment: What is to be swept.
        root: Where the cache lies.
        kept: Scores that an earlier call found.
        weights_file: Where the weights lie, if they are those of a sweep.
        say: Hears what a user should know, a sentence.

    Raises:
        ConfigError: The head does not fit the data; columns, classes or weights are wrong.
        SetupError: Data or weights cannot be brought, or the device is not there.
    """
    experiment = _settle_images(experiment, say)
    trainer, gpus = _settle_device(experiment, say)
    if experiment.model.weights != "none":
        say(Step(f"loading the weights {experiment.model.weights}"))
    weights = describe_weights(experiment.model, weights_file, experiment.data.image_size)
    place = CachePlace(folder=str(root.cache), **experiment.cache.model_dump())
    say(Step(f"reading the data, {experiment.data.source}"))
    data = describe_data(experiment.data, cache=Cache.at(place, say) if place.images else None)
    concrete = experiment.model_copy(update={"trainer": trainer})
    images, classes = experiment.data.count_images(data.split_sizes), len(data.class_names)
    plans = plan_prefixes(concrete, images)
    for note in (*weights.notes, *data.notes, *describe_reuse(plans.values(), images)):
        say(note)
    if experiment.model.num_classes not in {None, classes}:
        raise wrong_classes(experiment, data.source, data.class_names)
    say(Step("counting what each frozen set costs"))
    costs = count_costs(experiment, classes)
    limit = experiment.search.max_trainable_params or math.inf
    boundaries = list_boundaries(plan for frozen, plan in plans.items() if costs[frozen].trainable_params <= limit)
    prepared = Prepared(
        experiment=concrete,
        data=data,
        weights_sha256=weights.sha256,
        weights_file=weights_file,
        costs=costs,
        work=estimate_work(concrete, costs, plans, data.split_sizes),
        gpus=len(gpus),
        gpu_uuids=tuple(gpu.uuid for gpu in gpus if gpu.uuid),
        cache=place.model_copy(update={"boundaries": boundaries}),
    )
    return replace(prepared, scores=find_scores(prepared, kept, say))


def _settle_images(experiment: Experiment, say: Say) -> Experiment:
    """Take mean and standard deviation from the weights' own description, unless they are configured; say which.

    Raises:
        ConfigError: The network takes no images of the configured size.
    """
    model, data = experiment.model, experiment.data
    require_size(build_empty(model.backbone, image_size=data.image_size), model.backbone, data.image_size)
    published = find_published(model.backbone, model.weights)
    if published is None:
        return experiment
    if published.name:
        say(f"model.weights: {published.name} of {model.backbone} were made with {published}")
    stated = {"mean": published.mean, "std": published.std}
    other = {name: each for name, each in stated.items() if tuple(getattr(data, name)) != each}
    free = {name: each for name, each in other.items() if published.name and name not in data.model_fields_set}
    for name, each in other.items():
        told = "taken from the weights" if name in free else f"and the weights of {model.backbone} have {list(each)}"
        say(f"data.{name} is {list(each if name in free else getattr(data, name))}: {told}")
    return experiment.model_copy(update={"data": data.model_copy(update=free)})


def _settle_device(experiment: Experiment, say: Say) -> tuple[TrainerConfig, Sequence[Gpu]]:
    """Make accelerator and precision concrete; list the GPUs that runs may use."""
    trainer = resolve_trainer(experiment.trainer)
    if trainer.accelerator == "gpu":
        return trainer, list_gpus()
    if experiment.trainer.accelerator == "auto":
        say(f"trainer.accelerator is auto: runs train on the CPU, because {explain_cpu()}")
    return trainer, ()


def wrong_classes(experiment: Experiment, source: str, names: Sequence[str]) -> ConfigError:
    """Build the error of a head that does not fit the classes `names` of the data."""
    return ConfigError(
        f"model.num_classes is {experiment.model.num_classes}, but {source} has {len(names)} classes: "
        f"{shorten(list(names), 20)}",
        hint=f"set model.num_classes to {len(names)}, or leave it out",
    )


def measure_gpu_share(experiment: Experiment, classes: int, images: int, say: Say) -> GpuShare | None:
    """Measure how much of a GPU a run takes; None where that cannot be done, for whatever reason.

    It starts CUDA in this process.

    Args:
        experiment: With its `auto` values concrete.
        classes: Outputs of the head.
        images: Images of all splits.
        say: Hears why it cannot be done.
    """
    from orchestrator.training.preparation.probe import measure_share  # it loads what runs need

    try:
        return measure_share(experiment, classes, images)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the measurement, runs may well work
        say(explain_no_share(error))
        return None


def count_costs(experiment: Experiment, classes: int) -> dict[FrozenSet, Cost]:
    """Count what each frozen set of an experiment costs; no data are needed."""
    return measure_costs(experiment.model, classes, experiment.data.image_size, experiment.frozen_sets)
