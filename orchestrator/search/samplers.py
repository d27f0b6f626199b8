"""Optuna's samplers by name, and ours."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import optuna

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.config.tunings import FULL_ONLY
from orchestrator.records.facts import Cost
from orchestrator.search.block_sampler import BlockSampler

_SAMPLER: Final = "sampler"
"""Attribute of a study: the sampler that it began with. Studies of earlier versions have none."""


@contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without a warning: the tests hold it to what we need of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def choose_sampler(study: optuna.Study, experiment: Experiment) -> str:
    """Choose what samples a study, as `search.sampler` names it, and note it in a new study.

    `auto` is `blocks` where frozen sets are all that is searched, as one parameter or as a boolean a block, else TPE;
    a study goes on with what it began with.
    """
    search, trials = experiment.search, study.get_trials(deepcopy=False)
    if search.sampler != "auto":
        return search.sampler
    in_part = search.encoding == "per_block" and search.tunings != FULL_ONLY
    chosen = "tpe" if search.dimensions or in_part else "blocks"
    if not trials:
        study.set_user_attr(_SAMPLER, chosen)
    return str(study.user_attrs.get(_SAMPLER, "tpe"))


def build_sampler(
    name: str, seed: int, experiment: Experiment, sets: Sequence[FrozenSet], costs: Mapping[FrozenSet, Cost]
) -> optuna.samplers.BaseSampler:
    """Build a sampler by its name.

    Args:
        name: As `search.sampler` names it, but for `auto`.
        seed: Of the sampler.
        experiment: What is searched.
        sets: Frozen sets among which it chooses.
        costs: Of each of them that is searched.
    """
    with experimental():
        match name:
            case "blocks":
                return BlockSampler(
                    experiment.blocks,
                    sets=sets,
                    encoding=experiment.search.encoding,
                    costs=_read_costs(experiment.search.objective.cost, sets, costs),
                    seed=seed,
                )
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case _:
                return optuna.samplers.TPESampler(seed=seed)


def _read_costs(
    key: str, sets: Sequence[FrozenSet], costs: Mapping[FrozenSet, Cost]
) -> Mapping[FrozenSet, float] | None:
    """Return what each set costs; None where that is only known of what has run, such as seconds."""
    if key not in Cost.model_fields:
        return None
    return {each: float(getattr(costs[each], key)) for each in sets if each in costs}
