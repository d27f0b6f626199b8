"""A study that is raced, read back through plain Optuna."""

import pytest
from optuna.trial import TrialState

from orchestrator.errors import ConfigError
from orchestrator.search import read_study
from tests.factories import PREFIXES, make_run
from tests.search.studies import finish, open_search, read_back

RACE = {"strategy": "race"}
REASON = "pruned after 3 epochs: hopeless"


def prune(search, proposal, epochs=3):
    run = make_run(proposal.number, proposal.choice.frozen, error=REASON, pruned_after=epochs)
    return search.prune(proposal.number, REASON, [run])


def test_a_dropped_trial_is_pruned_with_the_reason_and_is_no_failure(root):
    search = open_search(root, **RACE)
    trial = prune(search, search.start(search.planned()[1]))
    assert (trial.state, trial.frozen, trial.error, trial.pruned_after) == ("pruned", "stem", REASON, 3)
    assert (trial.has_failed, trial.is_settled, trial.val_acc) == (False, True, None)
    assert read_back(root).get_trials()[0].state is TrialState.PRUNED
    assert read_study(root, "demo")[1] == [trial]


def test_what_is_dropped_or_complete_is_not_planned_again(root):
    search = open_search(root, **RACE)
    first, second, *_ = search.planned()
    prune(search, search.start(first))
    finish(search, search.start(second))
    assert [choice.frozen for choice in search.planned()] == list(PREFIXES[2:])
    assert [choice.frozen for choice in open_search(root, **RACE).planned()] == list(PREFIXES[2:])
    # a full sweep asks for all of them, with all of their seeds
    assert [choice.frozen for choice in open_search(root).planned()] == ["none", *PREFIXES[2:]]
    wider = open_search(root, seeds=(0, 1)).planned()
    assert [choice.frozen for choice in wider] == list(PREFIXES)
    assert len(open_search(root, seeds=(0, 1), **RACE).planned()) == 4


def test_a_dropped_trial_is_left_alone_when_a_dead_owner_is_cleared_away(root):
    search = open_search(root, **RACE)
    first, second, *_ = search.planned()
    prune(search, search.start(first))
    search.start(second)
    assert [trial.frozen for trial in open_search(root, **RACE).reconcile()] == ["stem"]
    assert [trial.state for trial in open_search(root, **RACE).trials()] == ["pruned", "put_off"]


def test_a_complete_trial_is_started_again_for_more_seeds(root):
    search = open_search(root, **RACE)
    choice = search.planned()[0]
    finish(search, search.start(choice))
    again = search.start(choice)
    assert (again.number, again.choice) == (1, choice)
    search.require_identity({"lr": 1})
    finish(search, again, seeds=(0, 1, 7))
    search.require_identity({"lr": 1})  # seeds beyond those of the configuration are a race's own
    with pytest.raises(ConfigError, match=r"search\.seeds: was \[0, 1, 7\], is \[0\]"):
        open_search(root).require_identity({"lr": 1})


def test_a_race_needs_a_space_that_fits(root):
    with pytest.raises(ConfigError, match=r"search\.n_trials=5 leaves the choice among 6 points to a sampler") as error:
        open_search(root, n_trials=5, **RACE)
    assert error.value.hint == "set search.n_trials to 6 at least, or leave it out"
    assert len(open_search(root, n_trials=6, **RACE).planned()) == 6
