"""The loop: what is asked for is run once, what is lost fails alone, what stops is closed truly."""

import threading
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from orchestrator.config.models import TrainerConfig
from orchestrator.errors import RunError, SweepError
from orchestrator.execution.inline import InlineExecutor
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.prepared import Prepared
from orchestrator.records.spec import Choice, Hyperparameters
from orchestrator.results import Sweep
from orchestrator.search import OptunaSearch
from orchestrator.storage.ledger import Ledger
from tests.fake_training import ACCURACY, TRAINABLE
from tests.sweep_bench import KEYS, Bench


def test_each_frozen_set_is_trained_once_and_told(tmp_path):
    bench = Bench(tmp_path)
    outcome = bench.sweep()
    assert (outcome.trained, outcome.reused, outcome.failed_runs) == (4, 0, 0)
    told = {trial.frozen: (trial.state, trial.val_acc, trial.trainable_params) for trial in bench.trials}
    assert told == {key: ("complete", ACCURACY[key], TRAINABLE[key]) for key in KEYS}
    assert bench.times_trained == [1, 1, 1, 1]


def test_a_second_sweep_trains_nothing(tmp_path):
    Bench(tmp_path).sweep()
    again = Bench(tmp_path)
    outcome = again.sweep()
    assert (outcome.trained, outcome.reused) == (0, 0)
    assert len(again.trials) == 4
    assert again.times_trained == [1, 1, 1, 1]


def test_an_objective_is_the_mean_over_seeds_and_each_value_is_kept(tmp_path):
    bench = Bench(tmp_path, seeds=(0, 2))
    assert bench.sweep().trained == 8
    trial = next(trial for trial in bench.trials if trial.frozen == "stem")
    assert trial.val_acc == pytest.approx((0.96 + 0.94) / 2)
    assert [(run.seed, run.result.val_acc) for run in trial.runs] == [(0, 0.96), (2, pytest.approx(0.94))]
    assert [run.at_once for run in trial.runs] == [1.0, 1.0]  # one at a time


def test_a_run_that_raises_fails_alone_and_is_run_again_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "stem")
    bench = Bench(tmp_path)
    outcome = bench.sweep()
    assert outcome.trained == 3
    assert [trial.frozen for trial in outcome.failed_trials] == ["stem"]
    assert outcome.failed_trials[0].error == "seed 0: ValueError: the fake was told to fail"
    assert sorted(run.status for run in bench.tracker.runs) == ["failed", "finished", "finished", "finished"]

    monkeypatch.delenv("FAKE_FAIL")
    outcome = Bench(tmp_path).sweep()
    assert (outcome.trained, outcome.failed_trials) == (1, [])
    states = [(trial.frozen, trial.state) for trial in bench.trials]
    assert states.count(("stem", "failed")) == 1
    assert [states.count((key, "complete")) for key in KEYS] == [1, 1, 1, 1]


def test_another_experiment_is_answered_from_the_finished_training(tmp_path):
    Bench(tmp_path).sweep()
    other = Bench(tmp_path, name="other")
    outcome = other.sweep()
    assert (outcome.trained, outcome.reused) == (0, 4)
    assert other.times_trained == [1, 1, 1, 1]
    assert {run.reused_from for trial in other.trials for run in trial.runs} == {
        f"fake/{run.name}" for trial in Bench(tmp_path).trials for run in trial.runs
    }
    assert [run.status for run in other.tracker.runs] == ["finished"] * 4


def test_an_interrupted_sweep_closes_what_was_under_way_and_goes_on_later(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_INTERRUPT", "stem")
    bench = Bench(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bench.sweep()
    assert bench.tracker.status == "put_off"
    assert {run.status for run in bench.tracker.runs} == {"finished", "put_off"}
    interrupted = next(trial for trial in bench.trials if trial.frozen == "stem")
    assert (interrupted.state, interrupted.error, interrupted.has_failed) == ("put_off", None, False)
    done = sum(trial.state == "complete" for trial in bench.trials)

    monkeypatch.delenv("FAKE_INTERRUPT")
    again = Bench(tmp_path)
    assert again.sweep().trained == 4 - done
    assert [trial.state for trial in again.trials] == ["complete"] * 4
    assert [trial.number for trial in again.trials if trial.frozen == "stem"] == [interrupted.number]


def test_a_result_without_a_record_is_used_not_trained_again(tmp_path):
    """The parent died after the worker wrote the result, before anything was told."""
    bench = Bench(tmp_path)
    bench.sweep()
    for record in tmp_path.glob("checkpoints/*/record.json"):
        record.unlink()
    bench.root.optuna_db.unlink()
    again = Bench(tmp_path)
    outcome = again.sweep()
    assert (outcome.trained, outcome.reused) == (0, 4)
    assert [run.status for run in again.tracker.runs] == ["finished"] * 4


@pytest.mark.parametrize("damage", [b"", b'{"val_acc": 1'])
def test_a_torn_result_is_no_result(tmp_path, damage):
    Bench(tmp_path).sweep()
    torn = next(iter(tmp_path.glob("checkpoints/*/result.json")))
    torn.write_bytes(damage)
    outcome = Bench(tmp_path, name="other").sweep()
    assert (outcome.trained, outcome.reused) == (1, 3)


def test_what_workers_send_is_heard_in_the_thread_that_sweeps(tmp_path):
    class Threads(LoggingObserver):
        seen = set()  # noqa: RUF012

        def on_epoch(self, start, metrics):
            self.seen.add(threading.current_thread())

    bench = Bench(tmp_path)
    bench.observer = Threads()
    bench.executor = ProcessExecutor("tests.fake_training:train", workers=2)
    assert bench.sweep().trained == 4
    assert Threads.seen == {threading.current_thread()}


class StopAfterEpoch(LoggingObserver):
    """Asks for a stop when the first epoch of a frozen set is seen."""

    def __init__(self, stop: threading.Event, frozen: str) -> None:
        self.stop, self.frozen = stop, frozen

    def on_epoch(self, start, metrics):
        if start.spec.frozen == self.frozen:
            self.stop.set()


def test_a_stop_ends_the_run_with_its_epoch_and_starts_no_other(tmp_path):
    bench = Bench(tmp_path, seeds=(0, 1))
    bench.observer = StopAfterEpoch(bench.stop, "stem")
    outcome = bench.sweep()
    assert outcome.stopped
    assert (outcome.failed_runs, outcome.failed_trials) == (0, [])
    assert bench.tracker.status == "put_off"
    stopped = bench.tracker.runs[-1]
    assert (stopped.start.spec.frozen, stopped.status) == ("stem", "put_off")
    assert stopped.reason == "stopped after epoch 1"
    (trial,) = [trial for trial in bench.trials if trial.frozen == "stem"]
    assert (trial.state, trial.error) == ("put_off", None)
    rows = Sweep(bench.root, bench.experiment, bench.trials).run_rows()
    assert [(row["state"], row["error"]) for row in rows if row["frozen"] == "stem"] == [("put_off", None)] * 2

    again = Bench(tmp_path, seeds=(0, 1))
    assert not again.sweep().stopped
    assert [(trial.number, trial.state) for trial in again.trials] == [(n, "complete") for n in range(4)]
    assert [t.frozen for t in again.trials if t.number == trial.number] == ["stem"]
    assert Sweep(again.root, again.experiment, again.trials).open_failures == ()


class Flaky(InlineExecutor):
    """Loses the first runs that are submitted, for a cause."""

    def __init__(self, cause: str, times: int) -> None:
        super().__init__("tests.fake_training:train")
        self.cause, self.left = cause, times
        self.workplaces = []

    def submit(self, spec, workplace, on_epoch):
        self.workplaces.append(workplace)
        if not self.left:
            return super().submit(spec, workplace, on_epoch)
        self.left -= 1
        lost = Future()
        lost.set_exception(RunError("the fake worker is gone", cause=self.cause))
        return lost


@pytest.mark.parametrize("cause", ["died", "out_of_memory", "timeout"])
def test_what_may_pass_is_tried_again_in_the_same_tracked_run(tmp_path, cause):
    bench = Bench(tmp_path, retries=2)
    bench.executor = Flaky(cause, times=2)
    outcome = bench.sweep()
    assert (outcome.retried, outcome.failed_runs, outcome.trained) == (2, 0, 4)
    assert [run.status for run in bench.tracker.runs] == ["finished"] * 4
    assert bench.trials[0].runs[0].attempts == 3


@pytest.mark.parametrize(("cause", "alone"), [("out_of_memory", True), ("died", False)])
def test_a_run_whose_gpu_was_full_is_tried_again_with_nobody_beside_it(tmp_path, cause, alone):
    bench = Bench(tmp_path, retries=1)
    trainer = TrainerConfig(accelerator="gpu", precision="32-true")  # the fake trains anywhere
    bench.experiment = bench.experiment.model_copy(update={"trainer": trainer})
    bench.executor = Flaky(cause, times=1)
    bench.sweep()
    assert [workplace.alone for workplace in bench.executor.workplaces] == [False, alone, False, False, False]


class Cramped(InlineExecutor):
    """Two workers and memory for one: whoever comes second is killed, and the first one ends later."""

    workers = 2

    def __init__(self) -> None:
        super().__init__("tests.fake_training:train")
        self.beside = []
        self.under_way = set()

    def submit(self, spec, workplace, on_epoch):
        self.beside.append((spec.frozen, sorted(self.under_way)))
        if self.under_way:
            killed = Future()
            killed.set_exception(RunError("no memory left", cause="out_of_memory"))
            return killed
        self.under_way.add(spec.frozen)
        future = super().submit(spec, workplace, on_epoch)
        future.add_done_callback(lambda _: self.under_way.discard(spec.frozen))
        return future


def test_what_found_no_memory_is_tried_again_when_there_is_room_and_one_run_less_from_then_on(tmp_path, caplog):
    bench = Bench(tmp_path, retries=1)
    bench.executor = Cramped()
    outcome = bench.sweep()
    assert (outcome.retried, outcome.failed_runs, outcome.trained) == (1, 0, 4)
    (first, second), rest = bench.executor.beside[:2], bench.executor.beside[2:]
    assert second == (second[0], [first[0]])
    assert rest[0] == (second[0], [])  # as soon as there is room, and alone
    assert [beside for _, beside in rest] == [[]] * 3
    assert "memory does not suffice: from now on at most 1 at a time" in caplog.text
    assert [run.status for run in bench.tracker.runs] == ["finished"] * 4


@pytest.mark.parametrize(
    ("cause", "times", "retries"), [("diverged", 1, 5), ("error", 1, 5), ("data", 1, 5), ("died", 3, 2)]
)
def test_what_will_not_pass_and_what_failed_too_often_is_lost(tmp_path, cause, times, retries):
    bench = Bench(tmp_path, retries=retries)
    bench.executor = Flaky(cause, times=times)
    outcome = bench.sweep()
    assert (outcome.failed_runs, outcome.trained) == (1, 3)
    (run,) = outcome.failed_trials[0].runs
    assert (run.cause, run.attempts) == (cause, times)
    assert bench.tracker.runs[0].reason == f"{cause}: the fake worker is gone"


class Looking(InlineExecutor):
    """Keeps where each run happens."""

    def __init__(self) -> None:
        super().__init__("tests.fake_training:train")
        self.seen = {}

    def submit(self, spec, workplace, on_epoch):
        self.seen[spec.frozen] = workplace
        return super().submit(spec, workplace, on_epoch)


def test_a_run_is_told_what_its_frozen_set_costs(tmp_path):
    bench = Bench(tmp_path)
    bench.executor = Looking()
    bench.sweep()
    assert {key: place.cost.trainable_params for key, place in bench.executor.seen.items()} == {
        key: TRAINABLE[key] for key in KEYS
    }


class FlakyAtAStop(Flaky):
    """Loses a run in the moment of a stop, as where Ctrl-C reaches the worker too."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__("died", times=1)
        self.stop_event = stop

    def submit(self, spec, workplace, on_epoch):
        self.stop_event.set()
        return super().submit(spec, workplace, on_epoch)


def test_a_worker_that_dies_in_the_moment_of_a_stop_is_no_failure(tmp_path):
    bench = Bench(tmp_path, retries=1)
    bench.executor = FlakyAtAStop(bench.stop)
    outcome = bench.sweep()
    assert outcome.stopped
    assert (outcome.retried, outcome.failed_runs, outcome.failed_trials) == (0, 0, [])
    assert bench.trials[0].put_off
    assert Bench(tmp_path).sweep().trained == 4


class FullStore(OptunaSearch):
    """A study whose disk is full from the first result on."""

    def tell(self, number, runs):
        raise OSError("No space left on device")

    def put_off(self, number, runs):
        raise OSError("no space for this either")


def test_the_first_error_is_the_one_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.sweep_bench.OptunaSearch", FullStore)
    bench = Bench(tmp_path)
    with pytest.raises(OSError, match="No space left on device"):
        bench.sweep()
    assert bench.tracker.status == "killed"
    monkeypatch.undo()
    assert Bench(tmp_path).sweep().reused == 1


def test_too_many_lost_runs_stop_the_sweep_and_keep_what_finished(tmp_path):
    bench = Bench(tmp_path, max_failures=2)
    bench.executor = Flaky("diverged", times=2)
    with pytest.raises(
        SweepError, match=r"stopped after 2 lost runs \(execution\.max_failures=2\); the last: seed 0: the fake"
    ):
        bench.sweep()
    assert bench.tracker.status == "failed"
    assert len(bench.trials) == 2
    assert Bench(tmp_path).sweep().trained == 4


def test_more_seeds_extend_a_sweep_and_train_only_what_is_new(tmp_path):
    Bench(tmp_path).sweep()
    wider = Bench(tmp_path, seeds=(0, 1))
    outcome = wider.sweep()
    assert (outcome.trained, outcome.reused) == (4, 4)
    sweep = Sweep(wider.root, wider.experiment, wider.trials)
    assert [trial.val_acc for trial in sweep.candidates] == [
        pytest.approx(ACCURACY[trial.frozen] - 0.005) for trial in sweep.candidates
    ]
    assert sorted(trial.frozen.key for trial in sweep.candidates) == sorted(KEYS)


class CloseAfterTrials(LoggingObserver):
    """Closes something once so many trials have ended."""

    def __init__(self, stack: ExitStack, trials: int) -> None:
        self.stack, self.left = stack, trials

    def on_trial_end(self, trial):
        self.left -= 1
        if not self.left:
            self.stack.close()


def test_a_training_that_another_sweep_is_doing_is_waited_for(tmp_path):
    bench = Bench(tmp_path)
    costs = {"none": None}
    claimed = ExitStack()
    prepared = Prepared(experiment=bench.experiment, data=bench.data, weights_sha256=None, costs=costs)
    point = Choice(frozen="none", hyperparameters=Hyperparameters.of(bench.experiment))
    fingerprint = prepared.build_spec(point, 0).fingerprint
    assert Ledger(bench.root).claim(fingerprint, claimed)
    bench.observer = CloseAfterTrials(claimed, 3)
    assert bench.sweep().trained == 4
    assert [run.start.spec.frozen for run in bench.tracker.runs][-1] == "none"  # it was planned first
