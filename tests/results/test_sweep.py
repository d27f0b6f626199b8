"""Answers about a sweep; expected values are worked out by hand from the trials below."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.results import Sweep, load_sweep
from orchestrator.storage.layout import Root
from tests.factories import (
    PREFIXES,
    TOTAL_PARAMS,
    count_trainable,
    make_experiment,
    make_history,
    make_hyperparameters,
    make_result,
    make_run,
    make_trial,
    make_trials,
)

ALL_FROZEN = PREFIXES[-1]


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """Six prefixes; 0.96 with `stem+layer1` beats `none` (0.95) and `stem` (0.94), which train more."""
    return Sweep(Root.at(tmp_path), make_experiment(), make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)))


def make_sweep(tmp_path, *trials, **experiment) -> Sweep:
    return Sweep(Root.at(tmp_path), make_experiment(**experiment), trials)


def test_front_by_rising_parameters(sweep):
    frame = sweep.pareto_front()
    assert list(frame["frozen"]) == [ALL_FROZEN, *reversed(PREFIXES[2:5])]
    assert frame["trainable_params"].is_monotonic_increasing
    assert frame["val_acc"].is_monotonic_increasing
    assert list(sweep.trials_dataframe().query("pareto")["trial"]) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("budget", "frozen"),
    [
        ({}, "stem+layer1"),
        ({"max_trainable_params": count_trainable("stem+layer1")}, "stem+layer1"),
        ({"max_trainable_params": count_trainable("stem+layer1") - 1}, "stem+layer1+layer2"),
        ({"max_trainable_params": 3_000_000}, ALL_FROZEN),
        ({"min_val_acc": 0.9}, "stem+layer1+layer2"),
        ({"min_val_acc": 0.91}, "stem+layer1"),
        ({"min_val_acc": 0.0}, ALL_FROZEN),
        ({"min_val_acc": 0.7, "max_trainable_params": 9_000_000}, "stem+layer1+layer2+layer3"),
    ],
)
def test_best_within_a_budget(sweep, budget, frozen):
    assert sweep.best(**budget).frozen == frozen


def test_best_breaks_ties_by_fewer_parameters_then_by_number(tmp_path):
    tied = make_sweep(tmp_path, make_trial(0, "none", 0.9), make_trial(2, "layer4", 0.9), make_trial(1, "layer4", 0.9))
    assert tied.best().number == 1
    assert tied.best(min_val_acc=0.9).number == 1
    assert [row["trial"] for row in tied.front_rows()] == [1, 2]  # equal points are both on the front


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_trainable_params": 1000}, r"at most 1,000 .* closest is trial 5 .* 1,539"),
        ({"min_val_acc": 0.99}, r"reaches val_acc 0.99; .* closest is trial 2 \(stem\+layer1\): val_acc 0.9600"),
        (
            {"min_val_acc": 0.9, "max_trainable_params": 9_000_000},
            r"at most 9,000,000 parameters reaches val_acc 0.9; .* trial 4 .* 0.8500",
        ),
    ],
)
def test_best_names_the_closest(sweep, budget, message):
    with pytest.raises(NotFoundError, match=message):
        sweep.best(**budget)


def test_knee_by_hand(tmp_path):
    # log10 of 1,539, 2,784,643 (layer4 frozen) and 11,178,051 is 3.187, 6.445 and 7.048: x = 0, 0.844, 1
    # y = (0.9 - 0.5) / (0.92 - 0.5) = 0.952, and 0.952 - 0.844 is above the chord
    sweep = make_sweep(
        tmp_path, *(make_trial(i, k, a) for i, (k, a) in enumerate({"none": 0.92, "layer4": 0.9}.items()))
    )
    assert sweep.knee().frozen == "layer4"  # of two, the cheaper
    sweep = make_sweep(tmp_path, *sweep.trials, make_trial(2, ALL_FROZEN, 0.5))
    assert sweep.knee().frozen == "layer4"


def test_nothing_is_complete(tmp_path):
    sweep = make_sweep(
        tmp_path, make_trial(0, error="boom"), make_trial(1, runs=(), state="running", trainable_params=None)
    )
    for ask in (sweep.best, sweep.knee):
        with pytest.raises(NotFoundError, match="complete yet: 1 failed, 1 running"):
            ask()
    assert sweep.front_rows() == []
    assert len(sweep.pareto_front()) == 0
    assert sweep.summary_metrics() == {"n_trials": 2, "n_failed": 1, "front_size": 0}
    with pytest.raises(NotFoundError, match="none has started"):
        make_sweep(tmp_path).best()


def test_tables_have_typed_columns(sweep, tmp_path):
    kinds = {
        "trial": "i",
        "n_seeds": "i",
        "batch_size": "i",
        "pareto": "b",
        "val_acc": "f",
        "best_epoch": "f",
        "lr": "f",
    }
    empty = make_sweep(tmp_path)
    failed = make_sweep(tmp_path, make_trial(0, error="boom"), make_trial(1, "none", 0.9))
    for each in (sweep, empty, failed):
        frame = each.trials_dataframe()
        assert {name: frame[name].dtype.kind for name in kinds} == kinds
        assert frame["trainable_params"].dtype == frame["total_params"].dtype == pd.Int64Dtype()
        for name in ("frozen", "state", "mlflow_run_id", "checkpoint", "error", "optimizer"):
            assert isinstance(frame[name].dtype, pd.StringDtype)
        runs = each.runs_dataframe()
        assert runs["best_epoch"].dtype == pd.Int64Dtype()
        assert {"seed": runs["seed"].dtype.kind, "val_loss": runs["val_loss"].dtype.kind} == {
            "seed": "i",
            "val_loss": "f",
        }
    frame = failed.trials_dataframe()
    assert math.isnan(frame["val_acc"][0])
    assert list(frame["trainable_params"].isna()) == [True, False]
    assert frame["error"][0] == "boom"


def test_a_trial_is_the_mean_over_its_seeds(tmp_path):
    results = [make_result("stem", acc, seed, duration_s=s) for seed, acc, s in ((3, 0.8, 10.0), (1, 0.9, 14.0))]
    runs = tuple(make_run(0, "stem", seed, result=result) for seed, result in zip((3, 1), results, strict=True))
    sweep = make_sweep(tmp_path, make_trial(0, "stem", 0.85, runs=runs))
    (row,) = sweep.trial_rows()
    assert (row["val_acc"], row["duration_s"], row["n_seeds"]) == (0.85, 12.0, 2)
    assert row["test_acc"] == pytest.approx((0.78 + 0.88) / 2)
    assert row["mlflow_run_id"] == runs[0].mlflow_run_id  # the first seed, as configured
    assert row["checkpoint"] == str(tmp_path / (runs[0].checkpoint or ""))
    assert [(run["seed"], run["val_acc"]) for run in sweep.run_rows()] == [(3, 0.8), (1, 0.9)]
    trial = sweep.best()
    assert (trial.seeds, trial.duration_s, trial.total_params) == ((3, 1), 12.0, TOTAL_PARAMS)
    assert trial.checkpoint == tmp_path / (runs[0].checkpoint or "")
    assert trial.find_checkpoint(1) == tmp_path / (runs[1].checkpoint or "")
    with pytest.raises(NotFoundError, match=r"trial 0 .* no run with seed 7"):
        trial.load_model(seed=7)


def test_a_failed_trial_keeps_its_finished_runs_in_the_run_table_only(tmp_path):
    runs = (make_run(0, "stem", 0, 0.99), make_run(0, "stem", 1, error="out of memory"))
    sweep = make_sweep(
        tmp_path, make_trial(0, "stem", error="seed 1: out of memory", runs=runs), make_trial(1, "stem", 0.8)
    )
    failed, complete = sweep.trial_rows()
    assert (failed["val_acc"], failed["duration_s"], failed["pareto"], failed["n_seeds"]) == (None, None, False, 1)
    assert (complete["val_acc"], complete["pareto"]) == (0.8, True)
    assert [row["state"] for row in sweep.run_rows()] == ["complete", "failed", "complete"]
    assert sweep.run_rows()[1]["error"] == "out of memory"
    assert sweep.history_rows("stem")[-1]["val_acc"] == 0.8  # the complete trial answers


def test_a_repetition_is_no_candidate(tmp_path):
    sweep = make_sweep(tmp_path, make_trial(0, "stem", 0.9), make_trial(1, "stem", 0.9, repeats=0))
    assert [(row["state"], row["pareto"]) for row in sweep.trial_rows()] == [("complete", True), ("complete", False)]
    assert sweep.summary_metrics()["front_size"] == 1


def test_objectives_that_are_no_numbers_are_never_on_the_front(tmp_path):
    sweep = make_sweep(
        tmp_path, make_trial(0, "stem", 0.9), make_trial(1, "none", 0.9).model_copy(update={"val_acc": math.nan})
    )
    assert sweep.best().number == 0
    assert [row["trial"] for row in sweep.front_rows()] == [0]


def test_history_gives_the_curves_by_seed_and_epoch(tmp_path):
    runs = tuple(
        make_run(0, "stem+layer1", seed, result=make_result("stem+layer1", 0.8, seed, history=make_history(curve)))
        for seed, curve in ((0, (0.5, 0.8)), (5, (0.4, 0.6, 0.8)))
    )
    sweep = make_sweep(tmp_path, make_trial(0, "stem+layer1", 0.8, runs=runs), make_trial(1, "stem", 0.5))
    frame = sweep.history("layer1+stem")
    columns = ["epoch", "seed", "train_loss", "train_acc", "val_loss", "val_acc"]
    columns += ["balanced_accuracy", "macro_f1", "lr", "duration_s"]
    assert list(frame.columns) == columns
    assert list(frame["seed"]) == [0, 0, 5, 5, 5]
    assert list(frame["epoch"]) == [1, 2, 1, 2, 3]
    np.testing.assert_allclose(frame["val_acc"], [0.5, 0.8, 0.4, 0.6, 0.8])
    pd.testing.assert_frame_equal(sweep.history(0), frame)
    pd.testing.assert_frame_equal(sweep.history("0"), frame)


def test_history_of_a_key_that_several_trials_have_is_refused_with_what_tells_them_apart(tmp_path):
    search = SearchConfig.model_validate({"lr": {"choices": [1e-3, 1e-4]}})
    trials = [
        make_trial(i, "stem", acc, hyperparameters=make_hyperparameters(lr=lr))
        for i, (lr, acc) in enumerate(((1e-4, 0.7), (1e-3, 0.9)))
    ]
    sweep = make_sweep(tmp_path, *trials, search=search)
    with pytest.raises(ConfigError) as caught:
        sweep.history_rows("stem")
    assert caught.value.message.splitlines() == [
        "frozen set stem means 2 trials of 'demo':",
        "  0: lr=0.0001 (complete, val_acc 0.7000)",
        "  1: lr=0.001 (complete, val_acc 0.9000)",
    ]
    assert caught.value.hint == "use the number: `orchestrator history demo 0`, or in Python `history(0)`"
    for key, accuracy in {0: 0.7, "1": 0.9, "#1": 0.9, "stem lr=0.001": 0.9, "stem lr=1e-4": 0.7}.items():
        assert sweep.history_rows(key)[-1]["val_acc"] == accuracy
    with pytest.raises(
        NotFoundError, match=r"no curves of frozen set stem lr=0.5; those with curves: stem lr=0.0001, "
    ):
        sweep.history_rows("stem lr=0.5")
    with pytest.raises(ConfigError, match="no trial has 'rate'; trials may differ in lr, weight_decay"):
        sweep.history_rows("stem rate=1")
    assert [row["lr"] for row in sweep.trial_rows()] == [1e-4, 1e-3]


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("layer9", ConfigError, "unknown block 'layer9'"),
        ("layer4", NotFoundError, "no curves of frozen set layer4; those with curves: none, stem,"),
        (17, NotFoundError, "no curves of trial 17"),
    ],
)
def test_history_of_what_is_not_there(sweep, key, error, message):
    with pytest.raises(error, match=message):
        sweep.history(key)


def test_summary_metrics_by_hand(tmp_path):
    sweep = make_sweep(
        tmp_path, make_trial(0, "none", 0.9), make_trial(1, ALL_FROZEN, 0.6), make_trial(2, error="boom")
    )
    # to accuracy 0 at ten times 11,178,051 parameters: 1,539 parameters are log10(111,780,510 / 1,539) = 4.861
    # decades of 0.6, and all parameters are one decade of another 0.3
    expected = 0.6 * math.log10(111_780_510 / 1_539) + 0.3 * 1
    assert sweep.summary_metrics() == pytest.approx(
        {"n_trials": 3, "n_failed": 1, "front_size": 2, "hypervolume": expected, "best_val_acc": 0.9}
    )


def test_load_sweep_reads_the_study(tmp_path, monkeypatch):
    from orchestrator import search

    asked = []

    def read_study(root, name):
        asked.append((root, name))
        return make_experiment(name), list(make_trials())

    monkeypatch.setattr(search, "read_study", read_study)
    sweep = load_sweep("beans", tmp_path)
    assert asked == [(Root.at(tmp_path), "beans")]
    assert (sweep.root, sweep.experiment.name, len(sweep.trials)) == (Root.at(tmp_path), "beans", 6)
    assert repr(sweep) == "<Sweep 'beans': 6 trials, 4 on the front>"


def test_a_missing_sweep_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="beans"):
        load_sweep("beans", tmp_path / "nothing")


def test_load_model_gives_the_network_of_the_checkpoint(sweep, monkeypatch):
    from orchestrator.training.network import saved

    loaded = []
    monkeypatch.setattr(saved, "load_checkpoint_network", lambda path: loaded.append(path) or "network")
    assert sweep.best().load_model() == "network"
    assert loaded == [sweep.best().checkpoint]
    assert loaded[0].is_absolute()


def test_results_import_nothing_heavy():
    code = (
        "import sys, orchestrator.results, orchestrator.report.note\n"
        "heavy = {'torch', 'mlflow', 'pytorch_lightning', 'pandas', 'matplotlib', 'plotly', 'scipy', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pruned_trial_is_no_candidate_and_no_failure(tmp_path):
    run = make_run(1, "none", error="pruned after 3 epochs", pruned_after=3)
    dropped = make_trial(1, "none", error="pruned after 3 epochs").model_copy(
        update={"state": "pruned", "runs": (run,)}
    )
    sweep = make_sweep(tmp_path, make_trial(0, "layer4", 0.9), dropped, search=SearchConfig(strategy="race"))
    assert [trial.number for trial in sweep.candidates] == [0]
    assert sweep.open_failures == ()
    assert [row["state"] for row in sweep.trial_rows()] == ["complete", "pruned"]
    assert [row["state"] for row in sweep.run_rows()] == ["complete", "pruned"]
    assert {key: sweep.summary_metrics()[key] for key in ("n_trials", "n_failed", "n_pruned")} == {
        "n_trials": 2,
        "n_failed": 0,
        "n_pruned": 1,
    }
