"""The in-memory tracker is strict: a run ends once."""

import pytest

from orchestrator.tracking.memory import MemoryTracker
from tests.factories import make_result, make_run_start, make_summary, make_sweep_start, make_trials


def test_a_run_ends_once():
    run = MemoryTracker().start_run(make_run_start())
    run.finish(make_result())
    with pytest.raises(ValueError, match="trial_000_stem_seed0 is finished already and cannot become killed"):
        run.kill("late")


def test_the_front_marks_all_runs_of_its_trials():
    tracker = MemoryTracker()
    for trial, seed in ((0, 0), (0, 1), (1, 0)):
        tracker.start_run(make_run_start(trial, seed=seed))
    tracker.update_sweep(make_summary(make_trials()[:2], [0]))
    assert [run.pareto for run in tracker.runs] == [True, True, False]
    tracker.update_sweep(make_summary(make_trials()[:2], [1]))
    assert [run.pareto for run in tracker.runs] == [False, False, True]


def test_a_second_start_puts_off_what_was_left_running():
    tracker = MemoryTracker()
    tracker.start_sweep(make_sweep_start())
    tracker.start_run(make_run_start())
    tracker.start_sweep(make_sweep_start())
    assert [run.status for run in tracker.runs] == ["put_off"]
    assert tracker.status == "running"
