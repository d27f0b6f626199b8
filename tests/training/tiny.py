"""The smallest runs that still train: 24 drawn images of 32 pixels, random weights, one or two epochs."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, ModelConfig, SyntheticConfig, TrainerConfig
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.run.run import run_training
from tests.factories import make_cost

RESNET18 = find_backbone("resnet18").blocks
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


def normalise(images: torch.Tensor) -> torch.Tensor:
    return (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def evaluate(network: torch.nn.Module, spec: RunSpec, split: str) -> tuple[float, float, list[list[int]]]:
    """Accuracy, loss and confusion of a split, image by image."""
    data = load_data(spec.data)
    labels = data.images[split].labels.tolist()
    with torch.no_grad():
        logits = torch.cat([network(normalise(image)[None]) for image in torch.as_tensor(data.pixels[split])])
    confusion = [[0] * 3 for _ in range(3)]
    for label, predicted in zip(labels, logits.argmax(1).tolist(), strict=True):
        confusion[label][predicted] += 1
    right = sum(confusion[label][label] for label in range(3))
    return right / len(labels), float(cross_entropy(logits, torch.tensor(labels))), confusion


TIMES = {"duration_s", "s_per_epoch", "images_per_s", "peak_memory_mb"}


def without_times(result: RunResult) -> dict:
    values = result.model_dump(exclude=TIMES)
    for epoch in values["history"]:
        del epoch["duration_s"]
    return values
