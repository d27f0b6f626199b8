"""One failing tracker does not keep the others from closing."""

import pytest

from orchestrator.errors import SetupError, SweepError
from orchestrator.tracking.fanout import FanoutTracker
from orchestrator.tracking.memory import MemoryTracker
from tests.factories import make_history, make_result, make_run_start, make_summary, make_sweep_start, make_trials


class BrokenRun:
    run_id = "abc"

    def __getattr__(self, name):
        def fail(*_args):
            raise SweepError(f"no {name}")

        return fail


class BrokenTracker(MemoryTracker):
    """Loses its store once the sweep has started."""

    def start_run(self, start):
        return BrokenRun()

    def update_sweep(self, summary):
        raise SweepError("no update_sweep")

    def end_sweep(self, status):
        raise SweepError("no end_sweep")


class ClosedTracker(MemoryTracker):
    """Its store cannot be opened, and it can open no run."""

    def start_sweep(self, start):
        raise SetupError("no store")

    def start_run(self, start):
        raise SweepError("no start_run")


@pytest.fixture(params=[0, 1], ids=["broken first", "broken last"])
def both(request):
    """A healthy tracker and the fan over it and a broken one, in either order."""
    healthy, broken = MemoryTracker(), BrokenTracker()
    fan = FanoutTracker([broken, healthy] if request.param == 0 else [healthy, broken])
    fan.start_sweep(make_sweep_start())
    return healthy, fan


def test_every_tracker_hears_the_end_of_a_run(both):
    healthy, fan = both
    ends = {"finished": ("finish", make_result()), "failed": ("fail", "boom"), "killed": ("kill", "stopped")}
    for i, (status, (method, argument)) in enumerate(ends.items()):
        run = fan.start_run(make_run_start(i))
        with pytest.raises(SweepError, match=f"no {method}"):
            getattr(run, method)(argument)
        assert healthy.runs[i].status == status


def test_every_tracker_hears_epochs_updates_and_the_end(both):
    healthy, fan = both
    run = fan.start_run(make_run_start())
    with pytest.raises(SweepError, match="no log_epoch"):
        run.log_epoch(make_history()[0])
    with pytest.raises(SweepError, match="no update_sweep"):
        fan.update_sweep(make_summary(make_trials(), [0]))
    with pytest.raises(SweepError, match="no end_sweep"):
        fan.end_sweep("finished")
    assert healthy.runs[0].curves["val/acc"] == [(1, 0.6)]
    assert len(healthy.summaries) == 1
    assert healthy.status == "finished"


def test_the_first_error_is_raised_and_the_second_is_its_note():
    fan = FanoutTracker([BrokenTracker(), BrokenTracker()])
    with pytest.raises(SweepError, match="no end_sweep") as caught:
        fan.end_sweep("finished")
    assert caught.value.__notes__ == ["and then, in BrokenTracker: SweepError('no end_sweep')"]


def test_a_store_that_does_not_open_closes_those_before_it():
    healthy = MemoryTracker()
    with pytest.raises(SetupError, match="no store"):
        FanoutTracker([healthy, ClosedTracker()]).start_sweep(make_sweep_start())
    assert healthy.status == "failed"


def test_a_run_that_one_tracker_cannot_open_stays_open_in_none():
    healthy = MemoryTracker()
    with pytest.raises(SweepError, match="no start_run"):
        FanoutTracker([healthy, ClosedTracker()]).start_run(make_run_start())
    assert [run.status for run in healthy.runs] == ["killed"]


def test_the_run_id_is_the_first_there_is():
    assert FanoutTracker([MemoryTracker(), BrokenTracker()]).start_run(make_run_start()).run_id == "abc"
    assert FanoutTracker([MemoryTracker()]).start_run(make_run_start()).run_id is None
