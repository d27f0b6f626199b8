"""Rows and columns of a sweep's tables. Rows are plain values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from orchestrator import names
from orchestrator.quantities import column_types
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import Hyperparameters
from orchestrator.records.trials import RunRecord, TrialRecord, results_of
from orchestrator.storage.layout import Root

Row = dict[str, object]

OF_RUN_TABLE: Final = (*names.OBJECTIVES, *names.MEANS, *names.SHARED)
_COLUMN_TYPES: Final[dict[object, str]] = {float: "float64", int: "int64"}
_HYPERPARAMETERS: Final = {
    name: _COLUMN_TYPES.get(field.annotation, "string") for name, field in Hyperparameters.model_fields.items()
}
TRIAL_TYPES: Final = {
    names.TRIAL: "int64",
    names.FROZEN: "string",
    **_HYPERPARAMETERS,
    names.STATE: "string",
    names.PARETO: "bool",
    **column_types(names.OBJECTIVES),
    **dict.fromkeys(column_types(names.MEANS), "float64"),
    **column_types((*names.SHARED, *names.BELIEF, *names.SCORES, *names.COUNTED)),
    **dict.fromkeys((names.MLFLOW_RUN_ID, names.CHECKPOINT, names.ERROR), "string"),
}
RUN_TYPES: Final = {
    names.TRIAL: "int64",
    names.FROZEN: "string",
    **_HYPERPARAMETERS,
    names.SEED: "int64",
    names.STATE: "string",
    names.PARETO: "bool",
    **column_types(OF_RUN_TABLE),
    **dict.fromkeys(
        (names.MLFLOW_RUN_ID, names.CHECKPOINT, names.FINGERPRINT, names.REUSED_FROM, names.ERROR), "string"
    ),
}
HISTORY_TYPES: Final = {"epoch": "int64", names.SEED: "int64", **column_types(names.OF_EPOCH)}


def trial_types(gain: str) -> dict[str, str]:
    """Return the columns of trials that are judged by a gain: another than `val_acc` has its own beside it."""
    if gain == names.VAL_ACC:
        return dict(TRIAL_TYPES)
    ends = [f"{gain}_{end}" for end in names.GAIN_ENDS]
    own = dict.fromkeys([gain, *ends], "float64")
    left_out = {*own, *(f"{names.VAL_ACC}_{end}" for end in names.GAIN_ENDS)}
    types: dict[str, str] = {}
    for key, dtype in TRIAL_TYPES.items():
        types |= {} if key in left_out else {key: dtype}
        types |= own if key == names.VAL_ACC else {}
    return types


def front_types(gain: str) -> dict[str, str]:
    """Return the columns of a front likewise, with what the test split says."""
    return trial_types(gain) | column_types(names.OF_FRONT)


def with_folds(types: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of a table of runs whose sweep has folds."""
    return {
        name: kind
        for column, found in types.items()
        for name, kind in ((column, found), *([(names.FOLD, "int64")] if column == names.SEED else []))
    }


def count_params(trials: Sequence[TrialRecord]) -> float:
    """Count the parameters of the network; of several heads, the largest; those that train, without any result."""
    totals = [result.total_params for trial in trials for result in results_of(trial)]
    return float(max(totals, default=0)) or max(float(trial.trainable_params or 0) for trial in trials)


def build_trial_row(trial: TrialRecord, root: Root, *, on_front: bool, belief: Row) -> Row:
    """Return the row of a trial: means over its seeds; None where a value is missing, as before it is complete."""
    results = results_of(trial)
    first = trial.runs[0] if trial.runs else None
    return {
        names.TRIAL: trial.number,
        names.FROZEN: trial.frozen.key,
        **trial.hyperparameters.model_dump(),
        names.STATE: trial.state,
        names.PARETO: on_front,
        names.VAL_ACC: trial.val_acc,
        **belief,
        names.TRAINABLE_PARAMS: trial.trainable_params,
        **_means(results if trial.state == "complete" else []),
        **{each.key: getattr(trial.scores, each.key, None) for each in names.SCORES},
        names.N_SEEDS: len({run.seed for run in trial.runs if run.result is not None}),
        names.MLFLOW_RUN_ID: first.mlflow_run_id if first else None,
        names.CHECKPOINT: _text(checkpoint_path(first, root)) if first else None,
        names.ERROR: trial.error,
    }


def build_run_row(trial: TrialRecord, run: RunRecord, root: Root, *, on_front: bool) -> Row:
    """Return the row of a run that has ended; None where a value is missing."""
    return {
        names.TRIAL: trial.number,
        names.FROZEN: trial.frozen.key,
        **trial.hyperparameters.model_dump(),
        names.SEED: run.seed,
        **({} if run.fold is None else {names.FOLD: run.fold}),
        names.STATE: run.state,
        names.PARETO: on_front,
        **{each.key: None if run.result is None else run.result.read(each.key) for each in OF_RUN_TABLE},
        names.MLFLOW_RUN_ID: run.mlflow_run_id,
        names.CHECKPOINT: _text(checkpoint_path(run, root)),
        names.FINGERPRINT: run.fingerprint,
        names.REUSED_FROM: run.reused_from,
        names.ERROR: run.error,
    }


def checkpoint_path(run: RunRecord, root: Root) -> Path | None:
    """Name the best checkpoint of a run, absolute; None where it kept none."""
    return None if run.checkpoint is None else root.path / run.checkpoint


def _means(results: Sequence[RunResult]) -> Row:
    if not results:
        return dict.fromkeys(each.key for each in (*names.MEANS, *names.SHARED))
    means: Row = {each.key: _mean([result.read(each.key) for result in results]) for each in names.MEANS}
    return means | {each.key: results[0].read(each.key) for each in names.SHARED}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
