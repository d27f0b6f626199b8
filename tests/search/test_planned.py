"""A planned study, read back through plain Optuna."""

import json

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from orchestrator.config.models import Experiment, TrainerConfig
from orchestrator.errors import ConfigError
from orchestrator.records.trials import superseded
from tests.factories import PREFIXES, RESNET18, make_history, make_result, make_run
from tests.search.studies import COSTS, finish, open_search, read_back, run_all

ALL_FROZEN = "+".join(RESNET18)


def test_the_study_is_what_the_issue_says(root):
    run_all(open_search(root))
    study = read_back(root)
    assert study.study_name == "demo"
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert study.metric_names == ["val_acc", "trainable_params"]
    assert Experiment.model_validate(study.user_attrs["experiment"]).name == "demo"
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(6))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert [trial.params for trial in trials[:2]] == [{"frozen": "none"}, {"frozen": "stem"}]
    assert {trial.params["frozen"]: trial.values for trial in trials} == {
        "none": [1.0, 11_178_051],
        "stem": [1.0, 11_168_515],
        "stem+layer1": [0.9, 11_020_547],
        "stem+layer1+layer2": [0.8, 10_494_979],
        "stem+layer1+layer2+layer3": [pytest.approx(0.7), 8_395_267],
        ALL_FROZEN: [pytest.approx(0.6), 1_539],
    }
    assert {trial.params["frozen"] for trial in study.best_trials} == set(PREFIXES) - {"none"}


def test_a_trial_says_what_ran(root):
    search = open_search(root, seeds=(3, 5))
    proposal = search.propose()
    assert proposal is not None
    runs = [
        make_run(0, "none", seed, result=make_result("none", acc, seed, history=make_history((0.1, acc))))
        for seed, acc in ((3, 0.5), (5, 0.75))
    ]
    told = search.tell(0, runs)
    assert (told.val_acc, told.trainable_params, told.state) == (0.625, 11_178_051, "complete")  # (0.5 + 0.75) / 2
    attrs = read_back(root).get_trials()[0].user_attrs
    assert attrs["choice"] == {
        "frozen": "none",
        "hyperparameters": {"lr": 1e-4, "weight_decay": 0.0, "batch_size": 16, "optimizer": "adam"},
    }
    assert [(run["seed"], run["result"]["val_acc"]) for run in attrs["runs"]] == [(3, 0.5), (5, 0.75)]
    assert "step_losses" not in json.dumps(attrs)


def test_what_is_left_starts_in_another_order_once_it_is_arranged(root):
    search = open_search(root)
    for _ in range(2):
        proposal = search.propose()
        assert proposal is not None
        finish(search, proposal)
    left = search.planned()
    assert left is not None
    search.arrange(left[::-1])
    assert search.planned() == left[::-1]
    assert [proposal.choice for proposal in run_all(search)] == left[::-1]
    assert search.planned() == []
    assert [trial.params["frozen"] for trial in read_back(root).get_trials()] == [*PREFIXES[:2], *PREFIXES[:1:-1]]


@pytest.mark.parametrize("encoding", ["categorical", "per_block"])
def test_each_encoding_has_its_parameters(root, encoding):
    search = open_search(root, mode="subset", encoding=encoding, optimizer={"choices": ("sgd", "adam")})
    choices = [proposal.choice for proposal in (search.propose() for _ in range(5)) if proposal is not None]
    assert [choice.frozen for choice in choices] == ["none", "none", "layer1", "layer1", "layer2"]
    for trial, choice in zip(read_back(root).get_trials(), choices, strict=True):
        frozen = (
            {"frozen": choice.frozen}
            if encoding == "categorical"
            else {f"freeze_{block}": block in choice.frozen for block in RESNET18}
        )
        assert trial.params == frozen | {"optimizer": choice.hyperparameters.of_section("trainer")["optimizer"]}


def test_the_plan_is_visited_each_once_and_then_nothing_is_left(root):
    search = open_search(root, mode="subset", encoding="per_block")
    visited = [proposal.choice.frozen.key for proposal in run_all(search)]
    assert sorted(visited) == sorted(COSTS)
    again = open_search(root, mode="subset", encoding="per_block")
    assert again.planned() == []
    assert again.propose() is None
    assert len(read_back(root).get_trials()) == 32


def test_a_failed_trial_is_planned_again_by_the_next_call(root):
    search = open_search(root, mode="list", frozen=("none", "stem"))
    first, second = search.propose(), search.propose()
    assert first is not None
    assert second is not None
    lost = search.fail(first.number, "out of memory", [make_run(0, "none", error="out of memory")])
    assert (lost.state, lost.error, lost.val_acc) == ("failed", "out of memory", None)
    finish(search, second)
    assert search.propose() is None  # not in this call
    again = open_search(root, mode="list", frozen=("none", "stem"))
    assert [choice.frozen for choice in again.planned() or []] == ["none"]
    third = again.propose()
    assert third is not None
    assert (third.number, third.choice) == (2, first.choice)
    finish(again, third)
    states = [trial.state for trial in read_back(root).get_trials()]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert read_back(root).get_trials()[0].user_attrs["error"] == "out of memory"


def test_a_plan_is_resumed_in_the_middle_and_widened(root):
    search = open_search(root)
    for _ in range(2):
        finish(search, search.propose())
    widened = open_search(root, mode="subset")
    rest = [proposal.choice.frozen.key for proposal in run_all(widened)]
    assert sorted([*rest, "none", "stem"]) == sorted(COSTS)


def test_what_a_dead_process_left_running_is_gone_on_with_under_its_number(root):
    dead = open_search(root)
    finish(dead, dead.propose())
    left = dead.propose()
    # it died before it said what this one is
    read_back(root).ask()
    search = open_search(root)
    assert [(t.number, t.frozen, t.state, t.error) for t in search.reconcile()] == [(1, "stem", "put_off", None)]
    assert next(choice.frozen for choice in search.planned() or []) == "stem"
    assert [trial.state for trial in read_back(root).get_trials()] == [
        *(TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL)
    ]
    assert search.reconcile() == []
    assert search.propose() == left
    assert [trial.state for trial in search.trials()] == ["complete", "running"]
    finish(search, left)
    assert [trial.state for trial in search.trials()] == ["complete", "complete"]


def test_what_is_put_off_keeps_its_number_over_many_starts(root):
    first = open_search(root).propose()
    for _ in range(3):
        search = open_search(root)
        search.reconcile()
        assert search.propose() == first
        search.put_off(first.number, [make_run(0, error="interrupted")])
        assert [(trial.state, trial.has_failed) for trial in search.trials()] == [("put_off", False)]


def test_what_is_put_off_and_no_longer_asked_for_is_given_up(root):
    search = open_search(root, mode="subset")
    choice = next(choice for choice in search.planned() if choice.frozen == "layer4")
    search.put_off(search.start(choice).number, [])
    narrower = open_search(root)
    assert narrower.reconcile() == []
    assert narrower.trials() == []
    assert "layer4" in [choice.frozen for choice in open_search(root, mode="subset").planned()]


def test_a_root_of_an_older_version_which_failed_what_was_put_off_is_gone_on_with(root):
    """It told such a trial FAIL, with the mark and the error, and began it again under another number."""
    old = open_search(root)
    number = old.propose().number
    old._set_attr(number, "put_off", value=True)
    old.fail(number, "interrupted", [make_run(0, error="interrupted")])
    search = open_search(root)
    search.reconcile()
    assert [(trial.number, trial.state, trial.error) for trial in search.trials()] == [(0, "put_off", None)]
    again = search.propose()
    assert (again.number, again.choice.frozen) == (1, "none")
    assert [(trial.number, trial.state) for trial in search.trials()] == [(1, "running")]


def test_what_waits_in_the_queue_is_not_taken_for_the_plan(root):
    open_search(root)
    # a process that died between its two steps, and somebody's wish
    read_back(root).enqueue_trial({"frozen": "stem+layer1"})
    read_back(root).enqueue_trial({"frozen": "stem"})
    search = open_search(root)
    assert [proposal.choice.frozen for proposal in run_all(search)] == [
        choice.frozen for choice in open_search(root, "other").planned() or []
    ]
    told = [trial for trial in read_back(root).get_trials() if trial.state == TrialState.COMPLETE]
    assert {trial.params["frozen"] for trial in told} == set(PREFIXES)
    assert all(trial.params["frozen"] == trial.user_attrs["choice"]["frozen"] for trial in told)


def test_what_a_dead_process_left_in_the_queue_is_closed(root):
    run_all(open_search(root))
    read_back(root).enqueue_trial({"frozen": "stem"})
    open_search(root).reconcile()
    trials = read_back(root).get_trials()
    assert [trial.state for trial in trials] == [*[TrialState.COMPLETE] * 6, TrialState.FAIL]
    optuna.create_study(directions=["maximize", "minimize"]).add_trials(trials)  # Optuna takes none that it finds odd


def test_a_trial_is_told_complete_only_with_all_its_results(root):
    search = open_search(root)
    search.propose()
    for runs in ([], [make_run(0), make_run(0, seed=1, error="lost")]):
        with pytest.raises(ValueError, match=r"^trial 0 is told complete, and \d of its runs have no result$"):
            search.tell(0, runs)


# What does not fit an earlier study


IDENTITY = {"trainer.lr": 0.1, "data_fingerprint": "a", "trainer.patience": 3}


def test_results_of_different_configurations_are_not_mixed(root):
    first = open_search(root)
    first.require_identity(IDENTITY)
    finish(first, first.propose())
    other = open_search(root, experiment={"trainer": TrainerConfig(lr=0.2)})
    with pytest.raises(ConfigError, match=r"^the finished trials of 'demo' were made with another config") as caught:
        other.require_identity({"trainer.lr": 0.2, "data_fingerprint": "a", "extra": True})
    assert caught.value.message.splitlines()[1:] == [
        "  extra: was None, is True",
        "  trainer.lr: was 0.1, is 0.2",
        "  trainer.patience: was 3, is None",
    ]
    # a refused call leaves the study as it was
    assert read_back(root).user_attrs["experiment"]["trainer"]["lr"] == 1e-4
    open_search(root).require_identity(IDENTITY)


def test_seeds_can_be_added_and_not_taken_away(root):
    first = open_search(root, seeds=(1, 0))
    first.require_identity(IDENTITY)
    point = first.propose()
    finish(first, point, seeds=(1, 0))
    open_search(root, seeds=(0, 1)).require_identity(IDENTITY)
    with pytest.raises(ConfigError, match=r"was \[0, 1\], is \[1, 2\]; seeds can be added, not taken away"):
        open_search(root, seeds=(1, 2)).require_identity(IDENTITY)

    wider = open_search(root, seeds=(0, 1, 2))
    wider.require_identity(IDENTITY)
    again = wider.propose()
    assert again.choice == point.choice
    finish(wider, again, seeds=(0, 1, 2))
    assert point.choice not in wider.planned()
    assert superseded(wider.trials()) == {point.number}


def test_without_a_finished_trial_any_configuration_may_follow(root):
    first = open_search(root)
    first.require_identity(IDENTITY)
    number = first.propose().number
    first.fail(number, "no", [])
    second = open_search(root, experiment={"trainer": TrainerConfig(lr=0.2)})
    second.require_identity({"trainer.lr": 0.2})
    assert read_back(root).user_attrs["experiment"]["trainer"]["lr"] == 0.2


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"], ["maximize", "minimize", "maximize"]])
def test_a_study_with_other_directions_is_refused_untouched(root, directions):
    optuna.create_study(study_name="demo", storage=f"sqlite:///{root.optuna_db}", directions=directions)
    found = ", ".join(directions)
    with pytest.raises(
        ConfigError, match=rf"the study 'demo' in .*optuna\.db has the directions {found}, not maximize, "
    ):
        open_search(root)
    assert read_back(root).user_attrs == {}
    assert read_back(root).metric_names is None


def test_a_study_of_somebody_else_is_refused_untouched(root):
    study = optuna.create_study(
        study_name="demo", storage=f"sqlite:///{root.optuna_db}", directions=["maximize", "minimize"]
    )
    study.add_trial(optuna.trial.create_trial(values=[0.5, 1.0]))
    with pytest.raises(ConfigError, match=r"the study 'demo' in .* was not made by this project$"):
        open_search(root)
    assert read_back(root).user_attrs == {}


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (
            {"lr": {"choices": (0.1, 0.2)}},
            {"lr": {"choices": (0.1, 0.2, 0.3)}},
            "  lr: was 0.1, 0.2, is 0.1, 0.2, 0.3",
        ),
        (
            {"optimizer": {"choices": ("adam", "sgd")}},
            {"optimizer": {"choices": ("adam", "adamw")}},
            "  optimizer: was adam, sgd, is adam, adamw",
        ),
        (
            {"lr": {"choices": (0.1, 0.2)}},
            {"lr": {"range": {"low": 0.1, "high": 0.2, "log": True}}, "n_trials": 3},
            "  lr: was 0.1, 0.2, is 0.1 to 0.2, logarithmic",
        ),
    ],
)
def test_changed_choices_are_refused_before_anything_runs(root, before, after, text):
    frozen = {"mode": "list", "frozen": ("none", "stem")}
    search = open_search(root, **frozen, **before)
    finish(search, search.propose())
    with pytest.raises(ConfigError, match=r"^the choices of the study 'demo' in .* cannot change:\n") as caught:
        open_search(root, **frozen, **after)
    assert text in caught.value.message.splitlines()


def test_the_order_of_the_choices_is_no_change(root):
    first = open_search(root, mode="list", frozen=("none",), lr={"choices": (0.2, 0.1)})
    finish(first, first.propose())
    run_all(open_search(root, mode="list", frozen=("stem", "none"), lr={"choices": (0.1, 0.2)}))
    points = [(trial.params["frozen"], trial.params["lr"]) for trial in read_back(root).get_trials()]
    assert points[0] == ("none", 0.2)
    assert sorted(points) == [("none", 0.1), ("none", 0.2), ("stem", 0.1), ("stem", 0.2)]


def test_a_narrower_plan_that_is_finished_leaves_nothing(root):
    run_all(open_search(root, mode="list", frozen=("none",), lr={"choices": (0.1, 0.2)}))
    assert open_search(root, mode="list", frozen=("none",), lr={"choices": (0.2,)}).planned() == []
