"""A world in which a process can die before any of its steps, and the next one finds what it left.

Everything is the product's own but for three parts: the study lies in memory, the tracker too (both outlive a death, as
a database does), and the training takes no time. Each call that writes is a step; before the one that was drawn the
process dies, and nothing that it does afterwards (on its way out through `finally`) has any effect.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import optuna

from orchestrator.app.parts import build_strategy
from orchestrator.config.models import DataConfig, ExecutionConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.errors import RunError
from orchestrator.execution.inline import InlineExecutor
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.facts import Cost, DatasetInfo
from orchestrator.records.place import Workplace
from orchestrator.records.prepared import Prepared
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.spec import Choice, Proposal, RunSpec
from orchestrator.records.starts import RunStart, SweepStart, SweepSummary
from orchestrator.search import OptunaSearch, study
from orchestrator.storage import files, ledger
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.jobs import SweepOutcome
from orchestrator.sweep.loop import SweepLoop
from orchestrator.tracking.memory import MemoryRun, MemoryTracker
from tests.fake_training import TRAINABLE
from tests.faults import resuming

KEYS = ("none", "stem", "stem+layer1")
DATA = DatasetInfo(source="synthetic", fingerprint="d", class_names=("a", "b"), split_sizes={"train": 2})
COSTS = {
    key: Cost(trainable_params=count, total_params=100, gflops_forward_per_image=1, gflops_train_per_image=2)
    for key, count in TRAINABLE.items()
}
_WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_study_user_attr",
)


class DeathError(BaseException):
    """The process is dead; no handler of the product may make it live on."""


class Life:
    """The steps that a process has left; None: no end."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps
        self.dead = False

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            self.dead = self.dead or self.left <= 0
        if self.dead:
            raise DeathError


class Mortal:
    """Something whose every call is a step of a life; so are the calls of what it gives."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def step(*args: Any, **kwargs: Any) -> Any:
            self._life.step()
            given = value(*args, **kwargs)
            return Mortal(given, self._life) if isinstance(given, MemoryRun) else given

        return step


class World:
    """A root, a database, a tracking store: what outlives a process."""

    def __init__(self, folder: Path) -> None:
        self.target = f"{__name__}:train"
        self.costs: Mapping[str, Cost] = COSTS
        self.root = Root.at(folder)
        self.root.create()
        self.storage = optuna.storages.InMemoryStorage()
        self.trackers: dict[str, MemoryTracker] = {}
        self.life = Life(None)
        self.failing: Mapping[str, str] = {}
        self.finished: Counter[str] = Counter()
        self.durable: set[tuple[str, int]] = set()
        self.twice: list[str] = []

    def study(self, name: str) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.storage)

    def sweep(
        self,
        experiment: Experiment,
        *,
        dies_at: int | None = None,
        failing: Mapping[str, str] | None = None,
        stop_after: int | None = None,
    ) -> "tuple[SweepOutcome, list[Proposal]] | None":
        """Be a process that sweeps; None where it died. `stop_after` counts epochs."""
        self.life, self.failing = Life(dies_at), dict(failing or {})
        tracker = self.trackers.setdefault(experiment.name, MemoryTracker())
        with self._mortal() as claims:
            try:
                return self._sweep(experiment, tracker, claims, stop_after)
            except DeathError:
                return None

    def _sweep(
        self, experiment: Experiment, tracker: MemoryTracker, claims: ExitStack, stop_after: int | None
    ) -> tuple[SweepOutcome, list[Proposal]]:
        search = Proposals(self.root, experiment, self.costs)
        prepared = Prepared(experiment=experiment, data=DATA, weights_sha256=None, costs=self.costs)
        search.require_identity(prepared.identity)
        search.reconcile()
        stop = threading.Event()
        its_ledger = Claims(self.root, claims)
        loop = SweepLoop(
            prepared,
            strategy=build_strategy(prepared, search, its_ledger),
            search=search,
            executor=InlineExecutor(self.target),
            tracker=Mortal(tracker, self.life),
            observer=Stopping(stop, stop_after),
            ledger=its_ledger,
            summarise=lambda trials, final: SweepSummary(trials=tuple(trials), front=(), table=(), metrics={}, note=""),
            stop=stop,
        )
        start = SweepStart(experiment=experiment, data=DATA, config_yaml="", config_hash="c", git_commit=None)
        outcome = loop.run(start)
        search.close()
        return outcome, search.proposals

    @contextmanager
    def _mortal(self) -> Iterator[ExitStack]:
        """Have each write be a step, and the system release the claims of who dies."""

        def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **kwargs: Any) -> Any:
                self.life.step()
                return function(*args, **kwargs)

            return step

        with ExitStack() as stack, ExitStack() as claims:
            for name in _WRITES:
                function = stepping(getattr(self.storage, name))
                stack.enter_context(mock.patch.object(self.storage, name, function))
            for module, name in (
                (files, "write_atomically"),
                (files, "write_checked"),
                (ledger, "write_atomically"),
                (resuming, "_clear"),
            ):
                stack.enter_context(mock.patch.object(module, name, stepping(getattr(module, name))))
            stack.enter_context(mock.patch.object(study, "open_storage", return_value=self.storage))
            stack.enter_context(mock.patch.object(resuming, "_STEP_S", 0))
            stack.enter_context(mock.patch.object(resuming, "_save", self._save(resuming._save)))
            stack.enter_context(mock.patch.object(resuming, "_epoch", self._count(resuming._epoch)))
            stack.enter_context(mock.patch(f"{__name__}.CURRENT", self))
            yield claims

    def _save(self, save: Callable[..., None]) -> Callable[..., None]:
        def noting(path: Path, history: list[EpochMetrics]) -> None:
            save(path, history)
            if path.name.startswith("last-"):
                self.durable.add((path.parent.name, history[-1].epoch))

        return noting

    def _count(self, epoch: Callable[..., EpochMetrics]) -> Callable[..., EpochMetrics]:
        def counting(spec: RunSpec, number: int, before: list[EpochMetrics]) -> EpochMetrics:
            if (spec.fingerprint, number) in self.durable:
                self.twice.append(f"epoch {number} of {spec.frozen}, seed {spec.seed}")
            return epoch(spec, number, before)

        return counting

    def damage(self) -> None:
        """Damage every checkpoint that a run would continue from."""
        for path in self.root.path.glob("checkpoints/*/last-*.ckpt"):
            path.write_bytes(path.read_bytes() + b"!")
            self.durable = {each for each in self.durable if each[0] != path.parent.name}


CURRENT: World | None = None


def train(spec: RunSpec, workplace: Workplace, on_epoch: Callable[[EpochMetrics], None]) -> RunResult:
    """Train, or be lost after an epoch, in the way that the world has for this frozen set."""
    assert CURRENT is not None
    kind = CURRENT.failing.get(spec.frozen)

    def losing(metrics: EpochMetrics) -> None:
        on_epoch(metrics)
        if kind == "error" and metrics.epoch == 1:
            raise ValueError("the world has it fail")
        if kind == "died" and metrics.epoch == 2:
            raise RunError("the world has it die", cause="died")

    result = resuming.train(spec, workplace, losing)
    CURRENT.finished[spec.fingerprint] += 1
    return result


class Proposals(OptunaSearch):
    """A search that notes what it proposes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.proposals: list[Proposal] = []

    def propose(self) -> Proposal | None:
        proposal = super().propose()
        if proposal is not None:
            self.proposals.append(proposal)
        return proposal

    def start(self, choice: Choice) -> Proposal:
        self.proposals.append(super().start(choice))
        return self.proposals[-1]


class Claims(Ledger):
    """A ledger that says what is claimed, for whoever buries the process."""

    def __init__(self, root: Root, claims: ExitStack) -> None:
        super().__init__(root)
        self._claims = claims

    def claim(self, fingerprint: str, until: ExitStack) -> bool:
        self._claims.callback(until.close)
        return super().claim(fingerprint, until)


class Stopping(LoggingObserver):
    """Asks for a stop after so many epochs."""

    def __init__(self, stop: threading.Event, after: int | None) -> None:
        self._stop = stop
        self._left = after

    def on_message(self, text: str) -> None:
        """Nobody listens."""

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._stop.set()


def make_experiment(name: str, keys: tuple[str, ...], seeds: tuple[int, ...], **search: Any) -> Experiment:
    return Experiment(
        name=name,
        data=DataConfig(source="synthetic"),
        model=ModelConfig(weights="none"),
        trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
        search=SearchConfig(mode="list", frozen=keys, seeds=seeds, **search),
        execution=ExecutionConfig(mode="inline", retries=1),
    )


def expected_accuracy(run: MemoryRun) -> float:
    """Give what a run finds that nobody ever interrupts."""
    history: list[EpochMetrics] = []
    for epoch in range(resuming.EPOCHS):
        history.append(resuming._epoch(run.start.spec, epoch, history))
    return history[-1].val_acc


def mean_accuracy(runs: list[MemoryRun]) -> float:
    return fmean(expected_accuracy(run) for run in runs)
