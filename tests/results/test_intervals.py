"""How sure the accuracy of a trial is, as its row says it."""

import numpy as np
import pytest
from scipy import stats

from orchestrator.report.pictures.series import build_series
from orchestrator.results import Sweep, predicted
from orchestrator.stats.uncertainty import accuracy_interval
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import read_predictions
from tests.factories import make_experiment, make_run, make_trial, make_trials
from tests.predicted import make_predicted_trial


def make_sweep(tmp_path, *trials) -> Sweep:
    return Sweep(Root.at(tmp_path), make_experiment(), trials)


def make_seeds_trial(tmp_path, correct):
    """A trial whose runs predicted `correct` ([runs, images]), each with its predictions on disk."""
    return make_predicted_trial(tmp_path, 0, "stem", correct)


def test_a_trial_of_one_seed_has_wilsons_interval_of_its_validation_images(tmp_path):
    sweep = make_sweep(tmp_path, *make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)))
    rows = sweep.trial_rows()
    for row, right in zip(rows, (57, 56, 58, 54, 51, 36), strict=True):  # of 60
        expected = stats.binomtest(right, 60).proportion_ci(method="wilson")
        assert (row["val_acc_low"], row["val_acc_high"]) == pytest.approx((expected.low, expected.high))
    best = sweep.best()
    assert (best.val_acc_low, best.val_acc_high) == (rows[2]["val_acc_low"], rows[2]["val_acc_high"])


def test_a_trial_of_several_seeds_has_the_interval_of_its_predictions(tmp_path):
    correct = np.random.default_rng(0).random((3, 60)) < 0.8
    (row,) = make_sweep(tmp_path, make_seeds_trial(tmp_path, correct)).trial_rows()
    assert (row["val_acc_low"], row["val_acc_high"]) == accuracy_interval(correct)
    assert row["val_acc_low"] < row["val_acc"] < row["val_acc_high"]


def test_predictions_are_read_once_a_sweep(tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path, make_seeds_trial(tmp_path, np.random.default_rng(0).random((3, 60)) < 0.8))
    read, paths = read_predictions, []
    monkeypatch.setattr(predicted, "read_predictions", lambda path: paths.append(path) or read(path))
    rows = [*sweep.trial_rows(), *sweep.front_rows()]
    assert rows[0].items() <= rows[1].items()
    assert build_series(sweep)[0].interval == (rows[0]["val_acc_low"], rows[0]["val_acc_high"])
    assert sweep.best().val_acc_low == rows[0]["val_acc_low"]
    assert len(paths) == len(set(paths)) == 3


def test_without_the_predictions_of_each_seed_there_is_no_interval(tmp_path):
    trial = make_seeds_trial(tmp_path, np.random.default_rng(0).random((2, 60)) < 0.8)
    path = make_sweep(tmp_path, trial).best().find_checkpoint(1).with_name("predictions.npz")
    path.write_bytes(b"damaged")
    best = make_sweep(tmp_path, trial).best()
    assert (best.val_acc_low, best.val_acc_high) == (None, None)
    path.unlink()
    assert make_sweep(tmp_path, trial).trials_dataframe()["val_acc_low"].isna().all()


def test_a_trial_that_is_not_complete_has_no_interval(tmp_path):
    runs = (make_run(0, "stem", 0, 0.9), make_run(0, "stem", 1, error="out of memory"))
    (row,) = make_sweep(tmp_path, make_trial(0, "stem", error="out of memory", runs=runs)).trial_rows()
    assert (row["val_acc_low"], row["val_acc_high"]) == (None, None)
