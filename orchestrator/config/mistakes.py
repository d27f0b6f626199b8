"""What pydantic finds wrong, as `place: key.path: what is wrong (value received)`."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.config.document import KeyPath
from orchestrator.config.fields import BROKEN_RULE
from orchestrator.config.layers import Draft, ValueOrigin, dotted
from orchestrator.config.models import DIMENSIONS, Experiment
from orchestrator.config.schedules import SCHEDULES


def list_problems(error: ValidationError) -> list[Mapping[str, Any]]:
    """List the errors of pydantic, without a list's being too short for want of its items that are wrong."""
    problems: list[Mapping[str, Any]] = [*error.errors(include_url=False)]
    around = {problem["loc"][:-1] for problem in problems}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in around]


def describe_problem(problem: Mapping[str, Any], draft: Draft, entry_place: Callable[[KeyPath], str], name: str) -> str:
    """Write an error of pydantic as one line.

    Args:
        problem: One of `ValidationError.errors()`.
        draft: The values that were validated.
        entry_place: Where in the file the entry, or what it holds around a path, stands.
        name: The entry's name.
    """
    path = _without_kind(problem["loc"])
    kind, received = problem["type"], problem["input"]
    if kind == BROKEN_RULE:
        path, received = (*path[:-1], *problem["ctx"]["at"]), problem["ctx"]["value"]
    origin = draft.origin(path)
    missing = kind == "missing" and not isinstance(path[-1], int)
    if missing or origin is None:
        full = f"{entry_place(path)}: experiments.{name}.{dotted(path)}"
        return f"{full}: the key is missing" if missing else f"{full}: {_say(problem, received)}"
    if kind == "extra_forbidden":
        known = did_you_mean(str(path[-1]), _known_keys(problem["loc"][:-1]))
        return f"{origin.key_place}: {origin.path}: unknown key{known}"
    return f"{origin.place}: {origin.path}: {_explain(kind, path, origin, received) or _say(problem, received)}"


def _without_kind(path: KeyPath) -> KeyPath:
    """Leave out what pydantic puts into the path of a value within a schedule: the schedule's name."""
    in_schedule = path[:2] == ("trainer", "schedule") and path[2:3] and path[2] in SCHEDULES
    return (*path[:2], *path[3:]) if in_schedule else path


def _explain(kind: str, path: KeyPath, origin: ValueOrigin, received: object) -> str | None:
    """Return what to write where YAML or a short form misleads; None where pydantic says it well enough."""
    if kind == "string_type" and origin.written is not None and received is not None:
        kinds = {bool: "true or false", int: "a number", float: "a number"}
        what = kinds.get(type(received), "a date" if hasattr(received, "isoformat") else "no text")
        return f"must be text, and {origin.written} is {what} in YAML: put it in quotes, '{origin.written}'"
    if kind in ("model_type", "model_attributes_type") and path[:-1] == ("search",) and path[-1] in DIMENSIONS:
        name, shown = path[-1], show(received).strip("'")
        has_range = "range" in _known_keys(path)
        span = f", a range {name}: {{low: ..., high: ..., log: true}}" if has_range else ""
        home = f"{DIMENSIONS[name]}.{name}"
        return f"must be a list of values, {name}: [{shown}, ...]{span}; one value is {home} ({show(received)})"
    return None


def did_you_mean(received: str, known: Sequence[str]) -> str:
    """Offer the nearest of the known names, or all of them."""
    close = get_close_matches(received, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def show(value: object, limit: int = 80) -> str:
    """Write a value that was received, in `limit` characters at the most."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _say(problem: Mapping[str, Any], received: object) -> str:
    kind, message = problem["type"], str(problem["msg"])
    if kind in ("literal_error", "union_tag_invalid"):
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected" if kind == "literal_error" else "expected_tags"])
        received = received if kind == "literal_error" else problem["ctx"]["tag"]
        close = get_close_matches(str(received), choices, n=1)
        message = f"must be one of {', '.join(choices)}{f'; did you mean {close[0]!r}?' if close else ''}"
    elif kind == "union_tag_not_found":
        message = f"needs a name: {', '.join(SCHEDULES)}"
    elif kind in ("model_type", "model_attributes_type"):
        message = "must be a mapping"
    elif kind == "tuple_type":
        message = "must be a list"
    elif kind == "missing":
        message = "an item is missing"
    elif kind in ("too_short", "too_long"):
        bound = "least" if kind == "too_short" else "most"
        message = f"must have at {bound} {problem['ctx']['min_length' if bound == 'least' else 'max_length']} items"
    message = re.sub(r"^\w+ should", "must", message.removeprefix("Value error, "))
    # what is said of a whole mapping names what it is about
    return message if isinstance(received, dict) and kind == "value_error" else f"{message} ({show(received)})"


def _known_keys(path: KeyPath) -> list[str]:
    """List the keys of the model at `path`."""
    model: type[BaseModel] | None = Experiment
    for part in path:
        annotation = model.model_fields[str(part)].annotation if model and str(part) in model.model_fields else None
        options = [SCHEDULES[part]] if part in SCHEDULES else [annotation, *getattr(annotation, "__args__", ())]
        model = next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)
    keys = [key for key in (model.model_fields if model else ()) if path or key != "name"]
    return keys if path else [*keys, "extends"]
