"""How much a run computes: what it trains and evaluates, and its share of what is computed once for all."""

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.records.facts import Cost
from orchestrator.training.reuse.plan import PrefixPlan


def list_boundaries(plans: Iterable[PrefixPlan]) -> tuple[int, ...]:
    """List after how many first parts of the network runs begin, because what those give is kept; rising."""
    return tuple(sorted({len(plan.parts) for plan in plans if plan.kept}))


def estimate_work(
    experiment: Experiment,
    costs: Mapping[FrozenSet, Cost],
    plans: Mapping[FrozenSet, PrefixPlan],
    split_sizes: Mapping[str, int],
) -> dict[FrozenSet, float]:
    """Count the floating-point operations of a run of each frozen set, in 10^9, as if none stopped early.

    A run does not compute the first parts whose activations are kept, but for its share: those are computed once for
    all images, on from the boundary before, by one of the runs that begin there.

    Args:
        experiment: The sweep.
        costs: Of each frozen set.
        plans: Of their first parts, likewise.
        split_sizes: Images in `train`, `validation` and `test`.
    """
    epochs, seeds = experiment.trainer.max_epochs, len(experiment.search.seeds)
    evaluated = epochs * split_sizes["validation"] + split_sizes["test"]
    boundaries = [0, *sorted({plan.image_flops for plan in plans.values() if plan.kept})]
    before = dict(zip(boundaries[1:], boundaries, strict=False))
    sets = Counter(plan.image_flops for plan in plans.values() if plan.kept)
    work = {}
    for frozen, plan in plans.items():
        prefix = plan.image_flops if plan.kept else 0
        once = (prefix - before[prefix]) / (sets[prefix] * seeds) if plan.kept else 0
        training = epochs * split_sizes["train"] * (costs[frozen].gflops_train_per_image - prefix / 1e9)
        evaluation = evaluated * (costs[frozen].gflops_forward_per_image - prefix / 1e9)
        work[frozen] = training + evaluation + experiment.data.count_images(split_sizes) * once / 1e9
    return work
