"""A trial is called by its frozen set and whatever else varies in its sweep: in rows, sentences, notes, run names."""

import pytest

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import SearchConfig
from orchestrator.records.labels import TrialLabel, find_varied, label_trials
from orchestrator.records.spec import run_name
from orchestrator.report.note import write_note
from orchestrator.report.pictures.series import build_series
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import PREFIXES, RESNET18, make_experiment, make_hyperparameters, make_trial
from tests.predicted import draw_correct, make_predicted_sweep, make_predicted_trial

TWO_RATES = {"lr": {"choices": [1e-3, 3e-3]}}


def make_searched(**search) -> SearchConfig:
    return SearchConfig.model_validate(search)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """Three frozen sets, two learning rates each: the higher one is better, but for the last set."""
    keys = [PREFIXES[0], PREFIXES[0], PREFIXES[2], PREFIXES[2], PREFIXES[5], PREFIXES[5]]
    drawn = draw_correct((0.80, 0.92, 0.80, 0.92, 0.5, 0.5), seeds=1, seed=3)
    trials = []
    for number, (key, correct) in enumerate(zip(keys, drawn, strict=True)):
        rate = make_hyperparameters(lr=(1e-3, 3e-3)[number % 2])
        # a folder of its own for each: the factory's fingerprint knows no learning rate
        trial = make_predicted_trial(tmp_path / str(number), number, key, correct, hyperparameters=rate)
        run = trial.runs[0].model_copy(update={"checkpoint": f"{number}/{trial.runs[0].checkpoint}"})
        trials.append(trial.model_copy(update={"runs": (run,)}))
    return Sweep(Root.at(tmp_path), make_experiment("rates", search=make_searched(**TWO_RATES)), trials)


@pytest.mark.parametrize(
    ("search", "varied"),
    [
        ({}, ()),
        (TWO_RATES, ("lr",)),
        ({"lr": {"choices": [1e-3]}}, ()),
        ({"n_trials": 4, "lr": {"range": {"low": 1e-4, "high": 1e-2}}}, ("lr",)),
        ({"optimizer": {"choices": ["adam", "sgd"]}, **TWO_RATES}, ("lr", "optimizer")),
        ({"weight_decay": {"choices": [0, 0.1]}, "batch_size": {"choices": [8, 16]}}, ("weight_decay", "batch_size")),
    ],
)
def test_what_is_searched_varies(search, varied):
    assert find_varied(make_experiment(search=make_searched(**search))) == varied


def test_what_trials_differ_in_varies_too():
    trials = [make_trial(i, hyperparameters=make_hyperparameters(batch_size=size)) for i, size in enumerate((8, 16))]
    assert find_varied(make_experiment(), trials) == ("batch_size",)


def test_labels_are_unique_and_short():
    rates = (1e-3, 0.0012341, 0.0012342)
    trials = [make_trial(i, "stem", hyperparameters=make_hyperparameters(lr=rate)) for i, rate in enumerate(rates)]
    labels = label_trials(trials, ("lr",))
    assert [str(label) for label in labels.values()] == ["stem lr=0.001", "stem lr=0.00123 #1", "stem lr=0.00123 #2"]
    assert labels[2].freezing == "freezing stem (lr=0.00123, trial 2)"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("none", "freezing nothing"),
        ("stem+layer1", "freezing stem+layer1"),
        ("stem+layer1:norm+layer3:norm", "freezing stem and tuning layer1+layer3 by norm"),
        ("layer1:bias+layer2:lora-4+layer4", "freezing layer4 and tuning layer1 by bias, layer2 by lora-4"),
        ("layer4:lora-8", "tuning layer4 by lora-8"),
    ],
)
def test_a_sentence_says_what_is_frozen_and_what_is_tuned(key, said):
    label = TrialLabel(frozen=FrozenSet.parse(key))
    assert (label.freezing, str(label)) == (said, key)


def test_a_runs_name_says_what_varies():
    assert run_name(7, "stem", 0, ["lr=0.003", "optimizer=sgd"]) == "trial_007_stem_lr=0.003_optimizer=sgd_seed0"
    assert run_name(7, "stem", 0) == "trial_007_stem_seed0"


def test_every_answer_names_the_learning_rate(sweep):
    assert sweep.varied == ("lr",)
    found = sweep.recommend()
    assert f"(lr={sweep.trials[found.number].hyperparameters.lr:g})" in found.sentence
    assert found.label == f"{found.frozen} lr=0.003"
    assert sweep.best(rule="measured").label.endswith(" lr=0.003")
    labels = [each.label for each in build_series(sweep)]
    assert len(set(labels)) == 6
    assert all(" lr=0.00" in label for label in labels)
    front = {row["trial"] for row in sweep.front_rows()}
    compared = sweep.comparison_rows()
    assert {row["cheaper"] for row in compared} | {row["other"] for row in compared} == {
        str(sweep.label(trial)) for trial in sweep.trials if trial.number in front
    }
    columns = list(sweep.trial_rows()[0])
    assert columns.index("lr") == columns.index("frozen") + 1
    assert list(sweep.trials_dataframe())[:3] == ["trial", "frozen", "lr"]


def test_the_note_names_the_learning_rate(sweep):
    note = write_note(sweep)
    answers = [
        line for line in note.splitlines() if line.startswith(("- Recomm", "- Highest", "- Supported", "- Best"))
    ]
    assert len(answers) == 4
    assert all("lr=0.00" in line for line in answers)
    assert "| trial | frozen | lr | validation accuracy |" in note


def test_best_says_its_rule_and_how_it_stands_to_the_others(sweep, tmp_path):
    best, supported, measured = sweep.best(), sweep.best(rule="supported"), sweep.best(rule="measured")
    cheap = sweep.best(min_val_acc=0.85)
    assert (best.rule, best.basis) == ("expected", "the highest val_acc to expect, all trials considered")
    assert (supported.rule, supported.basis) == ("supported", "the highest val_acc on the supported front")
    assert (measured.rule, measured.basis) == ("measured", "the highest measured val_acc, whatever chance made of it")
    assert cheap.rule == "min_val_acc"
    assert cheap.basis == "the fewest trainable parameters with a measured val_acc of at least 0.85"
    assert sweep.knee().rule == "knee"
    bounded = sweep.best(max_trainable_params=11_100_000, rule="supported")
    assert bounded.basis == (
        "the highest val_acc on the supported front, among the trials with at most 11,100,000 parameters"
    )


@pytest.mark.parametrize(
    ("rule", "reason"), [("expected", "nothing else can be expected"), ("supported", "no front is supported")]
)
def test_without_predictions_the_rule_that_chose_is_named_and_not_the_one_asked_for(tmp_path, rule, reason):
    sweep = Sweep(Root.at(tmp_path), make_experiment(), [make_trial(0, "none", 0.9), make_trial(1, "stem", 0.8)])
    best = sweep.best(rule=rule)
    assert best.rule == "measured"
    assert best.basis == f"the highest measured val_acc: without predictions of the same images {reason}"


def test_the_trials_of_other_rules_are_named_with_the_reason(tmp_path):
    # 133 images of one seed: freezing all but layer4 is right on 2 images fewer than freezing nothing
    right = draw_correct((0.95, 0.95, 0.6), seeds=1, seed=1)
    right[0][0] = True
    right[0][0][:5] = False
    right[1][0] = True
    right[1][0][3:10] = False
    keys = ("none", PREFIXES[4], PREFIXES[5])
    trials = [
        make_predicted_trial(tmp_path, i, key, each) for i, (key, each) in enumerate(zip(keys, right, strict=True))
    ]
    sweep = Sweep(Root.at(tmp_path), make_experiment(), trials)
    # McNemar's exact test: 5 images are won (5 to 9) and 3 lost (0 to 2), of 8: 2 * P(X >= 5) = 2 * 93 / 256 = 0.727
    # Bonett and Price, with 135 images: centre 2 / 135 = 0.0148, half 1.96 * sqrt((10 / 135 - 0.0148 ** 2) / 135)
    # = 0.0458: -3.1 to 6.1 points
    gap = "highest measured: trial 0 (none): val_acc 0.9624, 11,178,051 parameters, 1.5 points better (-3.1 to 6.1, p ="
    recommended = sweep.recommend()
    assert (recommended.number, recommended.is_confident) == (0, True)
    why = (
        "recommended: trial 0 (none): the fewest parameters among those that lose at most 1 point with probability 0.8"
    )
    assert sweep.explain(sweep.best(rule="supported")) == (
        f"trial 1 ({PREFIXES[4]}) is chosen by the rule `supported`: the highest val_acc on the supported front; "
        f"{gap} 0.73 alone), but not on the supported front: it is not shown to be better than trial 1 "
        f"({PREFIXES[4]}), which cost as much or less, once all trials are looked at; {why}"
    )
    assert sweep.explain(sweep.best()).endswith(
        "; it is the highest measured trial too; it is the recommended trial too"
    )
    bounded = sweep.best(max_trainable_params=9_000_000)
    expected = [100 * row["val_acc_corrected"] for row in sweep.trial_rows()]
    assert f"0.73 alone); to expect are {expected[0]:.1f}% of it, and {expected[1]:.1f}% of the chosen one; {why}" in (
        sweep.explain(bounded)
    )


def test_where_no_trial_is_sure_enough_it_is_said(tmp_path):
    kept = make_predicted_sweep(tmp_path, PREFIXES, draw_correct((0.95,) * 5 + (0.6,), seeds=3, seed=1)).trials
    asked = make_searched(recommend={"margin": 0.005, "confidence": 1.0})
    sweep = Sweep(Root.at(tmp_path), make_experiment(search=asked), kept)
    best = sweep.best()
    other = sweep.best(max_trainable_params=best.trainable_params - 1)
    assert sweep.explain(best).endswith("; it is the recommended trial too")
    assert sweep.explain(other).endswith(
        f"; recommended: trial {best.number} ({best.label}): the best, since none loses at most 0.5 points with "
        "probability 1"
    )


@pytest.mark.parametrize(
    ("key", "short"),
    [
        ("stem+layer1", "stem+layer1"),
        ("stem+layer1:norm+layer2:norm+layer3:norm+layer4:norm", "stem, rest norm"),
        ("stem:bias+layer1:bias+layer2:bias+layer3:bias+layer4:bias", "all bias"),
        ("stem+layer1+layer2+layer3+layer4:lora-4", "stem+layer1+layer2+layer3, rest lora-4"),
        ("stem+layer1:norm+layer2:norm+layer3:norm", "stem+layer1:norm+layer2:norm+layer3:norm"),  # layer4: full
        ("stem+layer1:norm+layer2:norm+layer3:norm+layer4:bias",) * 2,
    ],
)
def test_pictures_have_a_shorter_label_where_all_that_is_not_frozen_does_the_same(key, short):
    label = TrialLabel(frozen=FrozenSet.parse(key), values=("lr=0.1",), number=3)
    assert label.shorten(RESNET18) == f"{short} lr=0.1 #3"
