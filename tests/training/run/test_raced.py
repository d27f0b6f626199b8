"""A race of real trainings, as small as can be, against the same runs left alone."""

from collections import Counter

import numpy as np
import pytest

from orchestrator.app.parts import build_strategy
from orchestrator.config.models import ExecutionConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.config.race import RaceConfig
from orchestrator.execution.inline import InlineExecutor
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.place import Workplace
from orchestrator.records.spec import Choice
from orchestrator.records.starts import SweepStart, SweepSummary
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.loop import SweepLoop
from orchestrator.tracking.memory import MemoryTracker
from orchestrator.training.preparation.prepare import prepare
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.tiny import make_data, without_times

pytestmark = pytest.mark.usefixtures("narrow")

KEYS = ("stem+layer1", "stem+layer1+layer2+layer3", "stem+layer1+layer2+layer3+layer4")
EXPERIMENT = Experiment(
    name="raced",
    data=make_data(),
    model=ModelConfig(weights="none", num_classes=3),
    trainer=TrainerConfig(max_epochs=2, lr=1e-3, precision="32-true", accelerator="cpu"),
    search=SearchConfig(mode="list", frozen=KEYS, strategy="race", race=RaceConfig(rungs=(1,), max_seeds=1)),
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


def test_a_race_gives_the_results_of_runs_left_alone_and_trains_less(tmp_path, epochs, monkeypatch):
    # whatever so few images say: the second of three is dropped, and the others are settled
    monkeypatch.setattr(
        "orchestrator.sweep.decisions.front_probabilities",
        lambda drawn, params: np.array([1.0, 0.0, 1.0])[: len(params)],
    )
    root, tracker = Root.at(tmp_path / "root"), MemoryTracker()
    root.create()
    prepared = prepare(EXPERIMENT, root, None, None, str)
    search = OptunaSearch(root, EXPERIMENT, prepared.costs)
    loop = SweepLoop(
        prepared,
        strategy=build_strategy(prepared, search, Ledger(root)),
        search=search,
        executor=InlineExecutor("orchestrator.training.run.run:run_training"),
        tracker=tracker,
        observer=LoggingObserver(),
        ledger=Ledger(root),
        summarise=lambda trials, final: SweepSummary(trials=tuple(trials), front=(), table=(), metrics={}, note=""),
    )
    outcome = loop.run(
        SweepStart(experiment=EXPERIMENT, data=prepared.data, config_yaml="", config_hash="c", git_commit=None)
    )
    dropped = {KEYS[1]}
    assert {trial.frozen for trial in outcome.pruned} == dropped
    assert dict(epochs) == {key: 1 if key in dropped else 2 for key in KEYS}
    assert {run.start.spec.frozen: run.status for run in tracker.runs} == {
        key: "killed" if key in dropped else "finished" for key in KEYS
    }
    (trial,) = [trial for trial in search.trials() if trial.frozen == KEYS[-1]]
    spec = prepared.build_spec(Choice(frozen=trial.frozen, hyperparameters=trial.hyperparameters), 0)
    place = Workplace(directory=str(tmp_path / "alone"), cost=prepared.costs[trial.frozen])
    alone = without_times(run_training(spec, place, lambda metrics: None))
    raced = without_times(trial.runs[0].result)
    for history in (alone["history"], raced["history"]):  # the study keeps no step losses
        for epoch in history:
            epoch.pop("step_losses")
    assert raced == alone
