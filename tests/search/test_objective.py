"""A study whose objective is another, or changes: its values are read back through plain Optuna."""

import numpy as np
import pytest
from optuna.study import StudyDirection
from sklearn import metrics

from orchestrator.errors import ConfigError, SweepError
from orchestrator.storage.predictions import predictions_path, read_predictions
from tests.factories import PREFIXES
from tests.judged import draw_labels, draw_logits, make_scored_run
from tests.search.studies import finish, open_search, read_back

MAX, MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
F1 = {"objective": {"gain": "macro_f1", "cost": "s_per_epoch"}}
LOSS = {"objective": {"gain": "val_loss", "cost": "gflops_train_per_image"}}


def score(root, search, *, limit=100):
    """Run a search to its end, each trial with the predictions of two seeds."""
    proposals = []
    while len(proposals) < limit and (proposal := search.propose()) is not None:
        proposals.append(proposal)
        if proposal.repeats is None:
            number, frozen = proposal.number, proposal.choice.frozen
            skill = 1.5 + 0.1 * number
            runs = [
                make_scored_run(root.path, number, frozen, seed, draw_logits(skill, draw_labels(), 10 * number + seed))
                for seed in (0, 1)
            ]
            search.tell(number, runs)
    return proposals


def take_up(root, **search):
    """Open a search as a sweep does."""
    found = open_search(root, seeds=(0, 1), **search)
    found.require_identity({"recipe": 6})
    return found


def values(root):
    return {trial.number: trial.values for trial in read_back(root).get_trials()}


def measure(root, search, gain, cost):
    """Gain and cost of each trial, from its files and results."""

    def of_run(run):
        file = read_predictions(predictions_path(root.path / run.checkpoint))["validation"]
        naive = {
            "macro_f1": lambda: metrics.f1_score(file.labels, file.predicted, average="macro"),
            "balanced_accuracy": lambda: metrics.balanced_accuracy_score(file.labels, file.predicted),
        }
        return naive[gain]() if gain in naive else getattr(run.result, gain)

    return {
        trial.number: [
            pytest.approx(np.mean([of_run(run) for run in trial.runs])),
            pytest.approx(np.mean([getattr(run.result, cost) for run in trial.runs])),
        ]
        for trial in search.trials()
    }


@pytest.mark.parametrize(
    ("chosen", "directions"), [({}, [MAX, MIN]), (F1, [MAX, MIN]), (LOSS, [MIN, MIN])], ids=["default", "f1", "loss"]
)
def test_a_study_optimises_its_objective(root, chosen, directions):
    search = take_up(root, **chosen)
    score(root, search)
    study = read_back(root)
    expected = list(chosen["objective"].values()) if chosen else ["val_acc", "trainable_params"]
    assert (study.directions, study.metric_names) == (directions, expected)
    assert len(study.get_trials()) == len(PREFIXES)
    assert values(root) == measure(root, search, *expected)
    assert search.retold == 0
    # records have accuracy and parameters, whatever the values are
    for record in search.trials():
        results = [run.result for run in record.runs]
        assert record.val_acc == np.mean([result.val_acc for result in results])
        assert record.trainable_params == results[0].trainable_params


def test_a_default_study_looks_as_ever(root):
    score(root, take_up(root))
    assert "objective" not in read_back(root).user_attrs


@pytest.mark.parametrize("chosen", [F1, LOSS], ids=["f1", "loss"])
def test_another_objective_trains_nothing_and_tells_again(root, chosen):
    score(root, take_up(root))
    before = values(root)
    search = take_up(root, **chosen)
    gain, cost = chosen["objective"].values()
    assert (search.planned(), search.propose(), search.retold) == ([], None, len(PREFIXES))
    study = read_back(root)
    assert study.metric_names == [gain, cost]
    assert study.directions == [MIN if gain == "val_loss" else MAX, MIN]
    assert values(root) == measure(root, search, gain, cost) != before
    assert study.user_attrs["experiment"]["search"]["objective"] == {"gain": gain, "cost": cost}
    assert take_up(root, **chosen).retold == 0
    back = take_up(root)  # and back, to the last bit
    assert back.retold == len(PREFIXES)
    assert values(root) == before
    assert read_back(root).directions == [MAX, MIN]


def test_a_sampler_goes_on_from_what_was_told_again(root):
    space = {"sampler": "tpe", "lr": {"range": {"low": 1e-5, "high": 1.0, "log": True}}}
    score(root, take_up(root, n_trials=5, **space))
    search = take_up(root, n_trials=14, **space, **LOSS)
    assert search.retold == 5
    assert len(score(root, search)) == 9
    study = read_back(root)
    assert values(root) == measure(root, search, "val_loss", "gflops_train_per_image")
    points = {trial.number: trial.values for trial in study.get_trials()}
    front = {
        number
        for number, (loss, cost) in points.items()
        if not any(a <= loss and b <= cost and (a, b) != (loss, cost) for a, b in points.values())
    }
    assert {trial.number for trial in study.best_trials} == front  # both are minimised


def test_a_repeated_suggestion_has_the_same_values(root):
    search = take_up(root, mode="list", frozen=("none", "stem"), sampler="random", n_trials=6, **F1)
    proposals = score(root, search)
    first = {}
    for proposal in proposals:
        first.setdefault(str(proposal.choice.frozen), proposal.number)
    found = values(root)
    assert len(first) < len(found) == 6
    assert all(found[each.number] == found[first[str(each.choice.frozen)]] for each in proposals)
    assert take_up(root, mode="list", frozen=("none", "stem"), sampler="random", n_trials=6).retold == 6


def test_without_predictions_another_gain_is_refused_and_nothing_changes(root):
    search = take_up(root)
    for _ in PREFIXES:
        finish(search, search.propose(), seeds=(0, 1))
    before = values(root)
    numbers = ", ".join(map(str, range(len(PREFIXES))))
    with pytest.raises(
        ConfigError, match=f"macro_f1 against s_per_epoch: the runs of trial {numbers} of 'demo' kept no"
    ):
        take_up(root, **F1)
    assert values(root) == before
    assert read_back(root).metric_names == ["val_acc", "trainable_params"]
    assert take_up(root, **LOSS).retold == len(PREFIXES)  # results state the loss


def test_a_trial_without_predictions_stops_a_sweep_that_needs_them(root):
    search = take_up(root, **F1)
    with pytest.raises(SweepError, match=r"trial 0 has no macro_f1 or no s_per_epoch: a run .* kept no predictions"):
        finish(search, search.propose(), seeds=(0, 1))
