"""The loop: what is asked for is run once, what is lost fails alone, what stops is closed truly."""

from pathlib import Path

import pytest

from orchestrator.config.models import DataConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.execution.inline import InlineExecutor
from orchestrator.interfaces import SweepStart, SweepSummary
from orchestrator.layout import Root
from orchestrator.ledger import Ledger
from orchestrator.observers import LoggingObserver
from orchestrator.records import Cost, DatasetInfo
from orchestrator.results import Sweep
from orchestrator.search import OptunaSearch, read_study
from orchestrator.sweep import Prepared, SweepLoop
from orchestrator.tracking.memory import MemoryTracker
from tests.fake_training import ACCURACY, TRAINABLE

KEYS = ("none", "stem", "stem+layer1", "stem+layer1+layer2")


class Bench:
    """A sweep over four frozen sets whose training is a fake; everything else is real, but for the tracker."""

    def __init__(self, root: Path, *, name: str = "fake", seeds: tuple[int, ...] = (0,)) -> None:
        self.root = Root.at(root)
        self.root.create()
        self.experiment = Experiment(
            name=name,
            data=DataConfig(source="synthetic"),
            model=ModelConfig(weights="none"),
            trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
            search=SearchConfig(mode="list", frozen=KEYS, seeds=seeds),
        )
        self.data = DatasetInfo(source="synthetic", fingerprint="d", class_names=("a", "b"), split_sizes={"train": 2})
        self.tracker = MemoryTracker()

    def sweep(self):
        costs = {
            key: Cost(
                trainable_params=TRAINABLE[key],
                total_params=100,
                gflops_forward_per_image=1,
                gflops_train_per_image=2,
            )
            for key in KEYS
        }
        search = OptunaSearch(self.root, self.experiment, costs)
        search.reconcile("died")
        prepared = Prepared(experiment=self.experiment, data=self.data, weights_sha256=None, costs=costs)
        loop = SweepLoop(
            prepared,
            search=search,
            executor=InlineExecutor("tests.fake_training:train"),
            tracker=self.tracker,
            observer=LoggingObserver(),
            ledger=Ledger(self.root),
            summarise=self.summarise,
        )
        start = SweepStart(experiment=self.experiment, data=self.data, config_yaml="", config_hash="c", git_commit=None)
        return loop.run(start)

    def summarise(self, trials, *, final):
        sweep = Sweep(self.root, self.experiment, trials)
        front = tuple(row["trial"] for row in sweep.front_rows())
        return SweepSummary(trials=tuple(trials), front=front, table=(), metrics={}, note="")

    @property
    def trials(self):
        return read_study(self.root, self.experiment.name)[1]

    @property
    def times_trained(self):
        """How often the fake ran, by folder."""
        return [len(log.read_text().splitlines()) for log in self.root.path.glob("checkpoints/*/trained.log")]


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
    assert bench.tracker.status == "killed"
    assert "running" not in {run.status for run in bench.tracker.runs}
    interrupted = next(trial for trial in bench.trials if trial.frozen == "stem")
    assert (interrupted.state, interrupted.error) == ("failed", "interrupted")
    done = sum(trial.state == "complete" for trial in bench.trials)

    monkeypatch.delenv("FAKE_INTERRUPT")
    again = Bench(tmp_path)
    assert again.sweep().trained == 4 - done
    assert sum(trial.state == "complete" for trial in again.trials) == 4


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
