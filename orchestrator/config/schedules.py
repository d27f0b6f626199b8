"""The learning-rate schedules that `trainer.schedule` may name. To add one, write a class and add it to `_Kinds`."""

import math
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag

from orchestrator.config.fields import Section


class ConstantSchedule(Section):
    """The learning rate stays what it is."""

    name: Literal["constant"] = "constant"
    """Which schedule."""

    def scale(self, step: int, per_epoch: int, epochs: int) -> float:
        """Return what `trainer.lr` is multiplied by in a step.

        Args:
            step: Optimizer steps before it.
            per_epoch: Optimizer steps of an epoch.
            epochs: Epochs of the run at the most.
        """
        del step, per_epoch, epochs
        return 1.0

    def find_misfit(self, epochs: int) -> tuple[str, str] | None:
        """Return the field whose value makes no sense in a run of so many epochs, and why; None where all do.

        Args:
            epochs: Epochs of the run at the most.
        """
        del epochs
        return None


class CosineSchedule(Section):
    """The learning rate rises linearly for some epochs, and then falls to 0 along half a cosine."""

    name: Literal["cosine"] = "cosine"
    """Which schedule."""
    warmup_epochs: int = Field(default=0, ge=0, le=100_000)
    """Epochs in which the learning rate rises to `trainer.lr`."""

    def scale(self, step: int, per_epoch: int, epochs: int) -> float:
        """Return what `trainer.lr` is multiplied by in a step. See `ConstantSchedule.scale`."""
        warmup = self.warmup_epochs * per_epoch
        if step < warmup:
            return (step + 1) / warmup
        return (1 + math.cos(math.pi * (step - warmup) / max(1, epochs * per_epoch - warmup))) / 2

    def find_misfit(self, epochs: int) -> tuple[str, str] | None:
        """Find a warm-up that never ends. See `ConstantSchedule.find_misfit`."""
        if self.warmup_epochs < epochs:
            return None
        return "warmup_epochs", (
            f"must be less than trainer.max_epochs, which is {epochs}: the learning rate would rise to the end and "
            "never fall; lower it, or raise trainer.max_epochs"
        )


class StepSchedule(Section):
    """The learning rate falls by a factor every few epochs."""

    name: Literal["step"] = "step"
    """Which schedule."""
    every_epochs: int = Field(default=10, ge=1, le=100_000)
    """Epochs from one fall to the next."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """What the learning rate is multiplied by."""

    def scale(self, step: int, per_epoch: int, epochs: int) -> float:
        """Return what `trainer.lr` is multiplied by in a step. See `ConstantSchedule.scale`."""
        del epochs
        return self.factor ** (step // (self.every_epochs * per_epoch))

    def find_misfit(self, epochs: int) -> tuple[str, str] | None:
        """Find a first fall that no run reaches. See `ConstantSchedule.find_misfit`."""
        if self.every_epochs < epochs:
            return None
        return "every_epochs", (
            f"must be less than trainer.max_epochs, which is {epochs}: the learning rate would never fall; lower it, "
            "raise trainer.max_epochs, or set trainer.schedule to constant"
        )


_Kinds = ConstantSchedule | CosineSchedule | StepSchedule
SCHEDULES = {str(kind.model_fields["name"].default): kind for kind in get_args(_Kinds)}
"""They by name."""


def spell_out_schedule(value: object) -> object:
    """Read `cosine` as `{name: cosine}`."""
    return {"name": value} if isinstance(value, str) else value


def _name(value: object) -> object:
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)


if TYPE_CHECKING:
    Schedule = _Kinds
else:
    Schedule = Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in SCHEDULES.items())],  # noqa: UP007 - as many as there are
        Discriminator(_name),
        BeforeValidator(spell_out_schedule, json_schema_input_type=_Kinds | Literal[tuple(SCHEDULES)]),
    ]
