"""Which trial a key means: a number, or a frozen set with what else tells its trials apart."""

import math
from collections.abc import Sequence

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.records.labels import find_varied, format_value, label_point
from orchestrator.records.spec import Hyperparameters
from orchestrator.records.trials import TrialRecord, superseded


def find_trial(
    key: str | int, experiment: Experiment, trials: Sequence[TrialRecord], with_curves: Sequence[TrialRecord]
) -> TrialRecord:
    """Find the trial with curves that a key means.

    Args:
        key: A trial's number, `3` or `#3`; or a frozen set's key, its blocks in any order, and after spaces what else
            tells its trials apart: `stem+layer1 lr=0.003`.
        experiment: The sweep's.
        trials: All of the sweep, in any state.
        with_curves: Those that have curves.

    Raises:
        ConfigError: A name in the key is no block or hyperparameter, or the key means more than one trial.
        NotFoundError: There is no such trial, or it has no curves.
    """
    text = str(key).strip()
    if text.removeprefix("#").isdecimal():
        number = int(text.removeprefix("#"))
        same = [trial for trial in trials if trial.number == number]
        wanted = f"trial {number}"
    else:
        same, wanted = _find_points(text, experiment, trials)
    found = [trial for trial in same if trial in with_curves]
    if len({trial.hyperparameters for trial in same}) > 1:
        raise _refuse(wanted, same, experiment.name)
    if not found:
        labels = dict.fromkeys(_describe(trial, experiment, trials) for trial in with_curves)
        raise NotFoundError(
            f"{experiment.name!r} has no curves of {wanted}; those with curves: {', '.join(labels) or 'none'}",
            hint="it was not run, has not finished, or failed",
        )
    old = superseded(trials)
    return max(
        found,
        key=lambda trial: (trial.state == "complete", trial.repeats is None, trial.number not in old, trial.number),
    )


def _find_points(text: str, experiment: Experiment, trials: Sequence[TrialRecord]) -> tuple[list[TrialRecord], str]:
    words = text.split()
    values = [word for word in words if "=" in word]
    numbers = [word for word in words if word.startswith("#")]
    rest = " ".join(word for word in words if word not in values and word not in numbers)
    frozen = FrozenSet.parse(rest, order=experiment.blocks)
    asked = dict(word.split("=", 1) for word in values)
    unknown = sorted(set(asked) - set(Hyperparameters.model_fields))
    if unknown:
        known = ", ".join(Hyperparameters.model_fields)
        raise ConfigError(f"no trial has {', '.join(map(repr, unknown))}; trials may differ in {known}")
    found = [
        trial
        for trial in trials
        if trial.frozen == frozen
        and all(_has_value(getattr(trial.hyperparameters, name), value) for name, value in asked.items())
        and all(f"#{trial.number}" == number for number in numbers)
    ]
    return found, " ".join([f"frozen set {frozen}", *values, *numbers])


def _has_value(value: object, asked: str) -> bool:
    """Compare a value with one as labels have it, or as it is."""
    if format_value(value) == asked or str(value) == asked:
        return True
    try:
        return isinstance(value, int | float) and math.isclose(float(asked), value, rel_tol=1e-9)
    except ValueError:
        return False


def _refuse(wanted: str, trials: Sequence[TrialRecord], name: str) -> ConfigError:
    varied = [
        field
        for field in Hyperparameters.model_fields
        if len({getattr(trial.hyperparameters, field) for trial in trials}) > 1
    ]
    lines = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        values = [f"{field}={getattr(trial.hyperparameters, field)}" for field in varied]
        accuracy = "" if trial.val_acc is None else f", val_acc {trial.val_acc:.4f}"
        lines.append(f"  {trial.number}: {' '.join(values)} ({trial.state}{accuracy})")
    first = min(trial.number for trial in trials)
    return ConfigError(
        "\n".join([f"{wanted} means {len(trials)} trials of {name!r}:", *lines]),
        hint=f"use the number: `orchestrator history {name} {first}`, or in Python `history({first})`",
    )


def _describe(trial: TrialRecord, experiment: Experiment, trials: Sequence[TrialRecord]) -> str:
    return str(label_point(trial.frozen, trial.hyperparameters, find_varied(experiment, trials)))
