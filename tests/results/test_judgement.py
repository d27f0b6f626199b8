"""What a sweep says that its data support, from predictions on disk."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from orchestrator import ConfigError, NotFoundError
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import SearchConfig
from orchestrator.results import PredictedTrials, Sweep, predicted
from orchestrator.stats.comparison import adjust_holm, compare
from orchestrator.stats.evidence import Evidence
from orchestrator.stats.posterior import Posterior
from orchestrator.stats.uncertainty import accuracy_interval
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import read_predictions
from tests.factories import PREFIXES, make_experiment, make_trials
from tests.predicted import draw_correct, make_predicted_sweep, make_predicted_trial

HEAD = PREFIXES[-1]


@pytest.fixture(scope="module")
def correct():
    return draw_correct((0.95, 0.95, 0.95, 0.95, 0.94, 0.6), seeds=3, seed=1)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, correct):
    return make_predicted_sweep(tmp_path_factory.mktemp("judged"), PREFIXES, correct)


def test_the_supported_front_leaves_out_what_is_no_better(sweep):
    assert sweep.supported_front()["frozen"].tolist() == [HEAD, "stem+layer1+layer2+layer3"]
    rows = {row["frozen"]: row for row in sweep.trial_rows()}
    assert [key for key in PREFIXES if rows[key]["supported"]] == ["stem+layer1+layer2+layer3", HEAD]


def test_best_is_what_is_expected_to_be_unless_asked_for_another_rule(sweep):
    rows = {row["frozen"]: row for row in sweep.trial_rows()}
    expected = max(PREFIXES, key=lambda key: rows[key]["val_acc_corrected"])
    assert (sweep.best().frozen, sweep.best().rule) == (expected, "expected")
    assert sweep.best(rule="supported").frozen == "stem+layer1+layer2+layer3"
    assert sweep.best(rule="supported").supported is True
    highest = max(sweep.trials, key=lambda trial: trial.val_acc)
    assert sweep.best(rule="measured").frozen == highest.frozen != "stem+layer1+layer2+layer3"
    with pytest.raises(ConfigError, match="expected, supported, measured, not 'nice'"):
        sweep.best(rule="nice")
    with pytest.raises(ConfigError, match="rule 'point' is now called 'measured'"):
        sweep.best(rule="point")


@pytest.mark.parametrize("most", [1_600, 8_400_000, 10_500_000, 11_100_000])
def test_within_a_budget_the_expectation_is_that_of_all_trials(sweep, most):
    """`val_acc_corrected` is worked out from all trials, those over the budget too."""
    fitting = [row for row in sweep.trial_rows() if row["trainable_params"] <= most]
    expected = max(fitting, key=lambda row: row["val_acc_corrected"])
    found = sweep.best(max_trainable_params=most)
    assert (found.frozen, found.val_acc_corrected) == (expected["frozen"], expected["val_acc_corrected"])
    assert found.basis == (
        f"the highest val_acc to expect, all trials considered, among the trials with at most {most:,} parameters"
    )


def test_rows_say_how_probable_and_what_to_expect(sweep):
    rows = sweep.front_rows()
    assert rows[0]["p_front"] == 1  # nothing is cheaper
    assert all(0 <= row["p_front"] <= 1 for row in rows)
    best = max(rows, key=lambda row: row["val_acc"])
    assert best["val_acc_corrected"] < best["val_acc"]
    frame = sweep.pareto_front()
    assert frame["p_front"].dtype == "float64"
    assert frame["supported"].dtype == "boolean"


def test_neighbours_on_the_front_are_compared(sweep, correct):
    frame = sweep.comparisons()
    front = [PREFIXES.index(row["frozen"]) for row in sweep.front_rows()]
    evidence = Evidence.of(correct)
    expected = [compare(evidence, other, cheaper) for cheaper, other in pairwise(front)]
    assert frame["difference"].tolist() == pytest.approx([each.difference for each in expected])
    assert frame["p_value_adjusted"].tolist() == pytest.approx(adjust_holm([each.p_value for each in expected]))
    assert frame["cheaper"].tolist() == [PREFIXES[place] for place in front[:-1]]


def test_the_recommendation_is_the_cheapest_that_probably_loses_little(sweep, correct):
    found = sweep.recommend()
    drawn = Posterior(Evidence.of(correct), [FrozenSet.parse(key).parts for key in PREFIXES]).draw(4000)
    lost = drawn.max(axis=1)[:, None] - drawn
    within = [place for place in range(6) if (lost[:, place] <= 0.01).mean() >= 0.8]
    assert found.number == max(within)  # prefixes lie by falling parameters
    assert found.expected_number == drawn.mean(axis=0).argmax()
    assert found.probability == (lost[:, found.number] <= 0.01).mean()
    assert found.loss == pytest.approx(lost[:, found.number].mean())
    assert (found.loss_low, found.loss_high) == tuple(np.quantile(lost[:, found.number], [0.025, 0.975]))
    assert (found.margin, found.confidence, found.is_confident) == (0.01, 0.8, True)
    loss, low, high = (f"{100 * share:.1f}" for share in (found.loss, found.loss_low, found.loss_high))
    assert found.sentence == (
        f"freezing {found.frozen} trains {found.trial.trainable_pct:.3g} % of the parameters and is expected to lose "
        f"{loss} points ({low} to {high}) against whichever trial is the best: at most 1 point with probability "
        f"{found.probability:.2f}"
    )
    assert found.basis == "133 validation images and the seeds of each trial"


def test_what_is_settled_is_said_to_be(tmp_path):
    correct = draw_correct((0.95, 0.95, 0.95, 0.95, 0.6, 0.6), seeds=3, images=4000, seed=1)
    found = make_predicted_sweep(tmp_path, PREFIXES, correct).recommend(margin=0.05)
    assert found.frozen == PREFIXES[3]
    assert (found.open, found.further_seeds) == ((), None)  # freezing more was seen to cost 35 points
    assert found.outlook == (
        "that is settled: each trial with fewer parameters loses more than 5 points with probability 0.8 or more"
    )


def test_the_recommended_trial_is_one_as_any_other(sweep):
    found = sweep.recommend()
    assert (found.trial.rule, found.trial.basis) == ("recommended", found.sentence)
    best = sweep.best(max_trainable_params=found.trial.trainable_params)
    assert replace(best, rule="recommended", basis=found.sentence) == found.trial
    assert (found.number, found.frozen, found.label) == (best.number, best.frozen, best.label)


def test_a_margin_allows_a_loss(sweep):
    found = sweep.recommend(margin=0.5)
    assert found.frozen == HEAD
    assert "trains 0.0138 % of the parameters and is expected to lose 3" in found.sentence  # 1,539 of 11,178,051
    assert found.sentence.endswith("at most 50 points with probability 1.00")
    assert found.outlook == "that is settled: no trial has fewer parameters"


def test_where_none_is_sure_enough_the_best_is_recommended_and_it_says_so(sweep):
    found = sweep.recommend(margin=0.0, confidence=0.99)
    assert (found.is_confident, found.number) == (False, sweep.best().number)
    assert "and has the highest expected accuracy; no trial loses at most 0 points with probability 0.99, and" in (
        found.sentence
    )
    assert len(found.open) > 1
    assert "more seeds would settle it with a probability of 0." in found.outlook
    assert f"at most: 133 images do not tell {found.label} from " in found.outlook


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"margin": 2}, "margin is a fraction in \\[0, 1\\], not 2", "for 2 points say 0.02"),
        ({"margin": -0.1}, "margin is a fraction in \\[0, 1\\], not -0.1", None),
        ({"confidence": 80}, "confidence is a fraction in \\[0, 1\\], not 80", "for 80 percent say 0.8"),
        ({"confidence": float("nan")}, "confidence is a fraction in \\[0, 1\\], not nan", None),
    ],
)
def test_what_is_asked_for_is_a_share(sweep, asked, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        sweep.recommend(**asked)
    assert caught.value.hint == hint


def test_an_experiment_has_its_own_margin_and_confidence(tmp_path, correct, sweep):
    keeping = make_predicted_sweep(tmp_path, PREFIXES, correct)
    search = SearchConfig.model_validate({"recommend": {"margin": 0.5, "confidence": 0.9}})
    found = Sweep(Root.at(tmp_path), make_experiment("beans", search=search), keeping.trials)
    assert found.recommend() == found.recommend(margin=0.5, confidence=0.9)
    assert (found.recommend().frozen, found.recommend().confidence) == (HEAD, 0.9)
    assert found.recommend(margin=0.01, confidence=0.8).frozen == sweep.recommend().frozen != HEAD


def test_the_best_itself_is_recommended_where_nothing_is_close(tmp_path):
    trials = draw_correct((0.95, 0.5), seeds=1)
    found = make_predicted_sweep(tmp_path, ("none", HEAD), trials).recommend()
    assert found.frozen == "none"
    assert found.sentence.startswith(
        "freezing nothing trains 100 % of the parameters and has the highest expected accuracy; it is expected to lose"
    )
    assert found.basis == "133 validation images and one seed: what other seeds would change is assumed, not known"


def test_hypervolume_and_knee_have_their_uncertainty(sweep):
    low, high = sweep.judgement.hypervolume_interval
    metrics = sweep.summary_metrics()
    assert low < metrics["hypervolume"] < high
    assert (metrics["hypervolume_low"], metrics["hypervolume_high"], metrics["supported_size"]) == (low, high, 2)
    chances = sweep.judgement.knee_probabilities
    assert sum(chances.values()) == pytest.approx(1)
    assert chances[5] > 0.9  # the others lie side by side far to the right: the front bends at the head alone


def test_the_test_split_is_shown_on_the_front_with_its_interval(sweep, correct):
    (row,) = [row for row in sweep.front_rows() if row["frozen"] == HEAD]
    assert (row["test_acc_low"], row["test_acc_high"]) == accuracy_interval(correct[5])
    assert row["test_drop"] == pytest.approx(0)  # the factory tests on the same answers
    assert "test_acc_low" not in sweep.trial_rows()[0]


@pytest.mark.parametrize("lack", ["file", "images"])
def test_without_predictions_of_the_same_images_the_measured_accuracy_decides(tmp_path, lack):
    one, two = draw_correct((0.9, 0.9), seeds=1, images=40)
    trials = [make_predicted_trial(tmp_path, 0, "none", one)]
    ids = [f"another {index}" for index in range(40)]
    trials.append(make_predicted_trial(tmp_path, 1, "stem", two, ids))
    if lack == "file":
        for path in tmp_path.rglob("predictions.npz"):
            path.unlink()
    sweep = Sweep(Root.at(tmp_path), make_experiment(), trials)
    assert sweep.judgement is None
    for rule in ("expected", "supported", "measured"):
        found = sweep.best(rule=rule)
        assert (found.rule, found.number) == ("measured", sweep.highest.number)
    assert sweep.trial_rows()[0]["p_front"] is None
    assert sweep.comparisons().empty
    with pytest.raises(NotFoundError, match="no predictions of the same images"):
        sweep.recommend()


def test_a_sweep_without_a_complete_trial_recommends_nothing(tmp_path):
    with pytest.raises(NotFoundError, match=r"no trial of .* is complete"):
        Sweep(Root.at(tmp_path), make_experiment(), []).recommend()


def test_more_seeds_and_other_sets_do_not_have_to_be_as_many(tmp_path):
    one, two = draw_correct((0.95, 0.6), seeds=4)
    sweep = make_predicted_sweep(tmp_path, ("none", HEAD), [one, two[:1]])
    assert np.isfinite(sweep.comparisons()["standard_error"]).all()
    assert sweep.recommend().basis.startswith("133 validation images and one seed: ")


def test_trials_of_an_older_version_have_their_rows(tmp_path):
    sweep = Sweep(Root.at(tmp_path), make_experiment(), make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)))
    assert all(row["val_acc_corrected"] is None for row in sweep.trial_rows())
    assert len(sweep.trials_dataframe()) == 6


def test_a_later_snapshot_reads_what_is_new_alone(tmp_path, monkeypatch):
    one, two = draw_correct((0.9, 0.8), seeds=2, images=40)
    trials = [make_predicted_trial(tmp_path, 0, "none", one), make_predicted_trial(tmp_path, 1, "stem", two)]
    known, read, paths = PredictedTrials(Root.at(tmp_path)), read_predictions, []
    monkeypatch.setattr(predicted, "read_predictions", lambda path: paths.append(path) or read(path))
    running = trials[1].model_copy(update={"state": "running"})
    Sweep(Root.at(tmp_path), make_experiment(), [trials[0], running], known).trial_rows()
    assert len(paths) == 2
    rows = Sweep(Root.at(tmp_path), make_experiment(), trials, known).trial_rows()
    assert len(paths) == 4
    assert rows == Sweep(Root.at(tmp_path), make_experiment(), trials).trial_rows()
