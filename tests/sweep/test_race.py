"""A race as it is run: trials are dropped at rungs, the close ones get more seeds, and a death costs nothing."""

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.app.parts import build_strategy
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.place import Workplace
from orchestrator.records.prepared import Prepared
from orchestrator.records.trials import RunRecord
from orchestrator.search import OptunaSearch
from orchestrator.storage.ledger import Ledger
from tests.property.worlds import DATA
from tests.racing import CLEAR, CLOSE, COSTS, ENDS, EPOCHS, HOPELESS, PARAMS, RUNGS, RaceWorld, make_race, train

MEMORY = Path("/dev/shm")
CHEAPEST = min(PARAMS, key=PARAMS.__getitem__)


@contextmanager
def in_memory():
    """A world whose files lie in memory where there is such a folder: a disk makes sure of each of them."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield RaceWorld(Path(folder))


@pytest.fixture
def world():
    with in_memory() as world:
        yield world


@pytest.fixture(scope="module")
def undisturbed():
    """What a race comes to that nothing disturbs."""
    with in_memory() as world:
        outcome, _ = world.sweep(make_race())
        yield world, outcome


def assert_nothing_twice(world):
    assert len(world.trained) == len(set(world.trained))


def test_a_race_drops_the_hopeless_and_repeats_the_close(undisturbed):
    world, outcome = undisturbed
    assert {key: state for key, (state, _) in world.settled.items() if state == "PRUNED"} == dict.fromkeys(
        HOPELESS, "PRUNED"
    )
    assert sorted(trial.frozen.key for trial in outcome.pruned) == sorted(HOPELESS)
    assert outcome.failed_trials == []
    seeds = {key: seeds for key, (state, seeds) in world.settled.items() if state == "COMPLETE"}
    assert seeds == {key: [0] for key in (*CLEAR, "layer2")} | {key: [0, 1, 2] for key in CLOSE}
    assert [len(trials) for trials in world.trials.values()] == [1] * len(PARAMS)  # none is proposed again
    expected = {(key, 0): RUNGS[0] for key in HOPELESS} | {(key, 0): EPOCHS for key in CLEAR}
    expected |= {(key, seed): EPOCHS for key in CLOSE for seed in range(3)} | {("layer2", 0): ENDS["layer2"]}
    assert world.epochs == expected
    assert_nothing_twice(world)


def test_at_each_rung_runs_wait_for_each_other(undisturbed):
    world, _ = undisturbed
    epochs = [epoch for _, seed, epoch in world.trained if seed == 0]
    for rung in RUNGS:
        first_beyond = next(i for i, epoch in enumerate(epochs) if epoch >= rung)
        assert all(epoch >= rung for epoch in epochs[first_beyond:])


def test_what_is_dropped_is_killed_with_the_reason_and_the_rest_is_finished(undisturbed):
    world, _ = undisturbed
    runs = world.trackers["race"].runs
    killed = {run.start.spec.frozen: run.reason for run in runs if run.status == "killed"}
    assert sorted(map(str, killed)) == sorted(HOPELESS)
    for reason in killed.values():
        assert reason.startswith("pruned after 3 epochs: it ends on the front with a probability of ")
        assert reason.endswith(", less than search.race.drop_below=0.02")
    assert {run.status for run in runs} == {"killed", "finished"}
    assert world.trackers["race"].status == "finished"
    for run in runs:  # one tracked run from rung to rung
        steps = [step for step, _ in run.curves["val/acc"]]
        assert steps == list(range(1, world.epochs[run.start.spec.frozen, run.start.spec.seed] + 1))
    assert len(runs) == len(world.epochs)


def is_over(world, experiment):
    with world._mortal():
        search = OptunaSearch(world.root, experiment, COSTS)
        prepared = Prepared(experiment=experiment, data=DATA, weights_sha256=None, costs=COSTS)
        return build_strategy(prepared, search, Ledger(world.root)).left == []


def test_a_second_call_trains_nothing_and_starts_no_dropped_trial(world):
    assert not is_over(world, make_race())
    world.sweep(make_race())
    trials, trained = world.trials, list(world.trained)
    assert is_over(world, make_race())
    outcome, proposals = world.sweep(make_race())
    assert (outcome.trained, outcome.reused, outcome.pruned, proposals) == (0, 0, [], [])
    assert (world.trials, world.trained) == (trials, trained)


# --- deaths and stops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_at", [1, 10, *range(40, 600, 43)])
def test_a_race_that_dies_goes_on_where_it_was(world, undisturbed, dies_at):
    """It dies before a write; of what it trained, only an epoch whose checkpoint was not there is trained again."""
    died = world.sweep(make_race(), dies_at=dies_at) is None
    before = len(world.trained)
    outcome, _ = world.sweep(make_race())
    assert not outcome.failed_trials
    assert world.settled == undisturbed[0].settled
    again = world.trained[before:]
    assert len(again) == len(set(again))
    # the epoch of the death itself may have no checkpoint yet
    assert set(again) & set(world.trained[:before]) <= set(world.trained[before - 1 : before])
    assert died or not again
    assert "running" not in {run.status for run in world.trackers["race"].runs}
    assert is_over(world, make_race())


@pytest.mark.parametrize("after", [1, 3, 17, 25, 45, 60])
def test_a_race_that_is_stopped_keeps_what_is_whole_and_goes_on(world, undisturbed, after):
    outcome, _ = world.sweep(make_race(), stop_after=after)
    assert outcome.stopped
    assert "RUNNING" not in {state for trials in world.trials.values() for state, _ in trials}
    assert {run.status for run in world.trackers["race"].runs} <= {"killed", "finished", "put_off"}
    whole = [trial for trials in world.trials.values() for trial in trials if trial[0] == "COMPLETE"]
    assert all(seeds for _, seeds in whole)
    outcome, _ = world.sweep(make_race())
    assert not outcome.stopped
    assert world.settled == undisturbed[0].settled
    assert_nothing_twice(world)


# --- limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "runs"),
    [
        # the rungs cost 2 x 3 epochs for the hopeless, 2 for layer2, 5 x 9 for the rest: 53; a seed costs 9
        ({"epochs": 53 + 8}, 0),
        ({"epochs": 53 + 9}, 1),
        ({"epochs": 1}, 0),
        ({"epochs": None}, 2),  # as many epochs as the full sweep: 8 x 9 = 72
        ({"minutes": 53 + 18}, 2),  # an epoch takes a minute
        ({"gflops": (53 + 9) * 4}, 1),  # 2 for each of 2 images
        ({"epochs": 53 + 18, "minutes": 53 + 9}, 1),
    ],
)
def test_further_seeds_keep_within_the_budget(world, budget, runs):
    world.sweep(make_race(**budget))
    assert sum(world.epochs.values()) == 53 + 9 * runs
    assert sum(len(seeds) - 1 for state, seeds in world.settled.values() if state == "COMPLETE") == runs


def test_a_larger_budget_extends_a_race_and_trains_only_what_is_new(world):
    world.sweep(make_race(epochs=53))
    assert is_over(world, make_race(epochs=53))
    assert not is_over(world, make_race(epochs=53 + 18))
    outcome, _ = world.sweep(make_race(epochs=53 + 18))
    assert outcome.trained == 2
    assert sum(world.epochs.values()) == 53 + 18
    assert_nothing_twice(world)


def test_seeds_come_as_configured_and_then_count_on(world):
    world.sweep(make_race(seeds=(5, 2), max_seeds=4))
    assert world.settled["none"] == ("COMPLETE", [2, 5, 6, 7])
    assert world.settled[CHEAPEST] == ("COMPLETE", [5])


# --- losses, and other strategies -----------------------------------------------------------------------


def test_a_lost_run_fails_its_trial_alone_and_is_tried_again(world, monkeypatch):
    monkeypatch.setattr("tests.racing._epoch", lost_once(CLEAR[1], 4))
    outcome, _ = world.sweep(make_race())
    assert [trial.frozen for trial in outcome.failed_trials] == [CLEAR[1]]
    assert world.trackers["race"].status == "failed"
    monkeypatch.undo()
    outcome, proposals = world.sweep(make_race())
    assert [proposal.choice.frozen for proposal in proposals] == [CLEAR[1]]
    assert world.settled[CLEAR[1]] == ("COMPLETE", [0])
    assert_nothing_twice(world)


def lost_once(frozen, at):
    from tests import racing

    epoch_of = racing._epoch

    def epoch(spec, number):
        if (spec.frozen, number) == (frozen, at):
            raise ValueError("the world has it fail")
        return epoch_of(spec, number)

    return epoch


def test_a_full_sweep_runs_what_a_race_has_dropped_from_where_it_was(world):
    world.sweep(make_race(epochs=53))
    outcome, proposals = world.sweep(make_race(strategy="full", epochs=None))
    assert sorted(proposal.choice.frozen.key for proposal in proposals) == sorted(HOPELESS)
    assert outcome.trained == len(HOPELESS)
    assert {state for state, _ in world.settled.values()} == {"COMPLETE"}
    assert_nothing_twice(world)


class FinishedByAnother(LoggingObserver):
    """Once a run of a frozen set has paused, another sweep takes its training to the end."""

    def __init__(self, world, frozen):
        self.world, self.frozen = world, frozen

    def on_run_pause(self, start, epochs):
        if start.spec.frozen != self.frozen:
            return
        self.frozen = None
        ledger, claim = Ledger(self.world.root), ExitStack()
        fingerprint = start.spec.fingerprint
        with claim:
            assert ledger.claim(fingerprint, claim)  # a paused run is nobody's
            result = train(start.spec, Workplace(directory=str(ledger.directory(fingerprint))), lambda metrics: None)
            record = RunRecord(
                name="theirs", seed=start.spec.seed, fingerprint=fingerprint, state="complete", result=result
            )
            ledger.enter("other", record)


def test_a_paused_run_that_another_sweep_finishes_is_answered_by_it(world, undisturbed, monkeypatch):
    observer = FinishedByAnother(world, CLEAR[1])
    monkeypatch.setattr("tests.property.worlds.Stopping", lambda stop, after: observer)
    outcome, _ = world.sweep(make_race())
    assert (outcome.reused, outcome.failed_trials) == (1, [])
    assert world.settled == undisturbed[0].settled
    assert_nothing_twice(world)
    (run,) = [run for run in world.trackers["race"].runs if run.start.spec.frozen == CLEAR[1]]
    assert run.status == "finished"
    assert [step for step, _ in run.curves["val/acc"]] == list(range(1, EPOCHS + 1))
