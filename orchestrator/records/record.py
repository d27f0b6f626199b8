"""The base of all records, and what it takes to write one down."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of the records: frozen, closed to unknown fields."""

    # NaN and infinities stay what they are; the default writes null, which no number reads back
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")


class Step(str):
    """A message that says what is being done now and may take a while: `loading PyTorch`. It is no news."""

    __slots__ = ()


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Write a nested mapping as one with dotted keys; lists stay values."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
