"""What a sweep says that its data support, from predictions on disk."""

from itertools import pairwise

import numpy as np
import pytest

from orchestrator import ConfigError, NotFoundError
from orchestrator.results import PredictedTrials, Sweep, predicted
from orchestrator.stats.comparison import adjust_holm, compare
from orchestrator.stats.evidence import Evidence
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


def test_best_is_the_most_accurate_that_is_supported_unless_asked_for_the_point(sweep):
    assert sweep.best().frozen == "stem+layer1+layer2+layer3"
    assert sweep.best().supported is True
    highest = max(sweep.trials, key=lambda trial: trial.val_acc)
    assert sweep.best(rule="point").frozen == highest.frozen != "stem+layer1+layer2+layer3"
    assert sweep.best(max_trainable_params=1_600).frozen == HEAD
    with pytest.raises(ConfigError, match="supported, point, not 'nice'"):
        sweep.best(rule="nice")


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


def test_the_recommendation_is_within_one_standard_error(sweep, correct):
    found = sweep.recommend()
    evidence = Evidence.of(correct)
    best = int(evidence.means.argmax())
    errors, _ = evidence.standard_errors()
    within = [place for place in range(6) if evidence.differences[best, place] <= errors[best, place]]
    assert found.frozen == PREFIXES[max(within)]  # prefixes lie by falling parameters
    assert found.highest_number == best
    assert "cannot tell them apart" in found.sentence
    assert "equal" not in found.sentence
    assert found.basis == "133 validation images and the seeds of each trial"


def test_a_margin_allows_a_loss_and_says_that_it_is_real(sweep):
    found = sweep.recommend(margin=0.5)
    assert found.frozen == HEAD
    assert "trains 0.0138 % of the parameters" in found.sentence  # 1,539 of 11,178,051
    assert "that is a real loss, which 50.0 points allows" in found.sentence
    with pytest.raises(ConfigError, match="fraction in \\[0, 1\\], not 2"):
        sweep.recommend(margin=2)


def test_the_best_itself_is_recommended_where_nothing_is_close(tmp_path):
    trials = draw_correct((0.95, 0.5), seeds=1)
    found = make_predicted_sweep(tmp_path, ("none", HEAD), trials).recommend()
    assert found.sentence == (
        "freezing nothing trains 100 % of the parameters and has the highest measured accuracy; "
        "none with fewer parameters is within one standard error of it"
    )
    assert found.basis == "133 validation images and one seed: another seed may differ by more"
    assert (found.comparison.low, found.comparison.high, found.comparison.standard_error) == (0, 0, 0)  # from itself


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
def test_without_predictions_of_the_same_images_the_point_decides(tmp_path, lack):
    one, two = draw_correct((0.9, 0.9), seeds=1, images=40)
    trials = [make_predicted_trial(tmp_path, 0, "none", one)]
    ids = [f"another {index}" for index in range(40)]
    trials.append(make_predicted_trial(tmp_path, 1, "stem", two, ids))
    if lack == "file":
        for path in tmp_path.rglob("predictions.npz"):
            path.unlink()
    sweep = Sweep(Root.at(tmp_path), make_experiment(), trials)
    assert sweep.judgement is None
    assert sweep.best().number == sweep.best(rule="point").number
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
    assert sweep.recommend().basis.endswith("one seed: another seed may differ by more")


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
