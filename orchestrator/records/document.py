"""Records as documents: how they are written, and how those of other versions are read."""

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from orchestrator.errors import SetupError

DOCUMENT_VERSION = 1
"""Stands in each document as `version`. Documents without it are of version 0: up to 0.1 nothing had one.

It rises when what is written could be read wrongly by an earlier version; a new field with a default needs none.
"""
VERSION = "version"
_LOG = logging.getLogger("orchestrator")
_said: set[tuple[str, ...]] = set()
RecordT = TypeVar("RecordT", bound=BaseModel)


def write_document(record: BaseModel, *, indent: int | None = None) -> str:
    """Write a record as a JSON document, its version first."""
    gap = "" if indent is None else "\n" + " " * indent
    colon = ":" if indent is None else ": "
    return f'{{{gap}"{VERSION}"{colon}{DOCUMENT_VERSION},{record.model_dump_json(indent=indent)[1:]}'


def add_version(values: Mapping[str, object]) -> dict[str, Any]:
    """Write the version before plain values."""
    return {VERSION: DOCUMENT_VERSION, **values}


def read_document(kind: type[RecordT], content: bytes | str | Mapping[str, object], name: str) -> RecordT:
    """Read a record of any version. Fields that are not known are left out, and a log message says so once.

    Args:
        kind: Type of the record.
        content: JSON, or the plain values.
        name: Where it lies, for messages.

    Raises:
        ValueError: It is damaged.
        SetupError: A later version wrote it, and it does not hold what this version needs.
    """
    values = content if isinstance(content, Mapping) else from_json(content)
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} holds no record")  # noqa: TRY004 - it is damaged, as far as callers can tell
    version = values.get(VERSION, 0)
    values = {key: value for key, value in values.items() if key != VERSION}
    if VERSION in kind.model_fields:
        values[VERSION] = version
    try:
        return _read_known(kind, values, name, version)
    except ValidationError as error:
        if not (isinstance(version, int) and version > DOCUMENT_VERSION):
            raise
        raise SetupError(
            f"cannot read {name}: a later version of this program wrote it (format {version}, this one knows up to "
            f"{DOCUMENT_VERSION}); {describe_problem(error)}",
            hint="go on with that version, or use another --root",
        ) from error


def _read_known(kind: type[RecordT], values: Mapping[str, object], name: str, version: object) -> RecordT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        known = _remove(values, unknown)
        if not unknown or known is None:
            raise
    record = kind.model_validate(known)
    _say_unknown(kind, unknown, name, version)
    return record


def _remove(values: Mapping[str, object], places: Sequence[Sequence[int | str]]) -> Any:
    """Copy plain values without what lies at `places`; None where one of these is no place in them, but a union's."""
    kept: Any = deepcopy(values)
    try:
        for *path, last in places:
            del reduce(getitem, path, kept)[last]
    except (LookupError, TypeError):
        return None
    return kept


def say_once(message: str, *about: str) -> None:
    """Log a warning, unless one was logged about the same."""
    if about not in _said:
        _said.add(about)
        _LOG.warning(message)


def describe_problem(error: ValueError) -> str:
    """Return in one line why something is no record."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _say_unknown(kind: type[BaseModel], places: Sequence[Sequence[int | str]], name: str, version: object) -> None:
    fields = ", ".join(sorted({".".join(step for step in place if isinstance(step, str)) for place in places}))
    say_once(
        f"{name} was written by another version of this program (format {version}, this one writes "
        f"{DOCUMENT_VERSION}): what it says of {fields} is not read, here and wherever it stands",
        kind.__name__,
        fields,
    )
