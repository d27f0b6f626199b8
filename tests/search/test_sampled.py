"""A study whose trials a sampler suggests, read back through plain Optuna."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from orchestrator.config.models import SearchConfig
from orchestrator.errors import ConfigError
from orchestrator.search.samplers import choose_sampler
from tests.factories import PREFIXES, RESNET18, count_trainable, make_experiment, make_run
from tests.search.studies import COSTS, finish, open_search, read_back, run_all

SAMPLERS = ["blocks", "tpe", "nsga2", "random", "gp"]


def suggestions(root, name="demo"):
    return [trial.params for trial in read_back(root, name).get_trials()]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_repeated_suggestion_is_answered_from_the_first_result(root, sampler):
    search = open_search(root, mode="list", frozen=("none", "stem"), sampler=sampler, n_trials=6)
    assert search.planned() is None
    proposals = run_all(search)
    assert [proposal.number for proposal in proposals] == list(range(6))  # repeats count
    first: dict[str, int] = {}
    for proposal in proposals:
        assert proposal.repeats == first.get(proposal.choice.frozen)
        first.setdefault(proposal.choice.frozen, proposal.number)
    assert len(first) < len(proposals)
    trials = read_back(root).get_trials()
    for trial in trials:
        original = trials[first[trial.params["frozen"]]]
        assert (trial.state, trial.values) == (TrialState.COMPLETE, original.values)
        assert trial.user_attrs["runs"] == original.user_attrs["runs"]
        assert trial.user_attrs.get("repeats") == (None if trial is original else original.number)
    assert [record.repeats for record in search.trials()] == [trial.user_attrs.get("repeats") for trial in trials]
    again = open_search(root, mode="list", frozen=("none", "stem"), sampler=sampler, n_trials=6)
    assert again.planned() == []
    assert again.propose() is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_sampler_does_not_replay_its_suggestions(root, sampler):
    space = {"lr": {"range": {"low": 1e-5, "high": 1.0, "log": True}}, "sampler": sampler}
    for n_trials in (3, 6):  # as many in each call, each call in a fresh process
        run_all(open_search(root, n_trials=n_trials, **space))
    rates = [params["lr"] for params in suggestions(root)]
    assert len(rates) == len(set(rates)) == 6


def test_the_same_seed_suggests_the_same_in_another_study(root):
    space = {"lr": {"range": {"low": 1e-5, "high": 1.0}}, "sampler": "random", "n_trials": 4}
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        run_all(open_search(root, name, sampler_seed=seed, **space))
    assert suggestions(root, "one") == suggestions(root, "two")
    assert suggestions(root, "one") != suggestions(root, "three")


def test_the_largest_seed_of_a_sampler_is_resumed(root):
    for n_trials in (1, 2):
        run_all(open_search(root, sampler="random", sampler_seed=2**32 - 1, n_trials=n_trials))
    assert len(suggestions(root)) == 2


def test_ranges_and_choices_are_declared_as_they_are_configured(root):
    search = open_search(
        root,
        lr={"range": {"low": 1e-4, "high": 1e-2, "log": True}},
        weight_decay={"range": {"low": 0.0, "high": 0.1}},
        batch_size={"range": {"low": 4, "high": 32, "log": True}},
        optimizer={"choices": ("sgd", "adam")},
        n_trials=1,
    )
    proposal = search.propose()
    assert proposal is not None
    trial = read_back(root).get_trials()[0]
    assert trial.distributions == {
        "frozen": CategoricalDistribution(sorted(PREFIXES, key=len)),
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "weight_decay": FloatDistribution(0.0, 0.1),
        "batch_size": IntDistribution(4, 32, log=True),
        "optimizer": CategoricalDistribution(("adam", "sgd")),
    }
    assert proposal.choice.hyperparameters.model_dump() == {k: v for k, v in trial.params.items() if k != "frozen"}
    assert proposal.choice.frozen == trial.params["frozen"]
    assert trial.user_attrs["choice"]["hyperparameters"]["lr"] == trial.params["lr"]


def test_what_the_budget_leaves_out_is_never_suggested(root):
    search = open_search(root, sampler="random", n_trials=12, max_trainable_params=9_000_000)
    assert search.left_out == PREFIXES[:4]
    proposals = run_all(search)
    assert {proposal.choice.frozen for proposal in proposals} == set(PREFIXES[4:])
    assert [p for p in suggestions(root) if p["frozen"] not in PREFIXES[4:]] == []


@pytest.mark.parametrize("sampler", ["blocks", "tpe", "nsga2", "random"])
def test_a_budget_holds_for_an_encoding_by_block_too(root, sampler):
    # 2 of 32 frozen sets train less than 12_000 parameters: a sampler seldom finds them by itself
    search = open_search(
        root, mode="subset", encoding="per_block", sampler=sampler, n_trials=3, max_trainable_params=12_000
    )
    proposals = run_all(search)
    assert len(proposals) == 3
    assert all(count_trainable(proposal.choice.frozen) <= 12_000 for proposal in proposals)
    trials = read_back(root).get_trials()
    told = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert [trial.number for trial in told] == [proposal.number for proposal in proposals]
    for trial in told:
        frozen = "+".join(block for block in RESNET18 if trial.params[f"freeze_{block}"])
        assert frozen == trial.user_attrs["choice"]["frozen"]
    pruned = {trial.user_attrs["error"] for trial in trials if trial.state == TrialState.PRUNED}
    assert pruned <= {"left out: over search.max_trainable_params=12000"}
    assert len(search.trials()) == 3  # what was left out is no trial of ours


def test_a_suggestion_that_is_running_is_not_run_twice(root):
    search = open_search(root, mode="list", frozen=("none", "stem"), sampler="random", n_trials=9)
    first, second = search.propose(), search.propose()
    assert first is not None
    assert second is not None
    assert {first.choice.frozen, second.choice.frozen} == {"none", "stem"}
    assert search.propose() is None  # until one of them has ended
    finish(search, first)
    third = search.propose()
    assert third is not None
    assert third.repeats == first.number


def test_a_sweep_whose_trials_all_fail_ends(root):
    search = open_search(root, sampler="random", n_trials=3)
    for _ in range(3):
        proposal = search.propose()
        assert proposal is not None
        search.fail(proposal.number, "no", [make_run(proposal.number, error="no")])
    assert search.propose() is None
    # the next call tries as many again
    again = open_search(root, sampler="random", n_trials=3)
    again.reconcile()
    assert again.planned() is None
    assert len(run_all(again)) == 3


def test_trials_of_a_dead_process_are_gone_on_with(root):
    dead = open_search(root, sampler="random", n_trials=3)
    begun = [dead.propose() for _ in range(2)]
    search = open_search(root, sampler="random", n_trials=3)
    assert len(search.reconcile()) == 2
    assert [(each.number, each.choice) for each in run_all(search)[:2]] == [
        (each.number, each.choice) for each in begun
    ]
    assert [trial.state for trial in search.trials()] == ["complete"] * 3


def test_a_failed_trial_does_not_answer(root):
    search = open_search(root, mode="list", frozen=("none",), sampler="random", n_trials=3)
    lost = search.propose()
    assert lost is not None
    search.fail(lost.number, "no", [])
    proposals = run_all(search)
    assert [proposal.repeats for proposal in proposals] == [None, 1]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (
            {},
            {"max_trainable_params": 8_395_267},
            f"  frozen: was {', '.join(PREFIXES)}, is {', '.join(PREFIXES[4:])}",
        ),
        (
            {"mode": "list", "frozen": ("none", "stem")},
            {"mode": "list", "frozen": ("none", "stem", "layer1")},
            "  frozen: was none, stem, is none, stem, layer1",
        ),
        ({"batch_size": {"choices": (8, 16)}}, {"batch_size": {"choices": (8,)}}, "  batch_size: was 8, 16, is 8"),
    ],
)
def test_changed_choices_are_refused_before_anything_runs(root, before, after, text):
    run_all(open_search(root, sampler="random", n_trials=2, **before))
    with pytest.raises(ConfigError, match=r"^the choices of the study 'demo' in .* cannot change:\n") as caught:
        open_search(root, sampler="random", n_trials=4, **after)
    assert text in caught.value.message.splitlines()
    assert caught.value.hint is not None
    # a finished study is not asked for more
    assert open_search(root, sampler="random", n_trials=2, **after).planned() == []


def test_the_order_of_a_list_is_no_change(root):
    for frozen in (("stem", "none"), ("none", "stem")):
        run_all(open_search(root, mode="list", frozen=frozen, sampler="random", n_trials=2 + (frozen[0] == "none")))
    assert len(suggestions(root)) == 3


def test_a_range_may_change(root):
    for high, n_trials in ((1e-2, 2), (1e-1, 4)):
        run_all(open_search(root, lr={"range": {"low": 1e-3, "high": high}}, n_trials=n_trials))
    assert len(suggestions(root)) == 4


def test_a_space_larger_than_n_trials_is_sampled_by_blocks(root):
    for encoding in ("categorical", "per_block"):
        search = open_search(root, encoding, mode="subset", encoding=encoding, n_trials=8)
        proposals = run_all(search)
        assert len({proposal.choice.frozen for proposal in proposals}) == len(suggestions(root, encoding)) == 8
        again = open_search(root, encoding, mode="subset", encoding=encoding, n_trials=11)
        assert len({proposal.choice.frozen for proposal in [*proposals, *run_all(again)]}) == 11


def test_blocks_keep_to_the_budget_and_ask_for_nothing_else(root):
    search = open_search(
        root, mode="subset", encoding="per_block", sampler="blocks", n_trials=8, max_trainable_params=3_000_000
    )
    proposals = run_all(search)
    kept = {each for each in COSTS if count_trainable(each) <= 3_000_000}
    assert len({proposal.choice.frozen for proposal in proposals}) == len(suggestions(root)) == 8
    assert {str(proposal.choice.frozen) for proposal in proposals} <= kept


@pytest.mark.parametrize(
    ("before", "now", "chosen"),
    [
        ({}, {}, "blocks"),
        ({"sampler": "tpe"}, {}, "tpe"),  # as studies of earlier versions, which say nothing
        ({}, {"sampler": "nsga2"}, "nsga2"),
        ({"lr": {"range": {"low": 1e-5, "high": 1.0}}}, {"lr": {"range": {"low": 1e-5, "high": 1.0}}}, "tpe"),
    ],
)
def test_a_study_goes_on_with_the_sampler_it_began_with_unless_one_is_named(root, before, now, chosen):
    run_all(open_search(root, mode="subset", n_trials=2, **before))
    experiment = make_experiment(search=SearchConfig(mode="subset", n_trials=4, **now))
    assert choose_sampler(read_back(root), experiment) == chosen
