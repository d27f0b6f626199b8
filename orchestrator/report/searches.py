"""MLflow searches that work here: the cheat sheet of the sweep's note and of the documentation.

MLflow's grammar joins comparisons with `and` only; it knows no `or`, `not`, `between` and no parentheses. A name
with a slash stands in backticks. Values of params and tags are strings.
"""

from dataclasses import dataclass

from orchestrator import names


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchExample:
    """A search of the runs of an experiment.

    Attributes:
        title: What it finds.
        query: The search, as typed in the MLflow UI or given as `filter_string`.
        order_by: How to sort what is found, as `order_by` of `search_runs` takes it; None: newest first.
    """

    title: str
    query: str
    order_by: str | None = None


_RUNS = f"tags.{names.KIND} = '{names.KIND_RUN}'"
_FINISHED = "attributes.status = 'FINISHED'"

CHEAT_SHEET: tuple[SearchExample, ...] = (
    SearchExample(
        title="the front, from cheap to dear",
        query=f"tags.{names.PARETO} = 'true' and {_RUNS}",
        order_by=f"metrics.{names.TRAINABLE_PARAMS} ASC",
    ),
    SearchExample(
        title="accurate enough, within a budget of parameters",
        query=f"metrics.{names.VAL_ACC} >= 0.9 and metrics.{names.TRAINABLE_PARAMS} <= 3000000",
        order_by=f"metrics.{names.VAL_ACC} DESC",
    ),
    SearchExample(
        title="all finished runs, the most accurate first",
        query=f"{_RUNS} and {_FINISHED}",
        order_by=f"metrics.{names.VAL_ACC} DESC",
    ),
    SearchExample(title="runs that freeze layer1", query=f"params.{names.FREEZE_PREFIX}layer1 = '1'"),
    SearchExample(
        title="runs that freeze the stem and train layer4",
        query=f"params.{names.FREEZE_PREFIX}stem = '1' and params.{names.FREEZE_PREFIX}layer4 = '0'",
    ),
    SearchExample(title="runs that train all of layer4", query=f"params.{names.TUNE_PREFIX}layer4 = 'full'"),
    SearchExample(title="one frozen set: every trial and seed", query=f"params.{names.FROZEN} = 'stem+layer1'"),
    SearchExample(title="frozen sets with both names in them", query=f"params.{names.FROZEN} LIKE '%stem+layer1%'"),
    SearchExample(title="runs of one trial", query=f"tags.{names.OPTUNA_TRIAL} = '0'"),
    SearchExample(title="runs with one seed", query=f"params.{names.SEED} = '0' and {_RUNS}"),
    SearchExample(title="accuracy of the last epoch", query=f"metrics.`{names.CURVE_VAL_ACC}` > 0.8"),
    SearchExample(
        title="runs that overfit",
        query=f"metrics.{names.GAP_TRAIN_VAL} > 0.1",
        order_by=f"metrics.{names.GAP_TRAIN_VAL} DESC",
    ),
    SearchExample(
        title="quick runs",
        query=f"metrics.{names.DURATION_S} < 60 and {_FINISHED}",
        order_by=f"metrics.{names.DURATION_S} ASC",
    ),
    SearchExample(title="runs that failed", query=f"attributes.status = 'FAILED' and {_RUNS}"),
    SearchExample(title="runs that were stopped", query=f"attributes.status = 'KILLED' and {_RUNS}"),
    SearchExample(title="the sweep itself", query=f"tags.{names.KIND} = '{names.KIND_SWEEP}'"),
)
"""Each is run by a test against a store with real runs."""
