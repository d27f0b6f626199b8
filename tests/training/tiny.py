"""The smallest runs that still train: 24 drawn images of 32 pixels, random weights, one or two epochs."""

from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.blocks import BLOCKS, FrozenSet
from orchestrator.config.models import DataConfig, ModelConfig, SyntheticConfig, TrainerConfig
from orchestrator.records import EpochMetrics, RunResult, RunSpec, Workplace
from orchestrator.training.data import describe_data
from orchestrator.training.run import run_training
from tests.factories import make_cost

RESNET18 = BLOCKS["resnet18"]


@cache
def fingerprint(data: DataConfig) -> str:
    return describe_data(data).fingerprint


def make_data(**overrides: Any) -> DataConfig:
    fields: dict[str, Any] = {
        "source": "synthetic",
        "image_size": 32,
        "batch_size": 8,
        "loader_workers": 0,
        "synthetic": SyntheticConfig(train=24, validation=12, test=9),
    }
    return DataConfig(**(fields | overrides))


def make_spec(frozen: str = "none", seed: int = 0, *, data: DataConfig | None = None, **trainer: Any) -> RunSpec:
    data = data or make_data()
    model = trainer.pop("model", ModelConfig(weights="none", num_classes=3))
    fields: dict[str, Any] = {"max_epochs": 2, "lr": 1e-3, "precision": "32-true", "accelerator": "cpu"}
    return RunSpec(
        data=data,
        model=model,
        trainer=TrainerConfig(**(fields | {"log_every_n_steps": 2} | trainer)),
        frozen=frozen,
        seed=seed,
        data_fingerprint=fingerprint(data),
        weights_sha256=None,
    )


def train(spec: RunSpec, folder: Path) -> tuple[RunResult, list[EpochMetrics]]:
    """Train, and give what came out of the sink besides. The cost is made up, which spares the time to count it."""
    seen: list[EpochMetrics] = []
    return run_training(spec, Workplace(directory=str(folder), cost=make_cost(spec.frozen)), seen.append), seen


def parse(key: str) -> FrozenSet:
    return FrozenSet.parse(key, order=RESNET18)
