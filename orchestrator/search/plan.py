"""The plan of a finite search space: which trials run, in which order, and which are left out. Pure."""

import math
from collections.abc import Mapping
from itertools import product

from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError
from orchestrator.records.facts import Cost
from orchestrator.records.scores import BlockScores
from orchestrator.records.spec import Choice, Hyperparameters


def plan_choices(
    experiment: Experiment, costs: Mapping[str, Cost], scores: BlockScores | None = None
) -> tuple[tuple[Choice, ...] | None, tuple[str, ...]]:
    """List the points of the space in the order in which they run one by one, and the frozen sets over budget.

    The points are None where a sampler decides: it is asked for by name, or the space is infinite or larger than
    `search.n_trials`. Those that share their first frozen blocks follow each other, the costliest first: what frozen
    blocks give is computed once for each group, on from what the group before kept, and short runs fill the end. Of
    those that cost the same, whatever freezes the smaller share of the gradient comes first, where there are scores.

    Raises:
        ConfigError: The budget leaves no frozen set; or the trials are to race, and there is no plan.
    """
    search = experiment.search
    limit = search.max_trainable_params
    prefixes = {frozen.key: frozen.prefix_length(experiment.blocks) for frozen in experiment.frozen_sets}
    keys = list(prefixes)
    over = tuple(key for key in keys if limit is not None and costs[key].trainable_params > limit)
    kept = [key for key in keys if key not in over]
    if not kept:
        least = min(costs[key].trainable_params for key in keys)
        raise ConfigError(
            f"search.max_trainable_params={limit} leaves no frozen set: the smallest trains {least:,} parameters",
            hint=f"set it to {least} at least, or freeze more in search.frozen",
        )
    dimensions = search.dimensions
    if search.sampler != "auto" or any(getattr(each, "range", None) is not None for each in dimensions.values()):
        return None, over
    shares = {key: scores.of(key).grad_share_frozen or 0.0 if scores is not None else 0.0 for key in kept}
    ordered = sorted(kept, key=lambda key: (prefixes[key], -costs[key].gflops_train_per_image, shares[key]))
    grid = [
        dict(zip(dimensions, values, strict=True))
        for values in product(*(d.choices or () for d in dimensions.values()))
    ]
    if search.n_trials is not None and len(ordered) * len(grid) > search.n_trials:
        if search.strategy == "race":
            raise ConfigError(
                f"search.strategy race runs a planned space, and search.n_trials={search.n_trials} leaves the choice "
                f"among {len(ordered) * len(grid)} points to a sampler",
                hint=f"set search.n_trials to {len(ordered) * len(grid)} at least, or leave it out",
            )
        return None, over
    base = Hyperparameters.of(experiment)
    choices = [Choice(frozen=key, hyperparameters=base.model_copy(update=point)) for key in ordered for point in grid]
    return tuple(choices), over


def count_points(experiment: Experiment) -> int | None:
    """Count the trials of a whole study; None where that depends on the costs (`search.max_trainable_params`)."""
    search = experiment.search
    dimensions = list(search.dimensions.values())
    if search.sampler == "auto" and all(each.choices is not None for each in dimensions):
        size = len(experiment.frozen_sets) * math.prod(len(each.choices or ()) for each in dimensions)
        if search.n_trials is None or size <= search.n_trials:
            return size if search.max_trainable_params is None else None
    return search.n_trials
