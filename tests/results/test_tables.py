"""Columns of the tables, their order and their types: the lists were written down before they came from one table."""

import csv
import io

import pytest

from orchestrator import names
from orchestrator.cli.output import format_csv
from orchestrator.quantities import LOSS, Quantity
from orchestrator.results import Sweep, tables
from orchestrator.results.effects import EFFECT_TYPES
from orchestrator.results.neighbours import COMPARISON_TYPES
from orchestrator.storage.layout import Root
from tests.factories import make_experiment, make_result, make_run, make_trial, make_trials

POINT = {
    "trial": "int64",
    "frozen": "string",
    "lr": "float64",
    "weight_decay": "float64",
    "batch_size": "int64",
    "optimizer": "string",
}
AVERAGED = (
    *("val_loss", "train_acc", "train_loss", "test_acc", "test_loss", "gap_train_val", "best_epoch", "epochs_run"),
    *("duration_s", "s_per_epoch", "images_per_s", "peak_memory_mb"),
)
SHARED = {
    "total_params": "Int64",
    "trainable_pct": "float64",
    "gflops_forward_per_image": "float64",
    "gflops_train_per_image": "float64",
}
BELIEF = {
    "val_acc_low": "float64",
    "val_acc_high": "float64",
    "val_acc_corrected": "float64",
    "p_front": "float64",
    "supported": "boolean",
}
TRIAL = {
    **POINT,
    "state": "string",
    "pareto": "bool",
    "val_acc": "float64",
    "trainable_params": "Int64",
    **dict.fromkeys(AVERAGED, "float64"),
    **SHARED,
    **BELIEF,
    "logme": "float64",
    "grad_share_frozen": "float64",
    "n_seeds": "int64",
    "mlflow_run_id": "string",
    "checkpoint": "string",
    "error": "string",
}
TABLES = {
    "trials": (tables.TRIAL_TYPES, TRIAL),
    "front": (
        tables.front_types("val_acc"),
        {**TRIAL, "test_acc_low": "float64", "test_acc_high": "float64", "test_drop": "float64"},
    ),
    "runs": (
        tables.RUN_TYPES,
        {
            **POINT,
            "seed": "int64",
            "state": "string",
            "pareto": "bool",
            "val_acc": "float64",
            "trainable_params": "Int64",
            **dict.fromkeys(AVERAGED, "float64"),
            "best_epoch": "Int64",
            "epochs_run": "Int64",  # in their places among the others
            **SHARED,
            "mlflow_run_id": "string",
            "checkpoint": "string",
            "fingerprint": "string",
            "reused_from": "string",
            "error": "string",
        },
    ),
    "history": (
        tables.HISTORY_TYPES,
        {
            "epoch": "int64",
            "seed": "int64",
            "train_loss": "float64",
            "train_acc": "float64",
            "val_loss": "float64",
            "val_acc": "float64",
            "balanced_accuracy": "float64",
            "macro_f1": "float64",
            "lr": "float64",
            "duration_s": "float64",
        },
    ),
    "blocks": (
        EFFECT_TYPES,
        {
            "block": "string",
            "tuning": "string",
            "instead_of": "string",
            "besides": "string",
            "n_pairs": "int64",
            "n_seeds": "Int64",
            "val_acc_effect": "float64",
            "val_acc_effect_low": "float64",
            "val_acc_effect_high": "float64",
            "gflops_train_per_image_effect": "float64",
            "trainable_params_effect": "Int64",
            "duration_s_effect": "float64",
            "duration_s_effect_low": "float64",
            "duration_s_effect_high": "float64",
            "next_block": "string",
            "n_squares": "int64",
            "interaction": "float64",
            "interaction_low": "float64",
            "interaction_high": "float64",
            "ped_anova": "float64",
        },
    ),
    "comparisons": (
        COMPARISON_TYPES,
        {
            "cheaper": "string",
            "other": "string",
            "cheaper_trial": "int64",
            "other_trial": "int64",
            "difference": "float64",
            "low": "float64",
            "high": "float64",
            "standard_error": "float64",
            "p_value": "float64",
            "p_value_adjusted": "float64",
        },
    ),
}
BRIER = Quantity(key="val_brier", kind=LOSS, meaning="Mean squared error of the class probabilities")


@pytest.mark.parametrize(("found", "expected"), TABLES.values(), ids=list(TABLES))
def test_columns_have_their_places_and_types(found, expected):
    assert list(found.items()) == list(expected.items())


def test_rows_have_their_keys_in_order(tmp_path):
    sweep = Sweep(Root.at(tmp_path), make_experiment(), make_trials())
    heads = {}
    for name, rows in {"trials": sweep.trial_rows(), "front": sweep.front_rows(), "runs": sweep.run_rows()}.items():
        (heads[name], *_) = csv.reader(io.StringIO(format_csv(rows, ())))
    trial = [
        *(*POINT, "state", "pareto", "val_acc", *BELIEF, "trainable_params", *AVERAGED, *SHARED),
        *("logme", "grad_share_frozen", "n_seeds", "mlflow_run_id", "checkpoint", "error"),
    ]
    assert heads["trials"] == trial
    assert heads["front"] == [*trial, "test_acc_low", "test_acc_high", "test_drop"]
    assert heads["runs"] == list(TABLES["runs"][1])


@pytest.fixture
def brier(monkeypatch):
    """One more metric of a run, in the table alone."""
    for home, group in ((names, "MEANS"), (names, "OF_RUN"), (tables, "OF_RUN_TABLE")):
        monkeypatch.setattr(home, group, (*getattr(home, group), BRIER))


@pytest.mark.usefixtures("brier")
def test_a_metric_that_is_added_is_in_the_tables(tmp_path):
    def runs(*measured):
        results = [make_result("stem", 0.8, seed, measured=each) for seed, each in enumerate(measured)]
        return tuple(make_run(0, "stem", seed, result=result) for seed, result in enumerate(results))

    trials = (
        make_trial(0, "stem", runs=runs({"val_brier": 0.25}, {"val_brier": 0.75})),
        make_trial(1, "none", runs=runs({"val_brier": 0.25}, {})),  # the second is of before it was measured
    )
    sweep = Sweep(Root.at(tmp_path), make_experiment(), trials)
    assert [row["val_brier"] for row in sweep.trial_rows()] == [0.5, None]
    assert [row["val_brier"] for row in sweep.run_rows()] == [0.25, 0.75, 0.25, None]
    assert sweep.best(rule="measured").number == 0  # a `Trial` has fields of its own, and passes others over
