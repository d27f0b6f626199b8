"""What the further dimensions of a search may say: values to try, or a range to sample."""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from orchestrator.config.fields import BatchSize, LearningRate, Section, WeightDecay, require_distinct
from orchestrator.config.optimizers import Optimizer

_RANGE_KEYS = {"low", "high", "log"}


@dataclass(frozen=True, slots=True)
class Searches:
    """Marks a field of `SearchConfig` as a dimension of the search.

    Attributes:
        section: Section of the experiment in which the field of the same name is what the dimension varies.
    """

    section: str


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

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The values to try; None where there is a range."""
        return getattr(self, "choices", None)

    @property
    def span(self) -> FloatRange | IntRange | None:
        """The range to sample; None where there are values."""
        return getattr(self, "range", None)


ValueT = TypeVar("ValueT")
RangeT = TypeVar("RangeT", FloatRange, IntRange)


class NumberDimension(Dimension, Generic[ValueT, RangeT]):
    """Numbers to search: `choices`, or a `range`."""

    noun: ClassVar[str] = "values"

    choices: tuple[ValueT, ...] | None = Field(default=None, min_length=1)
    """The values to try."""
    range: RangeT | None = None
    """The range to sample."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.choices is None) == (self.range is None):
            raise ValueError("give either choices or range: a list such as [1, 2], or {low: 1, high: 2}")
        return self

    @model_validator(mode="after")
    def _ends_are_values(self) -> Self:
        kind: Any = type(self).model_fields["choices"].annotation
        values = TypeAdapter(kind)
        if self.range is not None:
            try:
                values.validate_python((self.range.low, self.range.high))
            except ValidationError as error:
                raise ValueError(f"{self.noun} lie in {_write_interval(values)}") from error
        return self


class LearningRateDimension(NumberDimension[LearningRate, FloatRange]):
    """Learning rates to search: `choices`, or a `range`."""

    noun = "learning rates"


class WeightDecayDimension(NumberDimension[WeightDecay, FloatRange]):
    """Weight decays to search: `choices`, or a `range`."""

    noun = "weight decays"


class BatchSizeDimension(NumberDimension[BatchSize, IntRange]):
    """Batch sizes to search: `choices`, or a `range`."""

    noun = "batch sizes"


class OptimizerDimension(Dimension):
    """Optimizers to search."""

    choices: tuple[Optimizer, ...] = Field(min_length=1)
    """The values to try."""


def _write_interval(values: TypeAdapter[Any]) -> str:
    """Write where the numbers of a list lie: `(0, 10]`."""
    limits = values.json_schema()["anyOf"][0]["items"]
    low = f"({limits['exclusiveMinimum']}" if "exclusiveMinimum" in limits else f"[{limits['minimum']}"
    high = f"{limits['exclusiveMaximum']})" if "exclusiveMaximum" in limits else f"{limits['maximum']}]"
    return f"{low}, {high}"
