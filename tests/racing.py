"""A world whose trainings race: their curves are known, and each epoch that is trained is noted."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.config.models import DataConfig, ExecutionConfig, Experiment, ModelConfig, SearchConfig, TrainerConfig
from orchestrator.config.race import BudgetConfig, RaceConfig
from orchestrator.records.facts import Cost
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RungResult, RunOutcome
from orchestrator.records.spec import RunSpec
from orchestrator.storage import files
from orchestrator.storage.predictions import Predictions, write_predictions
from tests.fake_training import build_result
from tests.faults import resuming
from tests.property.worlds import World

EPOCHS, RUNGS = 9, (3, 6)
IMAGES = 400
_DIFFICULTY = np.random.default_rng(0).permutation(IMAGES) / IMAGES
PARAMS = {
    "none": 100,
    "stem": 90,
    "layer1": 85,
    "layer2": 80,
    "stem+layer2": 75,
    "stem+layer1": 70,
    "stem+layer1+layer2": 40,
    "stem+layer1+layer2+layer3+layer4": 5,
}
FIRST_ERROR = {
    "none": 0.100,
    "stem": 0.9,
    "layer1": 0.8,
    "layer2": 0.7,
    "stem+layer2": 0.101,
    "stem+layer1": 0.102,
    "stem+layer1+layer2": 0.35,
    "stem+layer1+layer2+layer3+layer4": 0.9,
}
"""Error after the first epoch; it falls with the square root of the epoch. Of seed s it is s/50 parts more."""
ENDS = {"layer2": 2}
"""Epochs after which patience runs out."""
HOPELESS = ("layer1", "stem")
"""They are dropped at the first rung. `layer2` is as bad, but has ended before; the last one is the cheapest."""
CLEAR = ("stem+layer1+layer2+layer3+layer4", "stem+layer1+layer2")
"""They are on the front for certain, and lose too much to be recommended."""
CLOSE = ("none", "stem+layer2", "stem+layer1")
"""It is not clear whether the first two beat the third, and so which of them is to be recommended."""
COSTS = {
    key: Cost(trainable_params=count, total_params=100, gflops_forward_per_image=1, gflops_train_per_image=2)
    for key, count in PARAMS.items()
}


def make_race(
    *, strategy: str = "race", seeds: tuple[int, ...] = (0,), max_seeds: int = 3, **budget: int | None
) -> Experiment:
    """A race of eight trials; its budget is large, unless it is given."""
    return Experiment(
        name="race",
        data=DataConfig(source="synthetic"),
        model=ModelConfig(weights="none"),
        trainer=TrainerConfig(accelerator="cpu", precision="32-true", max_epochs=EPOCHS),
        search=SearchConfig(
            mode="list",
            frozen=tuple(PARAMS),
            seeds=seeds,
            strategy=strategy,
            race=RaceConfig(rungs=(*RUNGS, 30), max_seeds=max_seeds),
            budget=BudgetConfig(**(budget or {"epochs": 1000})),
        ),
        execution=ExecutionConfig(mode="inline", retries=0),
    )


class RaceWorld(World):
    """The world of a race. `trained` holds (frozen set, seed, epoch from 0) in the order of training."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.target = "tests.racing:train"
        self.costs = COSTS
        self.trained: list[tuple[str, int, int]] = []
        TRAINED[0] = self.trained

    @property
    def trials(self) -> dict[str, list[tuple[str, list[int]]]]:
        """State and seeds of the trials of each frozen set, by number."""
        found: dict[str, list[tuple[str, list[int]]]] = {}
        for trial in self.study("race").trials:
            if "choice" not in trial.user_attrs:  # the process died before it could say what it is
                continue
            runs = trial.user_attrs.get("runs", ())
            frozen = trial.user_attrs["choice"]["frozen"]
            state = "PUT_OFF" if trial.user_attrs.get("put_off") else trial.state.name
            found.setdefault(frozen, []).append((state, sorted(run["seed"] for run in runs)))
        return found

    @property
    def settled(self) -> dict[str, tuple[str, list[int]]]:
        """State and seeds of the newest trial of each frozen set that is complete or dropped."""
        return {
            key: [each for each in trials if each[0] not in {"FAIL", "PUT_OFF"}][-1]
            for key, trials in self.trials.items()
        }

    @property
    def epochs(self) -> Counter[tuple[str, int]]:
        """Epochs that were trained, by frozen set and seed."""
        return Counter((frozen, seed) for frozen, seed, _ in self.trained)


TRAINED: list[list[tuple[str, int, int]]] = [[]]


def train(spec: RunSpec, workplace: Workplace, on_epoch: Callable[[EpochMetrics], None]) -> RunOutcome:
    """Pretend to train, from the newest checkpoint to the rung or the end."""
    folder = Path(workplace.directory)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "spec.json", spec.model_dump_json())
    end = ENDS.get(spec.frozen, EPOCHS)
    until = min(workplace.until_epoch or end, end)
    history = resuming._continue(folder)
    for metrics in history:
        on_epoch(metrics)
    for epoch in range(len(history), until):
        history.append(_epoch(spec, epoch))
        TRAINED[0].append((spec.frozen.key, spec.seed, epoch))
        resuming._save(folder / f"best-{epoch:03d}.ckpt", history[-1:])
        resuming._save(folder / f"last-{epoch:03d}.ckpt", history)
        resuming._clear(folder, f"last-{epoch:03d}", f"best-{epoch:03d}")
        on_epoch(history[-1])
    correct = (1 - history[-1].val_acc) <= _DIFFICULTY
    if len(history) < end:
        rung = RungResult(fingerprint=spec.fingerprint, val_correct=tuple(correct.tolist()), history=tuple(history))
        files.write_atomically(folder / f"rung-{len(history):03d}.json", rung.model_dump_json())
        return rung
    resuming._save(folder / "best.ckpt", history[-1:])
    write_predictions(folder / "predictions.npz", {"validation": predict(correct)})
    result = build_result(spec, history).model_copy(update={"trainable_params": PARAMS[spec.frozen]})
    files.write_atomically(folder / "result.json", result.model_dump_json())
    resuming._clear(folder)
    return result


def predict(correct) -> Predictions:
    """Predict class 0, which is the true one, where `correct`; else class 1."""
    right = correct.astype(np.float32)
    ids = np.array([str(image) for image in range(len(correct))])
    return Predictions(
        logits=np.stack([right, 1 - right], axis=1), labels=np.zeros(len(correct), np.int64), image_ids=ids
    )


def _epoch(spec: RunSpec, epoch: int) -> EpochMetrics:
    error = round(min(1.0, FIRST_ERROR[spec.frozen] * (1 + spec.seed / 50)) * (epoch + 1) ** -0.5 * IMAGES) / IMAGES
    return EpochMetrics(
        epoch=epoch, train_loss=error, train_acc=1 - error, val_loss=0.5 / (epoch + 1), val_acc=1 - error,
        lr=1e-4, duration_s=60.0,
    )  # fmt: skip
