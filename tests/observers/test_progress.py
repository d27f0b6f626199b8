"""The file that says how far a sweep is."""

import json

import pytest

from orchestrator.config.models import ExecutionConfig, SearchConfig
from orchestrator.observers.progress import Pace, ProgressFile, read_progress
from orchestrator.records.spec import Choice
from tests.factories import make_experiment, make_history, make_hyperparameters, make_run, make_run_start, make_trial

CHOICES = [Choice(frozen=key, hyperparameters=make_hyperparameters()) for key in ("none", "stem", "layer1")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "demo.json"


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when told to."""
    now = [100.0]
    monkeypatch.setattr("orchestrator.observers.progress.time.monotonic", lambda: now[0])
    return now


def test_a_run_is_there_with_its_last_epoch_until_it_ends(path):
    file = ProgressFile(path)
    file.on_plan(make_experiment(), CHOICES, [make_trial()])
    start = make_run_start(3, "stem")
    file.on_run_start(start)
    assert [(run.name, run.epochs, run.max_epochs) for run in read_progress(path).runs] == [(start.name, 0, 3)]
    file.on_epoch(start, make_history((0.5, 0.75))[1])
    (run,) = read_progress(path).runs
    assert (run.trial, run.frozen, run.seed, run.epochs, run.val_acc) == (3, "stem", 0, 2, 0.75)
    file.on_run_end(start, make_run(3, "stem"))
    assert read_progress(path).runs == ()
    assert read_progress(path).planned == 4  # three to run and one done


def test_what_the_user_should_hear_of_a_run_stays_until_it_ends(path):
    file, start = ProgressFile(path), make_run_start(3, "stem")
    file.on_run_start(start)
    first, second = make_history((0.5, 0.75))
    file.on_epoch(start, first.model_copy(update={"notes": ("slow",)}))
    file.on_epoch(start, second)
    assert read_progress(path).runs[0].notes == ("slow",)


def test_the_time_to_go_follows_from_the_runs_that_ended(path, clock):
    file = ProgressFile(path)
    file.on_plan(make_experiment(search=SearchConfig(seeds=(0, 1))), CHOICES, [])
    for seed in (0, 1):
        start = make_run_start(0, "none", seed)
        file.on_run_start(start)
        clock[0] += 30
        file.on_run_end(start, make_run(0, "none", seed))
    file.on_trial_end(make_trial(0, "none"))
    assert read_progress(path).to_go_s == pytest.approx(2 * 2 * 30)  # two trials of two runs of 30 s
    file.on_run_start(make_run_start(1, "stem"))
    clock[0] += 10
    file.on_trial_end(make_trial(0, "none"))
    assert read_progress(path).to_go_s == pytest.approx(4 * 30 - 10)


def run_through(pace, clock, number, seconds, **record):
    start = make_run_start(number, "stem")
    pace.start(start)
    clock[0] += seconds
    pace.end(start, make_run(number, "stem").model_copy(update=record))


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_side_by_side_take_half_the_time(clock, workers):
    pace = Pace()
    pace.plan(make_experiment(execution=ExecutionConfig(workers=workers)), CHOICES * 2)
    assert pace.estimate_s() is None
    run_through(pace, clock, 0, 50)
    run_through(pace, clock, 1, 40)
    assert pace.estimate_s() == 4 * 45 / workers
    pace.start(make_run_start(2, "stem"))
    clock[0] += 10
    assert pace.estimate_s() == (3 * 45 + 35) / workers


def test_what_three_long_runs_take_is_not_nothing(clock):
    """What was said of a demo with three of six trials left, two of them under way for longer than the first ones."""
    pace = Pace()
    pace.plan(make_experiment(execution=ExecutionConfig(workers=2)), CHOICES * 2)
    for number in range(3):
        run_through(pace, clock, number, 3)
    for number in (3, 4):
        pace.start(make_run_start(number, "stem"))
    clock[0] += 9
    assert pace.estimate_s() is None  # both take longer than those before, nobody knows how long
    for number in (3, 4):
        pace.epoch(make_run_start(number, "stem"), make_history((0.5,))[0])
    assert pace.estimate_s() == (3 + 2 * 2 * 9) / 2  # one waits, and two of three epochs of 9 s are left of each


def test_what_was_answered_or_continued_does_not_make_the_others_quick(clock):
    pace = Pace()
    pace.plan(make_experiment(execution=ExecutionConfig(workers=1)), CHOICES)
    pace.end(make_run_start(0, "none"), make_run(0, "none").model_copy(update={"reused_from": "other/run"}))
    assert pace.estimate_s() is None
    continued = make_run_start(1, "stem", resumes_from=2)
    pace.start(continued)
    for metrics in make_history((0.5, 0.6)):
        pace.epoch(continued, metrics)
    clock[0] += 1
    run = make_run(1, "stem")
    pace.end(continued, run)
    assert pace.estimate_s() == run.result.duration_s


def test_a_sampled_sweep_does_not_know_its_end(path):
    file = ProgressFile(path)
    file.on_plan(make_experiment(), None, [])
    assert (read_progress(path).planned, read_progress(path).to_go_s) == (None, None)


@pytest.mark.parametrize("content", [None, "", "{", json.dumps({"planned": 3})])
def test_a_file_that_says_nothing_is_none(path, content):
    if content is not None:
        path.write_text(content)
    assert read_progress(path) is None


def test_a_run_that_pauses_is_not_under_way_and_a_race_has_no_known_end(path):
    file = ProgressFile(path)
    file.on_plan(make_experiment(search=SearchConfig(strategy="race")), CHOICES, [])
    start = make_run_start(3, "stem")
    file.on_run_start(start)
    file.on_epoch(start, make_history((0.5,))[0])
    file.on_run_pause(start, 1)
    assert read_progress(path).runs == ()
    file.on_run_start(start)
    assert [run.name for run in read_progress(path).runs] == [start.name]
    file.on_run_end(start, make_run(3, "stem"))
    file.on_trial_end(make_trial(3, "stem"))
    assert read_progress(path).to_go_s is None
