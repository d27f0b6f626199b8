"""What a sweep says of the scores from before training, beside how its trials turned out."""

import pytest
from scipy import stats

from orchestrator.blocks import FrozenSet
from orchestrator.report.note import write_note
from orchestrator.results import Sweep, describe_scores
from orchestrator.results.scores import correlate_scores
from orchestrator.storage.layout import Root
from tests.factories import PREFIXES, count_trainable, make_experiment, make_trial
from tests.scored import SCORES

ACCURACIES = (0.95, 0.94, 0.96, 0.90, 0.85, 0.60)


def make_trials(keys=PREFIXES, accuracies=ACCURACIES):
    pairs = enumerate(zip(keys, accuracies, strict=False))
    return [
        make_trial(number, key, accuracy, scores=SCORES.of(FrozenSet.parse(key))) for number, (key, accuracy) in pairs
    ]


def make_sweep(tmp_path, trials) -> Sweep:
    return Sweep(Root.at(tmp_path), make_experiment(), trials)


def test_rank_correlations_are_those_of_scipy_over_the_trials_that_have_the_score():
    logme, share, params = correlate_scores(make_trials())
    known = [SCORES.of(FrozenSet.parse(key)) for key in PREFIXES]
    assert (logme.n_trials, share.n_trials, params.n_trials) == (5, 6, 6)  # `none` has no frozen prefix
    assert logme.value == pytest.approx(stats.spearmanr([s.logme for s in known[1:]], ACCURACIES[1:]).statistic)
    assert share.value == pytest.approx(stats.spearmanr([s.grad_share_frozen for s in known], ACCURACIES).statistic)
    trained = [count_trainable(key) for key in PREFIXES]
    assert params.value == pytest.approx(stats.spearmanr(trained, ACCURACIES).statistic)


def test_four_trials_state_none_and_five_do():
    assert [(each.value, each.n_trials) for each in correlate_scores(make_trials()[:4])] == [
        (None, 3),
        (None, 4),
        (None, 4),
    ]
    logme, share, _ = correlate_scores(make_trials()[:5])
    assert (logme.value, logme.n_trials) == (None, 4)
    # shares rise: 0, 1, 5, 14, 30 of 30; accuracies 95, 94, 96, 90, 85 have ranks 4, 3, 5, 2, 1 beside 1 to 5:
    # squared differences 9 + 1 + 4 + 4 + 16 = 34, and 1 - 6 * 34 / (5 * 24) = -0.7
    assert (share.value, share.n_trials) == (pytest.approx(-0.7), 5)


def test_trials_of_equal_accuracy_state_none():
    said = describe_scores(make_trials(accuracies=[0.5] * 6))
    assert said is not None
    assert "share of the gradient that is frozen not stated (6 trials, all equal)" in said


def test_a_sweep_without_scores_says_nothing_of_them(tmp_path):
    trials = [make_trial(number, key, 0.9) for number, key in enumerate(PREFIXES)]
    sweep = make_sweep(tmp_path, trials)
    assert correlate_scores(trials) == []
    assert describe_scores(trials) is None
    assert not [key for key in sweep.summary_metrics() if "rank_correlation" in key]
    assert "scores" not in write_note(sweep)
    assert sweep.trials_dataframe()["logme"].isna().all()


def test_columns_metrics_and_note_have_the_scores(tmp_path):
    sweep = make_sweep(tmp_path, make_trials())
    frame = sweep.trials_dataframe().set_index("frozen")
    assert frame.loc["stem+layer1", "logme"] == -0.4
    assert frame.loc["stem+layer1", "grad_share_frozen"] == 5 / 30
    assert frame["logme"].isna().tolist() == [True, False, False, False, False, False]
    metrics = sweep.summary_metrics()
    _, share, params = correlate_scores(make_trials())
    assert metrics["grad_share_frozen_rank_correlation"] == share.value
    assert metrics["trainable_params_rank_correlation"] == params.value
    note = write_note(sweep)
    assert "## What the scores before training were worth" in note
    assert f"share of the gradient that is frozen {share.value:+.2f} (6 trials)" in note


def test_a_failed_trial_shows_its_scores_and_counts_for_no_correlation(tmp_path):
    failed = make_trial(6, "layer3", error="out of memory", scores=SCORES.of(FrozenSet.parse("layer3")))
    sweep = make_sweep(tmp_path, [*make_trials(), failed])
    assert sweep.trial_rows()[6]["grad_share_frozen"] == 16 / 30
    assert sweep.summary_metrics() == make_sweep(tmp_path, make_trials()).summary_metrics() | {
        "n_trials": 7,
        "n_failed": 1,
    }
