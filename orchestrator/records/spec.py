"""What a run is asked to do, and the point of the search space that it belongs to."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from orchestrator.config.data import IN_DATA_FINGERPRINT, WITHOUT_EFFECT
from orchestrator.config.models import (
    BatchSize,
    DataConfig,
    Experiment,
    LearningRate,
    ModelConfig,
    Optimizer,
    TrainerConfig,
    WeightDecay,
)
from orchestrator.records.record import Record

RECIPE_VERSION = 6
"""Raised when the same configuration would train differently than before: old results no longer answer."""


class Hyperparameters(Record):
    """What a trial may vary besides the frozen set."""

    lr: LearningRate
    """Learning rate."""
    weight_decay: WeightDecay
    """Weight decay."""
    batch_size: BatchSize
    """Images a training step."""
    optimizer: Optimizer
    """Optimizer of the trainable parameters."""

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Give those of a trial that varies none of them."""
        return cls(
            lr=experiment.trainer.lr,
            weight_decay=experiment.trainer.weight_decay,
            batch_size=experiment.data.batch_size,
            optimizer=experiment.trainer.optimizer,
        )


class RunSpec(Record):
    """All that a run needs besides data and weights: from it alone the run can be repeated."""

    data: DataConfig
    """Data, with this trial's batch size."""
    model: ModelConfig
    """Model; `num_classes` is set."""
    trainer: TrainerConfig
    """Training, with this trial's hyperparameters; accelerator and precision are concrete, not `auto`."""
    frozen: str
    """Key of the frozen set."""
    seed: int
    """Seed of the run; data order and head derive theirs from it separately."""
    data_fingerprint: str
    """Fingerprint of the data (sha256, hex)."""
    weights_sha256: str | None
    """sha256 (hex) of the weights' tensors; None for random weights."""
    recipe: int = RECIPE_VERSION
    """Version of the training recipe."""
    generation: int = 0
    """Times that the study was begun anew before: what was trained then does not answer."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Returns what its trial may vary besides the frozen set."""
        trainer = self.trainer
        return Hyperparameters(
            lr=trainer.lr,
            weight_decay=trainer.weight_decay,
            batch_size=self.data.batch_size,
            optimizer=trainer.optimizer,
        )

    @property
    def identity(self) -> dict[str, object]:
        """What identifies the result, as plain values: where data and weights lie is not part of it."""
        data = self.data.model_dump(mode="json", exclude=set(IN_DATA_FINGERPRINT | WITHOUT_EFFECT))
        if not isinstance(self.data.value_range, tuple):  # there is no image that it would be about
            del data["value_range"]
        plain = self.model_dump(mode="json", exclude={"data": True, "model": {"weights"}})
        if self.trainer.matmul_precision == "highest" and not self._was_tf32:
            del plain["trainer"]["matmul_precision"]
        return {**plain, "data": data}

    @property
    def _was_tf32(self) -> bool:
        """Whether the run would have computed convolutions in TF32 before `matmul_precision` could be chosen."""
        return self.trainer.accelerator == "gpu" and self.trainer.precision == "32-true"

    @property
    def fingerprint(self) -> str:
        """Name of the result: 16 hex digits of the sha256 over `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_name(trial: int, frozen: str, seed: int, values: Iterable[str] = ()) -> str:
    """Name a run: `trial_007_stem+layer1_lr=0.003_seed0`; `values` say what varies in its sweep besides."""
    return "_".join([f"trial_{trial:03d}", frozen, *values, f"seed{seed}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A point of the search space."""

    frozen: str
    hyperparameters: Hyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial that the search wants to be run, or that it answered itself (`repeats`)."""

    number: int
    choice: Choice
    repeats: int | None = None
