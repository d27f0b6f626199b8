"""The summary of a sweep is built where something has changed, seldom, and at the end."""

import pytest

from orchestrator.records.starts import SweepSummary
from orchestrator.sweep.updates import PAUSE_S, Updates
from orchestrator.tracking.memory import MemoryTracker
from tests.sweep_bench import Bench


class World:
    """A clock that only building a summary moves, and a search whose trials are counted."""

    def __init__(self, takes_s: float) -> None:
        self.now, self.takes_s = 100.0, takes_s
        self.built = []
        self.ended = ()
        self.tracker = MemoryTracker()
        self.updates = Updates(self, self.tracker, self.summarise, clock=lambda: self.now)

    def trials(self):
        return self.ended

    def summarise(self, trials, *, final):
        self.built.append((self.now, len(trials), final))
        self.now += self.takes_s
        return SweepSummary(trials=(), front=(), table=(), metrics={}, note="")

    def end_trial(self):
        self.ended += (None,)
        self.updates.note_change()


def test_nothing_is_built_before_something_has_changed():
    world = World(takes_s=0.1)
    world.updates.update_if_due()
    assert world.built == []
    world.end_trial()
    world.updates.update_if_due()
    world.now += 1000
    world.updates.update_if_due()
    assert world.built == [(100.0, 1, False)]


@pytest.mark.parametrize(("takes_s", "pause_s"), [(0.1, PAUSE_S), (2.0, 40.0)])  # 20 times 2 s; 20 times 0.1 s is less
def test_the_next_waits_five_seconds_and_twenty_times_as_long_as_the_last_took(takes_s, pause_s):
    world = World(takes_s)
    for _ in range(3):
        world.end_trial()
        world.updates.update_if_due()
    assert world.built == [(100.0, 1, False)]
    world.now = 100.0 + takes_s + pause_s - 0.01
    world.updates.update_if_due()
    assert len(world.built) == 1
    world.now += 0.02
    world.updates.update_if_due()
    assert [(trials, final) for _, trials, final in world.built] == [(1, False), (3, False)]


def test_it_takes_a_twentieth_of_the_time_at_most():
    world = World(takes_s=3.0)
    while world.now < 10_000:
        world.end_trial()
        world.now += 0.5
        world.updates.update_if_due()
    assert 3.0 * len(world.built) <= 0.05 * (world.now - 100) + 3.0
    assert len(world.built) > 100


def test_the_end_shows_all_of_it_however_soon_it_comes(tmp_path):
    bench = Bench(tmp_path)
    bench.sweep()
    summaries = bench.tracker.summaries
    assert len(summaries) == 2  # four trials within five seconds: after the first, and at the end
    complete = [sum(trial.state == "complete" for trial in summary.trials) for summary in summaries]
    assert complete == [1, 4]
    assert {run.start.trial for run in bench.tracker.runs if run.pareto} == set(summaries[-1].front)
