"""What the values of a study are: its gain and its cost, told trial by trial, and told again where they are changed."""

import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import text

from orchestrator import names
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.errors import ConfigError, SweepError
from orchestrator.records.trials import RunRecord
from orchestrator.search.store import read_trial
from orchestrator.stats.gains import GAINS
from orchestrator.storage.gains import measure_gain
from orchestrator.storage.layout import Root

_OBJECTIVE: Final = "objective"
"""Attribute of a study whose values are others than `val_acc` and `trainable_params`."""


def read_objective(study: optuna.Study) -> ObjectiveConfig:
    """Read what the values of a study are."""
    return ObjectiveConfig(**study.user_attrs.get(_OBJECTIVE, {}))


def open_study(name: str, storage: optuna.storages.RDBStorage) -> optuna.Study:
    """Open a study as it lies in the storage; a new one has the default objective until `tell_again`."""
    directions = directions_of(ObjectiveConfig())
    return optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)


def directions_of(objective: ObjectiveConfig) -> list[StudyDirection]:
    """Return the directions of gain and cost."""
    gain = StudyDirection.MAXIMIZE if GAINS[objective.gain].sign == 1 else StudyDirection.MINIMIZE
    return [gain, StudyDirection.MINIMIZE]


def measure_values(objective: ObjectiveConfig, runs: Sequence[RunRecord], root: Root) -> list[float] | None:
    """Return gain and cost of a trial, the means over its runs; None where a run does not have them.

    Seconds are as they were measured, whatever else the machine did.
    """
    results = [run.result for run in runs if run.result is not None]
    gain = measure_gain(GAINS[objective.gain], runs, root)
    costs = [cost for result in results if (cost := result.read(objective.cost)) is not None]
    if gain is None or math.isnan(gain) or len(costs) < len(runs):
        return None
    shared = objective.cost in {names.TRAINABLE_PARAMS, names.GFLOPS_TRAIN}
    return [gain, float(costs[0]) if shared else fmean(costs)]


def require_values(objective: ObjectiveConfig, number: int, runs: Sequence[RunRecord], root: Root) -> list[float]:
    """Return gain and cost of a trial that has just ended.

    Raises:
        SweepError: A run that answers it kept no predictions, and they need them.
        ValueError: A run has no result.
    """
    lost = sum(run.result is None for run in runs)
    if lost or not runs:
        raise ValueError(f"trial {number} is told complete, and {lost} of its runs have no result")
    values = measure_values(objective, runs, root)
    if values is None:
        raise SweepError(
            f"trial {number} has no {objective.gain} or no {objective.cost}: a run that answers it kept no predictions "
            "that can be read",
            hint="put search.objective back, or train from scratch with --fresh",
        )
    return values


def tell_again(study: optuna.Study, storage: optuna.storages.RDBStorage, objective: ObjectiveConfig, root: Root) -> int:
    """Give a study another objective, and its complete trials the values that their runs have of it.

    It is one transaction: a death leaves the one or the other. What Optuna keeps in memory of the study is old then.

    Returns:
        How many trials have other values now.

    Raises:
        ConfigError: A complete trial has no such values; nothing is changed.
    """
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    records = [read_trial(trial) for trial in complete]
    found = [None if record is None else measure_values(objective, record.runs, root) for record in records]
    without = [str(trial.number) for trial, values in zip(complete, found, strict=True) if values is None]
    if without:
        raise ConfigError(
            f"search.objective cannot become {objective.gain} against {objective.cost}: the runs of trial "
            f"{', '.join(without)} of {study.study_name!r} kept no predictions that can be read, or no such cost",
            hint="put search.objective back, or train from scratch with --fresh (the old study stays, under another "
            "name)",
        )
    study_id = storage.get_study_id_from_name(study.study_name)
    values = [
        {
            "trial": storage.get_trial_id_from_study_id_trial_number(study_id, trial.number),
            "place": place,
            **_store(each),
        }
        for trial, told in zip(complete, found, strict=True)
        for place, each in enumerate(told or ())
    ]
    _replace_objective(storage, study_id, objective, values)
    return len(complete)


def _store(value: float) -> dict[str, object]:
    """Write a value as Optuna's table has it, which knows infinities by a word."""
    if math.isinf(value):
        return {"value": None, "type": "INF_POS" if value > 0 else "INF_NEG"}
    return {"value": value, "type": "FINITE"}


def _replace_objective(
    storage: optuna.storages.RDBStorage, study_id: int, objective: ObjectiveConfig, values: Sequence[dict[str, object]]
) -> None:
    directions = [
        {"study": study_id, "place": place, "direction": direction.name}
        for place, direction in enumerate(directions_of(objective))
    ]
    plain = json.dumps(objective.model_dump(mode="json"))
    with storage.engine.begin() as connection:
        connection.execute(
            text("UPDATE study_directions SET direction = :direction WHERE study_id = :study AND objective = :place"),
            directions,
        )
        if values:
            connection.execute(
                text(
                    "UPDATE trial_values SET value = :value, value_type = :type "
                    "WHERE trial_id = :trial AND objective = :place"
                ),
                values,
            )
        connection.execute(
            text(
                "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (:study, :key, :plain) "
                "ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json"
            ),
            {"study": study_id, "key": _OBJECTIVE, "plain": plain},
        )
