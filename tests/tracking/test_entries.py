"""What a run leaves in every tracker; the lists were written down before they came from one table."""

import pytest

from orchestrator import names
from orchestrator.quantities import LOSS, Quantity
from orchestrator.tracking.entries import curve_points, summary_metrics
from tests.factories import make_history, make_result

RESULT = make_result("stem", 0.8)
SUMMARY = {
    "val_acc": 0.8,
    "val_loss": 1 - 0.8,
    "train_acc": 0.8 + 0.05,
    "train_loss": 1 - (0.8 + 0.05),
    "test_acc": 0.8 - 0.02,
    "test_loss": 1 - 0.8 + 0.02,
    "best_epoch": 3,  # the last of three, from 1
    "epochs_run": 3,
    "trainable_params": 11_178_051 - 9_536,
    "trainable_pct": 100 * (11_178_051 - 9_536) / 11_178_051,
    "total_params": 11_178_051,
    "duration_s": 2.0 + 2.1 + 2.2 + 1.5,
    "s_per_epoch": 2.1,
    "images_per_s": 150.0,
    "gflops_forward_per_image": 3.6,
    "gflops_train_per_image": 3.6 + 7.2 * (11_178_051 - 9_536) / 11_178_051,
    "peak_memory_mb": 512.0,
    "gap_train_val": 0.05,
}


def test_a_run_on_a_cpu_has_these_summary_metrics():
    assert summary_metrics(RESULT) == pytest.approx(SUMMARY)
    assert summary_metrics(RESULT, epochs_from=0) == pytest.approx({**SUMMARY, "best_epoch": 2})


def test_a_run_on_a_gpu_has_what_is_resident_too():
    found = summary_metrics(RESULT.model_copy(update={"resident_mb": 0.0}))
    assert found == pytest.approx({**SUMMARY, "resident_mb": 0.0})


def test_a_metric_that_is_added_is_tracked(monkeypatch):
    brier = Quantity(key="val_brier", kind=LOSS, meaning="Mean squared error of the class probabilities")
    result = RESULT.model_copy(update={"measured": {"val_brier": 0.25}})
    assert "val_brier" not in summary_metrics(result)
    monkeypatch.setattr(names, "OF_RUN", (*names.OF_RUN, brier))
    assert summary_metrics(result) == pytest.approx({**SUMMARY, "val_brier": 0.25})
    assert "val_brier" not in summary_metrics(RESULT)  # a result of before it was measured


def test_an_epoch_has_these_points():
    (epoch,) = make_history((0.6,))
    expected = [
        ("train/loss", 1 - 0.65, 1),
        ("train/acc", 0.65, 1),
        ("val/loss", 1 - 0.6, 1),
        ("val/acc", 0.6, 1),
        ("lr", 1e-4, 1),
        ("train/loss_step", 1 - 0.6, 0),
        ("train/loss_step", 1 - 0.6 + 0.01, 10),
    ]
    for epochs_from in (0, 1):
        found = curve_points(epoch, epochs_from)
        shifted = [(name, step - (1 - epochs_from if name != "train/loss_step" else 0)) for name, _, step in expected]
        assert [(name, step) for name, _, step in found] == shifted
        assert [value for _, value, _ in found] == pytest.approx([value for _, value, _ in expected])


def test_people_see_these_first():
    assert names.FIRST_IN_TENSORBOARD == ("val_acc", "test_acc", "trainable_params", "val_loss", "duration_s")
    assert names.FIRST_IN_MLFLOW == ("val_acc", "test_acc", "trainable_params", "gap_train_val", "duration_s")


def test_scores_of_an_epoch_and_of_its_run_are_tracked_where_there_are_some():
    scores = {"balanced_accuracy": 0.5, "macro_f1": 0.4}
    (epoch,) = make_history((0.6,))
    points = curve_points(epoch.model_copy(update={"measured": scores}))
    assert [point for point in points if point not in curve_points(epoch)] == [
        ("val/balanced_accuracy", 0.5, 1),
        ("val/macro_f1", 0.4, 1),
    ]
    assert summary_metrics(RESULT.model_copy(update={"measured": scores})) == pytest.approx({**SUMMARY, **scores})
