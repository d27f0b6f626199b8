"""A race of real trainings, as small as can be, against the full sweep of the same."""

from collections import Counter

import pytest

from orchestrator.app import run_sweep
from orchestrator.config.models import ExecutionConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.config.race import RaceConfig
from orchestrator.training.module import FreezingModule
from tests.tracking.reading import Store
from tests.training.test_run import without_times
from tests.training.tiny import make_data

KEYS = ("none", "stem+layer1+layer2", "stem+layer1+layer2+layer3", "stem+layer1+layer2+layer3+layer4")


def make_experiment(**search) -> Experiment:
    return Experiment(
        name="demo",
        data=make_data(),
        model=ModelConfig(weights="none", num_classes=3),
        trainer=TrainerConfig(max_epochs=3, lr=1e-3, precision="32-true", accelerator="cpu"),
        search=SearchConfig(mode="list", frozen=KEYS, **search),
        execution=ExecutionConfig(mode="inline"),
    )


@pytest.fixture
def epochs(monkeypatch):
    """Epochs that were trained, by frozen set."""
    counted: Counter[str] = Counter()
    start = FreezingModule.on_train_epoch_start

    def counting(module):
        counted.update([module.hparams["frozen"]])
        start(module)

    monkeypatch.setattr(FreezingModule, "on_train_epoch_start", counting)
    return counted


def test_a_race_gives_the_results_of_the_full_sweep_for_less(mlflow_root, epochs):
    race = RaceConfig(rungs=(1,), drop_below=0.4, max_seeds=1)
    raced, outcome = run_sweep(make_experiment(strategy="race", race=race), root=mlflow_root.path)
    assert outcome.pruned, "so high a threshold drops something of four trials"
    dropped = {trial.frozen for trial in outcome.pruned}
    assert KEYS[-1] not in dropped
    assert dict(epochs) == {key: 1 if key in dropped else 3 for key in KEYS}
    states = {run.data.params["frozen"]: run.info.status for run in Store(mlflow_root).runs().values()}
    assert states == {key: "KILLED" if key in dropped else "FINISHED" for key in KEYS}
    results = {trial.frozen: trial.runs[0].result for trial in raced.candidates}

    # the full sweep goes on with what was dropped; anew, it trains all of it
    full, outcome = run_sweep(make_experiment(), root=mlflow_root.path, fresh=True)
    assert (outcome.trained, len(full.candidates)) == (4, 4)
    for trial in full.candidates:
        if trial.frozen in results:
            anew = without_times(trial.runs[0].result)
            assert without_times(results[trial.frozen]) | {"fingerprint": ""} == anew | {"fingerprint": ""}
