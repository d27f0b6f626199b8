"""A worker that is free gets its next run before the last one is tracked, where that run does not depend on it."""

import pytest

from orchestrator.execution.inline import InlineExecutor
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.observers.group import LoggingObserver
from tests.sweep_bench import KEYS, Bench


class Listing(InlineExecutor):
    """Writes down what it is given."""

    def __init__(self, events):
        super().__init__("tests.fake_training:train")
        self.events = events

    def submit(self, spec, workplace, on_epoch):
        self.events.append(("begin", spec.frozen))
        return super().submit(spec, workplace, on_epoch)


class Committing(LoggingObserver):
    """Writes down which runs are committed."""

    def __init__(self, events):
        super().__init__()
        self.events = events

    def on_run_end(self, start, record):
        self.events.append(("commit", start.spec.frozen))


def make_bench(root, executor=Listing, **search):
    bench, events = Bench(root), []
    if search:
        settings = bench.experiment.search.model_copy(update=search)
        bench.experiment = bench.experiment.model_copy(update={"search": settings})
    bench.executor, bench.observer = executor(events), Committing(events)
    return bench, events


def test_the_next_run_begins_before_the_last_one_is_committed(tmp_path):
    bench, events = make_bench(tmp_path)
    bench.sweep()
    order = [frozen for kind, frozen in events if kind == "begin"]
    assert sorted(map(str, order)) == sorted(KEYS)
    first, second, third, last = order
    assert events == [
        ("begin", first),
        ("begin", second),
        ("commit", first),
        ("begin", third),
        ("commit", second),
        ("begin", last),
        ("commit", third),
        ("commit", last),
    ]


def test_a_sampler_hears_of_each_trial_before_it_proposes_the_next(tmp_path):
    bench, events = make_bench(tmp_path, sampler="random", n_trials=4)
    bench.sweep()
    assert len(events) >= 4
    assert [kind for kind, _ in events] == ["begin", "commit"] * (len(events) // 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_sampler_of_blocks_trains_each_set_once_however_many_run_at_a_time(tmp_path, workers):
    bench, _ = make_bench(tmp_path, sampler="blocks", n_trials=4)
    bench.executor = ProcessExecutor("tests.fake_training:train", workers=workers)
    bench.sweep()
    assert sorted(str(trial.frozen) for trial in bench.trials) == sorted(KEYS)
    assert {trial.state for trial in bench.trials} == {"complete"}
    assert [trial.repeats for trial in bench.trials] == [None] * 4


def test_what_finished_is_kept_where_the_next_run_cannot_begin(tmp_path):
    class Full(Listing):
        def submit(self, spec, workplace, on_epoch):
            if self.events:
                raise OSError("No space left on device")
            return super().submit(spec, workplace, on_epoch)

    bench, events = make_bench(tmp_path, Full)
    with pytest.raises(OSError, match="No space left"):
        bench.sweep()
    assert [kind for kind, _ in events] == ["begin", "commit"]
    assert [run.status for run in bench.tracker.runs] == ["finished", "put_off"]
    assert [trial.state for trial in bench.trials].count("complete") == 1
