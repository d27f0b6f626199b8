"""The further dimensions of a search: learning rate, weight decay, batch size, optimizer."""

from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.config.fields import BatchSize, LearningRate, Section, WeightDecay, require_distinct
from orchestrator.config.optimizers import Optimizer

DIMENSIONS: Final = ("lr", "weight_decay", "batch_size", "optimizer")
"""Their names, under `search`."""
_RANGE_KEYS = {"low", "high", "log"}


def spell_out_dimension(value: object) -> object:
    """Read a list as `{choices: ...}`, and a mapping of `low`, `high` and `log` as `{range: ...}`."""
    if isinstance(value, list | tuple):
        return {"choices": value}
    if isinstance(value, dict) and value and value.keys() <= _RANGE_KEYS:
        return {"range": value}
    return value


class FloatRange(Section):
    """A range of numbers to sample from, ends included."""

    low: float = Field(allow_inf_nan=False)
    """Smallest value."""
    high: float = Field(allow_inf_nan=False)
    """Largest value."""
    log: bool = False
    """Sample evenly on a logarithmic axis."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high ({self.low} and {self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low greater than 0 ({self.low})")
        return self


class Dimension(Section):
    """A further dimension of the search. A list stands for its `choices`, `{low: ..., high: ...}` for its `range`."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        return spell_out_dimension(value)

    @field_validator("choices", check_fields=False)
    @classmethod
    def _choices_are_distinct(cls, value: tuple[object, ...] | None) -> tuple[object, ...] | None:
        require_distinct(value or ())
        return value


class LearningRateDimension(Dimension):
    """Learning rates to search: `choices`, or a `range`."""

    choices: tuple[LearningRate, ...] | None = Field(default=None, min_length=1)
    """The values to try."""
    range: FloatRange | None = None
    """The range to sample."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        _require_one(self.choices, self.range)
        if self.range is not None and (self.range.low <= 0 or self.range.high > 10):
            raise ValueError("learning rates lie in (0, 10]")
        return self


class WeightDecayDimension(Dimension):
    """Weight decays to search: `choices`, or a `range`."""

    choices: tuple[WeightDecay, ...] | None = Field(default=None, min_length=1)
    """The values to try."""
    range: FloatRange | None = None
    """The range to sample."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        _require_one(self.choices, self.range)
        if self.range is not None and (self.range.low < 0 or self.range.high > 10):
            raise ValueError("weight decays lie in [0, 10]")
        return self


class IntRange(Section):
    """A range of whole numbers to sample from, ends included."""

    low: int = Field(ge=1)
    """Smallest value."""
    high: int = Field(le=8192)
    """Largest value."""
    log: bool = False
    """Sample evenly on a logarithmic axis."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high ({self.low} and {self.high})")
        return self


class BatchSizeDimension(Dimension):
    """Batch sizes to search: `choices`, or a `range`."""

    choices: tuple[BatchSize, ...] | None = Field(default=None, min_length=1)
    """The values to try."""
    range: IntRange | None = None
    """The range to sample."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        _require_one(self.choices, self.range)
        return self


class OptimizerDimension(Dimension):
    """Optimizers to search."""

    choices: tuple[Optimizer, ...] = Field(min_length=1)
    """The values to try."""


def _require_one(choices: object, span: object) -> None:
    if (choices is None) == (span is None):
        raise ValueError("give either choices or range: a list such as [1, 2], or {low: 1, high: 2}")
