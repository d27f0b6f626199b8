"""Rows and columns of a sweep's tables. Rows are plain values; pandas loads for a data frame only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from orchestrator import names
from orchestrator.records.runs import RunResult
from orchestrator.records.trials import RunRecord, TrialRecord, results_of
from orchestrator.storage.layout import Root

if TYPE_CHECKING:
    from pandas import DataFrame


Row = dict[str, object]

MEANS: Final = (
    names.VAL_LOSS,
    names.TRAIN_ACC,
    names.TRAIN_LOSS,
    names.TEST_ACC,
    names.TEST_LOSS,
    names.GAP_TRAIN_VAL,
    names.BEST_EPOCH,
    names.EPOCHS_RUN,
    names.DURATION_S,
    names.S_PER_EPOCH,
    names.IMAGES_PER_S,
    names.PEAK_MEMORY_MB,
)
"""Metrics that differ from seed to seed; the objective `val_acc` comes besides."""
SHARED: Final = (names.TOTAL_PARAMS, names.TRAINABLE_PCT, names.GFLOPS_FORWARD, names.GFLOPS_TRAIN)
"""Numbers that all runs of a trial share; the objective `trainable_params` comes besides."""
CURVES: Final = ("train_loss", "train_acc", "val_loss", "val_acc", "lr", "duration_s")

METRICS: Final = {
    names.VAL_ACC: "float64",
    names.TRAINABLE_PARAMS: "Int64",
    **dict.fromkeys((*MEANS, *SHARED), "float64"),
    names.TOTAL_PARAMS: "Int64",
}
BELIEF: Final = {
    names.VAL_ACC_LOW: "float64",
    names.VAL_ACC_HIGH: "float64",
    names.VAL_ACC_CORRECTED: "float64",
    names.P_FRONT: "float64",
    names.SUPPORTED: "boolean",
}
"""How far `val_acc` can be believed: ends of its 95 % interval, its expected value, its place on the front."""
SCORES: Final = dict.fromkeys((names.LOGME, names.GRAD_SHARE_FROZEN), "float64")
"""What was known of the frozen set before anything trained."""
_HYPERPARAMETERS: Final = {"lr": "float64", "weight_decay": "float64", "batch_size": "int64", "optimizer": "string"}
TRIAL_TYPES: Final = {
    names.TRIAL: "int64",
    names.FROZEN: "string",
    **_HYPERPARAMETERS,
    names.STATE: "string",
    names.PARETO: "bool",
    **METRICS,
    **BELIEF,
    **SCORES,
    names.N_SEEDS: "int64",
    **dict.fromkeys((names.MLFLOW_RUN_ID, names.CHECKPOINT, names.ERROR), "string"),
}
FRONT_TYPES: Final = {
    **TRIAL_TYPES,
    **dict.fromkeys((names.TEST_ACC_LOW, names.TEST_ACC_HIGH, names.TEST_DROP), "float64"),
}
RUN_TYPES: Final = {
    names.TRIAL: "int64",
    names.FROZEN: "string",
    **_HYPERPARAMETERS,
    names.SEED: "int64",
    names.STATE: "string",
    names.PARETO: "bool",
    **METRICS,
    names.BEST_EPOCH: "Int64",
    names.EPOCHS_RUN: "Int64",
    **dict.fromkeys(
        (names.MLFLOW_RUN_ID, names.CHECKPOINT, names.FINGERPRINT, names.REUSED_FROM, names.ERROR), "string"
    ),
}
HISTORY_TYPES: Final = {"epoch": "int64", names.SEED: "int64", **dict.fromkeys(CURVES, "float64")}


def count_params(trials: Sequence[TrialRecord]) -> float:
    """Count the parameters of the network; of several heads, the largest; those that train, without any result."""
    totals = [result.total_params for trial in trials for result in results_of(trial)]
    return float(max(totals, default=0)) or max(float(trial.trainable_params or 0) for trial in trials)


def build_trial_row(trial: TrialRecord, root: Root, *, on_front: bool, belief: Row) -> Row:
    """Say what is known of a trial: means over its seeds; None where a value is missing, as before it is complete."""
    results = results_of(trial)
    first = trial.runs[0] if trial.runs else None
    return {
        names.TRIAL: trial.number,
        names.FROZEN: trial.frozen,
        **trial.hyperparameters.model_dump(),
        names.STATE: trial.state,
        names.PARETO: on_front,
        names.VAL_ACC: trial.val_acc,
        **belief,
        names.TRAINABLE_PARAMS: trial.trainable_params,
        **_means(results if trial.state == "complete" else []),
        **{key: getattr(trial.scores, key, None) for key in SCORES},
        names.N_SEEDS: len(results),
        names.MLFLOW_RUN_ID: first.mlflow_run_id if first else None,
        names.CHECKPOINT: _text(checkpoint_path(first, root)) if first else None,
        names.ERROR: trial.error,
    }


def build_run_row(trial: TrialRecord, run: RunRecord, root: Root, *, on_front: bool) -> Row:
    """Say what is known of a run that has ended; None where a value is missing."""
    return {
        names.TRIAL: trial.number,
        names.FROZEN: trial.frozen,
        **trial.hyperparameters.model_dump(),
        names.SEED: run.seed,
        names.STATE: _state_of(run),
        names.PARETO: on_front,
        **{key: None if run.result is None else _read(run.result, key) for key in METRICS},
        names.MLFLOW_RUN_ID: run.mlflow_run_id,
        names.CHECKPOINT: _text(checkpoint_path(run, root)),
        names.FINGERPRINT: run.fingerprint,
        names.REUSED_FROM: run.reused_from,
        names.ERROR: None if run.was_stopped else run.error,
    }


def _state_of(run: RunRecord) -> str:
    if run.was_stopped:
        return names.PUT_OFF
    if run.pruned_after is not None:
        return "pruned"
    return "failed" if run.result is None else "complete"


def build_frame(rows: Sequence[Row], types: Mapping[str, str]) -> "DataFrame":
    """Turn rows into a data frame with the columns and dtypes of `types`, also where there is no row."""
    import pandas as pd  # a second

    return pd.DataFrame(rows, columns=list(types)).astype(dict(types))


def checkpoint_path(run: RunRecord, root: Root) -> Path | None:
    """Name the best checkpoint of a run, absolute; None where it kept none."""
    return None if run.checkpoint is None else root.path / run.checkpoint


def _means(results: Sequence[RunResult]) -> Row:
    if not results:
        return dict.fromkeys((*MEANS, *SHARED))
    means: Row = {key: fmean(_read(result, key) for result in results) for key in MEANS}
    return means | {key: getattr(results[0], key) for key in SHARED}


def _read(result: RunResult, key: str) -> float:
    """Read a metric of a run as tables show it: epochs count from 1."""
    value: float = result.best_epoch_number if key == names.BEST_EPOCH else getattr(result, key)
    return value


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
