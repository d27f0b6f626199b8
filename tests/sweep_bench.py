"""A sweep whose training is a fake, to be looked at from all sides."""

import threading
from pathlib import Path

from orchestrator.app.parts import build_strategy
from orchestrator.config.models import DataConfig, ExecutionConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.execution.inline import InlineExecutor
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.facts import Cost, DatasetInfo
from orchestrator.records.prepared import Prepared
from orchestrator.records.starts import SweepStart, SweepSummary
from orchestrator.results import Sweep
from orchestrator.search import OptunaSearch, read_study
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.loop import SweepLoop
from orchestrator.tracking.memory import MemoryTracker
from tests.fake_training import TRAINABLE

KEYS = ("none", "stem", "stem+layer1", "stem+layer1+layer2")


class Bench:
    """A sweep over four frozen sets whose training is a fake; everything else is real, but for the tracker."""

    def __init__(self, root: Path, *, name: str = "fake", seeds: tuple[int, ...] = (0,), **execution: int) -> None:
        self.root = Root.at(root)
        self.root.create()
        self.experiment = Experiment(
            name=name,
            data=DataConfig(source="synthetic"),
            model=ModelConfig(weights="none"),
            trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
            search=SearchConfig(mode="list", frozen=KEYS, seeds=seeds),
            execution=ExecutionConfig(**execution),
        )
        self.stop = threading.Event()
        self.executor = InlineExecutor("tests.fake_training:train")
        self.observer = LoggingObserver()
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
        search.reconcile()
        prepared = Prepared(experiment=self.experiment, data=self.data, weights_sha256=None, costs=costs)
        loop = SweepLoop(
            prepared,
            strategy=build_strategy(prepared, search, Ledger(self.root)),
            search=search,
            executor=self.executor,
            tracker=self.tracker,
            observer=self.observer,
            ledger=Ledger(self.root),
            summarise=self.summarise,
            stop=self.stop,
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
