"""What all sections of the configuration share: their base, and the types of values that stand in several."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.backbones import require_backbone_name
from orchestrator.discovery import OWN, TIMM, TORCHVISION
from orchestrator.errors import ConfigError

BROKEN_RULE = "broken_rule"
"""Type of the error of values that do not fit each other; its context says which one to blame."""


def blame(text: str, at: tuple[str | int, ...], value: object) -> PydanticCustomError:
    """Blame the value at `at`, beside the field that is validated."""
    return PydanticCustomError(BROKEN_RULE, text, {"at": at, "value": value})


def _refuse_bool(value: object) -> object:
    """Refuse `true` where a number is meant: Python would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("must not be a boolean")  # noqa: TRY004 - pydantic collects ValueError only
    return value


def _require_backbone(name: str) -> str:
    try:
        return require_backbone_name(name)
    except ConfigError as error:
        raise as_problem(error) from error


def as_problem(error: ConfigError) -> ValueError:
    """Write an error as pydantic collects it."""
    return ValueError(f"{error.message}{f'; {error.hint}' if error.hint else ''}")


def _read_class_name(value: object) -> object:
    """Read the `7` of `classes: [7, 8]` as the name "7": YAML takes it for a number."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a class's name; write it in quotes")  # noqa: TRY004 - pydantic collects ValueError
    return str(value)


def require_distinct(values: tuple[object, ...]) -> None:
    """Raise `ValueError` where a value stands twice."""
    if len(set(values)) != len(values):
        raise ValueError("each value may stand once")


_NOT_A_NUMBER = (bool, str, str | None)
_WHOLE = (int, int | None)
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE]\+?[0-9]{1,2}")
no_bool = BeforeValidator(_refuse_bool)
"""Refuses `true` in a place of its own, such as an item of a list."""
LearningRate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False), no_bool]
WeightDecay = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False), no_bool]
BatchSize = Annotated[int, Field(ge=1, le=8192), no_bool]
Seed = Annotated[int, Field(ge=0, lt=2**32), no_bool]
Channel = Annotated[float, Field(allow_inf_nan=False), no_bool]
ClassName = Annotated[str, Field(min_length=1), BeforeValidator(_read_class_name, json_schema_input_type=str | int)]
BackboneName = Annotated[
    str,
    AfterValidator(_require_backbone),
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [{"enum": list(TORCHVISION)}, {"pattern": f"^{TIMM}."}, {"pattern": f"^{OWN.pattern}$"}],
        }
    ),
]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if annotation in _NOT_A_NUMBER:  # what text must not be is said by whoever validates it
            return value
        if annotation in _WHOLE and isinstance(value, str) and _EXPONENT.fullmatch(value):
            return float(value)  # PyYAML reads 1e2 as text
        return _refuse_bool(value)
