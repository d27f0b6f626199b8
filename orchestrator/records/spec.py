"""What a run is asked to do, and the point of the search space that it belongs to."""

import hashlib
import json
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

from pydantic import create_model

from orchestrator.config.data import IN_DATA_FINGERPRINT, WITHOUT_EFFECT
from orchestrator.config.models import DIMENSIONS, DataConfig, Experiment, ModelConfig, TrainerConfig
from orchestrator.config.transforms import NO_TRANSFORM
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
        """What its trial may vary besides the frozen set."""
        return Hyperparameters.of(self)

    @property
    def identity(self) -> dict[str, object]:
        """What identifies the result, as plain values: where data and weights lie is not part of it."""
        data = self.data.model_dump(mode="json", exclude=set(IN_DATA_FINGERPRINT | WITHOUT_EFFECT))
        if not isinstance(self.data.value_range, tuple):  # there is no image that it would be about
            del data["value_range"]
        if self.data.augment == NO_TRANSFORM:  # as before it could be chosen
            del data["augment"]
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
