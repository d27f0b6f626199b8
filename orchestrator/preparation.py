"""What is done once before anything trains, in a process of its own: it loads the libraries that train.

The fork server of the workers loads this module before what runs need, which takes longer.
"""

from collections.abc import Callable
from dataclasses import replace

from orchestrator.cache import Cache
from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError
from orchestrator.layout import Root
from orchestrator.packing import GpuShare
from orchestrator.prepared import Prepared
from orchestrator.records import CachePlace, Cost
from orchestrator.scores import BlockScores
from orchestrator.scoring import find_scores
from orchestrator.training.backbones import describe_weights
from orchestrator.training.costs import measure_costs
from orchestrator.training.data import describe_data
from orchestrator.training.device import count_gpus, resolve_trainer
from orchestrator.training.prefix_plan import describe_reuse, plan_prefixes
from orchestrator.training.work import estimate_work, list_boundaries

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
    trainer = resolve_trainer(experiment.trainer)
    weights = describe_weights(experiment.model, weights_file)
    place = CachePlace(folder=str(root.cache), **experiment.cache.model_dump())
    data = describe_data(experiment.data, cache=Cache.at(place, say) if place.images else None)
    concrete = experiment.model_copy(update={"trainer": trainer})
    images = sum(data.split_sizes.values())
    plans = plan_prefixes(concrete, images)
    for note in (*weights.notes, *data.notes, *describe_reuse(plans.values(), images)):
        say(note)
    classes = len(data.class_names)
    if experiment.model.num_classes not in {None, classes}:
        raise ConfigError(
            f"model.num_classes is {experiment.model.num_classes}, but {data.source} has {classes} classes: "
            f"{', '.join(data.class_names)}",
            hint=f"set model.num_classes to {classes}, or leave it out",
        )
    costs = count_costs(experiment, classes)
    limit = experiment.search.max_trainable_params
    boundaries = list_boundaries(
        plan for key, plan in plans.items() if limit is None or costs[key].trainable_params <= limit
    )
    prepared = Prepared(
        experiment=concrete,
        data=data,
        weights_sha256=weights.sha256,
        weights_file=weights_file,
        costs=costs,
        work=estimate_work(concrete, costs, plans, data.split_sizes),
        gpus=count_gpus(),
        cache=place.model_copy(update={"boundaries": boundaries}),
    )
    return replace(prepared, scores=find_scores(prepared, kept, say))


def measure_gpu_share(experiment: Experiment, classes: int, say: Say) -> GpuShare | None:
    """Measure what a run takes of a GPU; None where that fails, and why is said."""
    from orchestrator.training.probe import probe_gpu  # it loads what runs need

    try:
        return probe_gpu(experiment, classes)
    except RuntimeError as error:
        say(f"how much of a GPU a run takes could not be measured, so each has one: {error}")
        return None


def count_costs(experiment: Experiment, classes: int) -> dict[str, Cost]:
    """Count what each frozen set of an experiment costs, by key; no data are needed."""
    return measure_costs(experiment.model, classes, experiment.data.image_size, experiment.frozen_sets)
