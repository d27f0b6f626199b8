"""What a sweep would do, found out without doing it."""

from dataclasses import dataclass

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.config.sources import known_classes
from orchestrator.errors import ConfigError
from orchestrator.masking import mask_credentials
from orchestrator.records.facts import Cost
from orchestrator.records.spec import Choice

_QUICK_FILES = 20_000
"""Files of a data folder whose classes a plan compares with `model.num_classes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep would do, known before data are loaded."""

    experiment: Experiment
    choices: tuple[Choice, ...] | None
    """Every point that fits the budget, as they run one by one; None where a sampler decides as it goes."""
    costs: dict[FrozenSet, Cost]
    """Of every frozen set of the space, those over budget too."""
    reuse: tuple[str, ...]
    """What is computed once for all runs, and what is not and why, a sentence each."""
    left_out: tuple[FrozenSet, ...]
    """The frozen sets that `search.max_trainable_params` leaves out."""
    found: tuple[str, ...] = ()
    """What is known of weights and data, a sentence each."""
    unchecked: tuple[str, ...] = ()
    """What only a run finds out, a phrase each."""


def plan_sweep(experiment: Experiment) -> Plan:
    """List what a sweep would run and what each frozen set costs. Nothing is downloaded or written.

    Raises:
        ConfigError: Weights or data are not there or do not fit, as far as that can be told without decoding an image;
            the number of classes is not known without the data; or the budget leaves nothing.
        SetupError: What was downloaded before is damaged.

    Example:
        >>> from orchestrator import load_experiment, plan_sweep
        >>> plan = plan_sweep(load_experiment("demo"))
        >>> {str(choice.frozen): plan.costs[choice.frozen].trainable_params for choice in plan.choices}
        {'none': 11178051, 'stem+layer1': 11020547}
    """
    from orchestrator.training.preparation.precheck import check_inputs  # before what loads torch

    experiment = experiment.with_blocks()
    checked = check_inputs(experiment, deep=True)
    checked.raise_any()
    from orchestrator.training.images.augmentation import require_transform

    require_transform(experiment.data)
    from orchestrator.search import plan_choices
    from orchestrator.training.preparation.prepare import count_costs
    from orchestrator.training.reuse.plan import describe_reuse, plan_prefixes

    classes = _count_classes(experiment, checked.files)
    costs = count_costs(experiment, classes or experiment.model.num_classes or 0)
    choices, left_out = plan_choices(experiment, costs)
    reuse = tuple(describe_reuse(plan_prefixes(experiment).values()))
    return Plan(
        experiment=experiment,
        choices=choices,
        costs=costs,
        left_out=left_out,
        reuse=reuse,
        found=checked.notes,
        unchecked=(*checked.unchecked, *_unchecked(experiment, classes_known=classes is not None)),
    )


def _unchecked(experiment: Experiment, *, classes_known: bool) -> list[str]:
    """List what a plan never looks at."""
    store = experiment.tracking.mlflow_uri
    return [
        *([] if classes_known else [f"that {experiment.data.source} has {experiment.model.num_classes} classes"]),
        "device and memory",
        *([] if store is None else [f"the tracking store {mask_credentials(store)}"]),
    ]


def _count_classes(experiment: Experiment, files: int | None) -> int | None:
    """Count the classes of the data, where that takes no download and no decoding; None where it would.

    Args:
        experiment: The experiment.
        files: Files of the data folder, where it is one.

    Raises:
        ConfigError: There are others than `model.num_classes`, or their number is not known without a download.
    """
    source, given = experiment.data.source, experiment.model.num_classes
    known = known_classes(experiment.data)
    if known is not None:
        return known
    if files is None or (given is not None and files > _QUICK_FILES):
        if given is not None:
            return None
        raise ConfigError(
            f"the plan needs the number of classes, and {source} is not downloaded for a plan",
            hint="set model.num_classes",
        )
    from orchestrator.training.data.loading import describe_data
    from orchestrator.training.preparation.prepare import wrong_classes

    names = describe_data(experiment.data, decode=False).class_names
    if given not in {None, len(names)}:
        raise wrong_classes(experiment, source, names)
    return len(names)
