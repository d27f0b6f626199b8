"""What a run is asked to do, and the point of the search space that it belongs to."""

import hashlib
import json
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

from pydantic import create_model

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DIMENSIONS, DataConfig, Experiment, ModelConfig, TrainerConfig
from orchestrator.records.document import DOCUMENT_VERSION
from orchestrator.records.identity import LOGGED_STEPS_HELD, write_identity
from orchestrator.records.record import Record

RECIPE_VERSION = 6
"""Raised when the same configuration would train differently than before: old results no longer answer."""


def _find_field(name: str) -> Any:
    """Find the field of the configuration that a dimension varies: it has the type, the limits and the sentence."""
    section = Experiment.model_fields[DIMENSIONS[name]].annotation
    field = copy(section.model_fields[name])  # type: ignore[union-attr]
    return field.annotation, field


_FIELDS: dict[str, Any] = {name: _find_field(name) for name in DIMENSIONS}
_Values: Any = create_model("_Values", __base__=Record, **_FIELDS)


class Hyperparameters(_Values):
    """What a trial may vary besides the frozen set: a field for each of `DIMENSIONS`."""

    @classmethod
    def of(cls, chosen: "Experiment | RunSpec") -> Self:
        """Return those of a run, or of a trial that varies none of them."""
        return cls(**{name: getattr(getattr(chosen, section), name) for name, section in DIMENSIONS.items()})

    def of_section(self, section: str) -> dict[str, Any]:
        """Return those that stand in a section of the experiment, by name."""
        return {name: getattr(self, name) for name, home in DIMENSIONS.items() if home == section}


class RunSpec(Record):
    """All that a run needs besides data and weights: from it alone the run can be repeated."""

    data: DataConfig
    """Data, with this trial's batch size."""
    model: ModelConfig
    """Model; `num_classes` is set."""
    trainer: TrainerConfig
    """Training, with this trial's hyperparameters; accelerator and precision are concrete, not `auto`."""
    frozen: FrozenSet
    """What each block does."""
    seed: int
    """Seed of the run; data order and head derive theirs from it separately."""
    fold: int | None = None
    """Which of `data.folds` is validated, from 0; None: there are none."""
    data_fingerprint: str
    """Fingerprint of the data (sha256, hex)."""
    weights_sha256: str | None
    """sha256 (hex) of the weights' tensors; None for random weights."""
    recipe: int = RECIPE_VERSION
    """Version of the training recipe."""
    generation: int = 0
    """Times that the study was started afresh before: what was trained then does not answer."""
    version: int = DOCUMENT_VERSION
    """Version of the document. In 0 `trainer.log_every_n_steps` is part of the identity."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """What its trial may vary besides the frozen set."""
        return Hyperparameters.of(self)

    def as_of_0(self, log_every_n_steps: int) -> Self:
        """Return the specification that version 0.1 would have written of it, with how often it logged then."""
        trainer = self.trainer.model_copy(update={"log_every_n_steps": log_every_n_steps})
        return self.model_copy(update={"trainer": trainer, "version": 0})

    @property
    def identity(self) -> dict[str, object]:
        """What identifies the result, as plain values: where data and weights lie is not part of it."""
        plain = write_identity(self)
        if not isinstance(self.data.value_range, tuple):  # there is no image that it would be about
            plain["data"].pop("value_range", None)
        if self._was_tf32:
            plain["trainer"]["matmul_precision"] = self.trainer.matmul_precision
        if self.version > 0:
            plain["trainer"]["log_every_n_steps"] = LOGGED_STEPS_HELD
        return plain

    @property
    def _was_tf32(self) -> bool:
        """Whether the run would have computed convolutions in TF32 before `matmul_precision` could be chosen."""
        return self.trainer.accelerator == "gpu" and self.trainer.precision == "32-true"

    @property
    def fingerprint(self) -> str:
        """Name of the result: 16 hex digits of the sha256 over `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_name(trial: int, frozen: FrozenSet, seed: int, values: Iterable[str] = (), fold: int | None = None) -> str:
    """Name a run: `trial_007_stem+layer1_lr=0.003_seed0`, with folds `..._seed0_fold2`.

    Args:
        trial: Number of its trial.
        frozen: What is frozen.
        seed: Its seed.
        values: Say what varies in its sweep besides.
        fold: Its fold; None: there are none.
    """
    ending = [f"seed{seed}"] if fold is None else [f"seed{seed}", f"fold{fold}"]
    return "_".join([f"trial_{trial:03d}", str(frozen), *values, *ending])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A point of the search space."""

    frozen: FrozenSet
    hyperparameters: Hyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial that the search wants to be run, or that it answered itself (`repeats`)."""

    number: int
    choice: Choice
    repeats: int | None = None
