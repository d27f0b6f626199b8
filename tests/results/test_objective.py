"""A sweep judged by other gains and costs: fronts by brute force over what scikit-learn computes."""

import math

import numpy as np
import pytest
from sklearn import metrics

from orchestrator.config.models import SearchConfig
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import predictions_path, read_predictions
from tests.factories import PREFIXES, make_experiment, make_trials
from tests.judged import make_scored_trials

NAIVE = {
    "balanced_accuracy": lambda found: metrics.balanced_accuracy_score(found.labels, found.predicted),
    "macro_f1": lambda found: metrics.f1_score(found.labels, found.predicted, average="macro"),
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    return Sweep(Root.at(root), make_experiment(), make_scored_trials(root))


def measure(sweep: Sweep, trial, gain: str) -> float:
    """A trial's gain, from its files or results."""
    if gain in NAIVE:
        files = [read_predictions(predictions_path(sweep.root.path / run.checkpoint)) for run in trial.runs]
        return float(np.mean([NAIVE[gain](file["validation"]) for file in files]))
    return float(np.mean([getattr(run.result, gain) for run in trial.runs]))


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


@pytest.mark.parametrize("cost", ["gflops_train_per_image", "s_per_epoch", "duration_s", "peak_memory_mb"])
@pytest.mark.parametrize("gain", ["val_acc", "balanced_accuracy", "macro_f1", "val_loss"])
def test_the_front_is_that_of_the_gain_and_the_cost(sweep, gain, cost):
    sign = -1 if gain == "val_loss" else 1
    points = {
        trial.number: (
            sign * measure(sweep, trial, gain),
            float(np.mean([getattr(run.result, cost) for run in trial.runs])),
        )
        for trial in sweep.trials
    }
    expected = {number for number, at in points.items() if not any(beats(other, at) for other in points.values())}
    frame = sweep.pareto_front(gain=gain, cost=cost)
    assert set(frame["trial"]) == expected
    assert frame[cost].is_monotonic_increasing
    assert frame[gain].tolist() == pytest.approx([sign * points[number][0] for number in frame["trial"]])
    assert frame[cost].tolist() == pytest.approx([points[number][1] for number in frame["trial"]])
    assert sweep.judged_by(gain, cost).trials_dataframe().query("pareto")["trial"].tolist() == sorted(expected)


def test_the_front_changes_with_what_is_asked_for(sweep):
    fronts = {
        tuple(sweep.pareto_front(gain=gain, cost=cost)["trial"])
        for gain in ("val_acc", "balanced_accuracy", "val_loss")
        for cost in ("trainable_params", "s_per_epoch")
    }
    assert len(fronts) > 3


@pytest.mark.parametrize("gain", ["balanced_accuracy", "macro_f1", "val_loss"])
def test_what_is_believed_is_of_the_gain(sweep, gain):
    frame = sweep.pareto_front(gain=gain)
    assert ((frame[f"{gain}_low"] < frame[gain]) & (frame[gain] < frame[f"{gain}_high"])).all()
    assert (frame[f"{gain}_corrected"] > 0).all()
    assert frame["p_front"].between(0, 1).all()
    assert frame["supported"].dtype == "boolean"
    assert "val_acc_corrected" not in frame
    assert list(frame.columns).index(gain) == list(frame.columns).index("val_acc") + 1
    # draws of the expected value lie near the measured one, in the gain's own unit and direction
    wide = (frame[f"{gain}_high"] - frame[f"{gain}_low"]) / 2
    assert ((frame[f"{gain}_corrected"] - frame[gain]).abs() < wide).all()


def test_a_loss_is_compared_so_that_better_is_more(sweep):
    judged = sweep.judged_by(gain="val_loss")
    rows = {str(judged.label(trial)): judged.objective.value(trial) for trial in judged.trials}
    frame = sweep.comparisons(gain="val_loss")
    expected = [rows[cheaper] - rows[other] for cheaper, other in zip(frame["cheaper"], frame["other"], strict=True)]
    assert frame["difference"].tolist() == pytest.approx(expected, abs=1e-6)
    assert all(low < 0 or difference > 0 for low, difference in zip(frame["low"], frame["difference"], strict=True))
    found = judged.recommend(margin=0.05)
    assert "nats" in found.sentence or "lowest measured loss" in found.sentence


def test_best_is_named_with_its_gain(sweep):
    judged = sweep.judged_by(gain="macro_f1", cost="gflops_train_per_image")
    found = judged.best(rule="measured")
    highest = max(sweep.trials, key=lambda trial: measure(sweep, trial, "macro_f1"))
    assert (found.number, found.gain, found.cost) == (highest.number, "macro_f1", "gflops_train_per_image")
    assert found.believed["macro_f1"] == pytest.approx(measure(sweep, highest, "macro_f1"))
    assert found.val_acc == highest.val_acc
    assert found.val_acc_low < found.val_acc < found.val_acc_high
    assert found.val_acc_corrected is None
    lowest = min(sweep.trials, key=lambda trial: measure(sweep, trial, "val_loss"))
    assert sweep.judged_by(gain="val_loss").best(rule="measured").number == lowest.number


def test_hypervolume_of_another_pair_by_hand(sweep):
    judged = sweep.judged_by(gain="val_loss", cost="gflops_train_per_image")
    points = sorted(
        (trial.runs[0].result.gflops_train_per_image, judged.objective.value(trial)) for trial in judged.front
    )
    worst, most = math.log(3), 10 * 7  # guessing three classes; 2 + 5 GFLOPs, times ten
    area, before = 0.0, worst
    for cost, loss in points:
        if loss < before:
            area, before = area + (before - loss) * (math.log10(most) - math.log10(cost)), loss
    found = judged.summary_metrics()
    assert found["hypervolume"] == pytest.approx(area)
    assert found["hypervolume_low"] < area < found["hypervolume_high"] * 1.2
    assert found["best_val_acc"] == max(trial.val_acc for trial in sweep.trials)


def test_the_experiment_says_what_is_meant_where_nothing_is_asked_for(sweep):
    search = SearchConfig(objective=ObjectiveConfig(gain="macro_f1", cost="duration_s"))
    other = Sweep(sweep.root, make_experiment(search=search), sweep.trials)
    assert other.front_rows() == sweep.judged_by("macro_f1", "duration_s").front_rows()
    assert other.judged_by("val_acc", "trainable_params").front_rows() == sweep.front_rows()
    assert sweep.judged_by("val_acc", "trainable_params") is sweep
    assert sweep.judged_by() is sweep


def test_what_is_no_gain_or_cost_is_refused(sweep):
    with pytest.raises(ConfigError, match="gain is one of val_acc, balanced_accuracy, macro_f1, val_loss, not 'f1'"):
        sweep.pareto_front(gain="f1")
    with pytest.raises(ConfigError, match=r"cost is one of trainable_params, .*, not 'kwh'"):
        sweep.judged_by(cost="kwh")
    with pytest.raises(
        NotFoundError,
        match=r"both val_acc and energy_wh: trials 0, 1, 2, 3, 4, 5 have no energy_wh: it is known of a run",
    ):
        sweep.judged_by(cost="energy_wh")


def test_without_predictions_a_gain_that_needs_them_is_refused_in_words(tmp_path):
    old = Sweep(Root.at(tmp_path), make_experiment(), make_trials())
    with pytest.raises(
        NotFoundError, match="macro_f1 and trainable_params: trials 0, 1, 2, 3, 4, 5 kept no predictions"
    ):
        old.pareto_front(gain="macro_f1")
    losses = [np.mean([run.result.val_loss for run in trial.runs]) for trial in old.trials]
    frame = old.pareto_front(gain="val_loss")
    assert frame["val_loss"].min() == min(losses)  # what results state is known without
    assert frame["val_loss_low"].isna().all()


def test_who_has_no_predictions_is_no_candidate_and_named(tmp_path):
    trials = [*make_scored_trials(tmp_path, PREFIXES[:3]), *make_trials()[3:4]]
    judged = Sweep(Root.at(tmp_path), make_experiment(), trials).judged_by(gain="macro_f1")
    assert [trial.number for trial in judged.candidates] == [0, 1, 2]
    assert judged.notes == ("trial 3 kept no predictions that can be read, so that macro_f1 is not known",)


def test_seconds_compare_only_where_the_machine_was_had_alike(tmp_path):
    trials = make_scored_trials(tmp_path, PREFIXES[:3])
    resumed = make_scored_trials(tmp_path, PREFIXES[3:4], at_once=None)[0].model_copy(update={"number": 3})
    crowded = make_scored_trials(tmp_path, PREFIXES[4:5], at_once=3.0)[0].model_copy(update={"number": 4})

    def judge(*others, cost="s_per_epoch"):
        return Sweep(Root.at(tmp_path), make_experiment(), [*trials, *others]).judged_by(cost=cost)

    assert judge().notes == ()
    found = judge(resumed)
    assert [trial.number for trial in found.candidates] == [0, 1, 2]
    assert found.notes[0].startswith("trial 3 did not train here in one piece")
    assert judge(resumed, cost="gflops_train_per_image").notes == ()  # counted, not timed
    found = judge(crowded)
    assert len(found.candidates) == 4
    assert found.notes == (
        "the runs had not the machine alike, 1.0 to 3.0 were under way at a time: s_per_epoch may differ by that",
    )
    assert judge(crowded, cost="peak_memory_mb").notes == ()
    with pytest.raises(NotFoundError, match="val_acc and duration_s: trial 3 did not train here in one piece"):
        Sweep(Root.at(tmp_path), make_experiment(), [resumed]).judged_by(cost="duration_s")


def test_another_device_is_said_of_memory(tmp_path):
    trials = make_scored_trials(tmp_path, PREFIXES[:2])
    run = trials[1].runs[0]
    moved = run.model_copy(update={"result": run.result.model_copy(update={"device": "NVIDIA H200"})})
    trials[1] = trials[1].model_copy(update={"runs": (moved, trials[1].runs[1])})
    judged = Sweep(Root.at(tmp_path), make_experiment(), trials).judged_by(cost="peak_memory_mb")
    assert judged.notes == (
        "not all trials had the same device, precision and versions: peak_memory_mb may differ by that",
    )
