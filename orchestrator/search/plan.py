"""The plan of a finite search space: which trials run, in which order, and which are left out. Pure."""

from collections.abc import Mapping
from itertools import product

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment, SearchConfig
from orchestrator.errors import ConfigError
from orchestrator.records.facts import Cost
from orchestrator.records.scores import BlockScores
from orchestrator.records.spec import Choice, Hyperparameters


def plan_choices(
    experiment: Experiment, costs: Mapping[FrozenSet, Cost], scores: BlockScores | None = None
) -> tuple[tuple[Choice, ...] | None, tuple[FrozenSet, ...]]:
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
    every = experiment.frozen_sets
    over = tuple(frozen for frozen in every if limit is not None and costs[frozen].trainable_params > limit)
    kept = [frozen for frozen in every if frozen not in over]
    if not kept:
        least = min(costs[frozen].trainable_params for frozen in every)
        raise ConfigError(
            f"search.max_trainable_params={limit} leaves no frozen set: the smallest trains {least:,} parameters",
            hint=f"set it to {least} at least, or freeze more in search.frozen",
        )
    grid = _build_grid(search)
    if grid is None:
        return None, over

    def rank(frozen: FrozenSet) -> tuple[int, float, float]:
        share = scores.of(frozen).grad_share_frozen or 0.0 if scores is not None else 0.0
        return frozen.prefix_length(experiment.blocks), -costs[frozen].gflops_train_per_image, share

    ordered = sorted(kept, key=rank)
    if not _may_plan(search, len(ordered) * len(grid)):
        if search.strategy == "race":
            raise ConfigError(
                f"search.strategy race runs a planned space, and search.n_trials={search.n_trials} leaves the choice "
                f"among {len(ordered) * len(grid)} points to a sampler",
                hint=f"set search.n_trials to {len(ordered) * len(grid)} at least, or leave it out",
            )
        return None, over
    base = Hyperparameters.of(experiment)
    choices = [
        Choice(frozen=frozen, hyperparameters=base.model_copy(update=point)) for frozen in ordered for point in grid
    ]
    return tuple(choices), over


def count_points(experiment: Experiment) -> int | None:
    """Count the trials of a whole study; None where that depends on the costs (`search.max_trainable_params`)."""
    search = experiment.search
    grid = _build_grid(search)
    if grid is None or not _may_plan(search, size := len(experiment.frozen_sets) * len(grid)):
        return search.n_trials
    return size if search.max_trainable_params is None else None


def _build_grid(search: SearchConfig) -> list[dict[str, object]] | None:
    """Build what each frozen set is combined with; None where a sampler is asked for by name, or there is no end."""
    choices = {name: each.values for name, each in search.dimensions.items()}
    if search.sampler != "auto" or None in choices.values():
        return None
    return [dict(zip(choices, values, strict=True)) for values in product(*(each or () for each in choices.values()))]


def _may_plan(search: SearchConfig, points: int) -> bool:
    """Whether so many points are run one by one; else a sampler chooses among them."""
    return search.n_trials is None or points <= search.n_trials
