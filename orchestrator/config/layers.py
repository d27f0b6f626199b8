"""Layers of values, each laid over those before it: the defaults, the bases, the entry, the command line."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from orchestrator.config.dimensions import spell_out_dimension
from orchestrator.config.document import Document, KeyPath, parse_value
from orchestrator.config.models import DIMENSIONS
from orchestrator.config.schedules import spell_out_schedule

_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class ValueOrigin:
    """Where a value comes from.

    Attributes:
        place: Of the value, or of the key of a mapping: `file:line:column`, or `--set key=value`.
        key_place: Of its key, likewise.
        path: Full path of the key, as it stands there.
        shown: Short form for people: `experiments.yaml:12`, `--set`.
        written: The value as it stands there, where YAML reads it as something else than text.
    """

    place: str
    key_place: str
    path: str
    shown: str
    written: str | None = None


@dataclass(slots=True)
class Draft:
    """The values of an experiment in the making.

    Attributes:
        values: Mappings are merged, all else is replaced by what a later layer says.
        origins: Who said it last, for every mapping, list, item of a list and value.
        mistakes: What is wrong, a line each.
        unfilled: Values that could not be read, or want a variable which is not there: whatever else is wrong with them
            follows from that.
    """

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, ValueOrigin] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    unfilled: set[KeyPath] = field(default_factory=set)

    def origin(self, path: KeyPath) -> ValueOrigin | None:
        """Find who said the value at `path`, or else the nearest value around it."""
        for length in range(len(path), 0, -1):
            origin = self.origins.get(path[:length])
            if origin is not None:
                rest = path[length:]
                written = None if rest else origin.written
                return replace(origin, path=dotted((origin.path, *rest)), written=written)
        return None


def lay_document(draft: Draft, document: Document, base: KeyPath) -> None:
    """Lay the mapping at `base` of the file over the draft."""
    values: object = document.values
    for part in base:
        values = values.get(str(part)) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        return
    # what the program itself reads: an entry may name its base, nothing may name itself
    reserved = {"name", "extends"} if base == ("defaults",) else {"name"}
    for key in sorted(reserved & set(values)):
        why = "the entry's key is its name" if key == "name" else "an experiment has it, not the defaults"
        draft.mistakes.append(f"{document.keys[(*base, key)]}: {dotted((*base, key))}: unknown key ({why})")

    def locate(path: KeyPath) -> ValueOrigin:
        full = (*base, *path)
        while full not in document.places:  # a short form that was spelled out
            full = full[:-1]
        place = document.places[full]
        return ValueOrigin(
            place=str(place),
            key_place=str(document.keys.get(full, place)),
            path=dotted((*base, *path)),
            shown=f"{place.file}:{place.line}",
            written=document.written.get((*base, *path)),
        )

    _lay(draft, {key: value for key, value in values.items() if key not in ("name", "extends")}, locate)
    draft.unfilled |= {path[len(base) :] for path in document.unread if path[: len(base)] == base}


def lay_override(draft: Draft, override: str) -> None:
    """Lay `key.path=value` over the draft, the value typed as YAML."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        draft.mistakes.append(f"--set {override}: must look like key.path=value")
        return
    if path[0] in ("extends", "name"):
        draft.mistakes.append(f"--set {override}: {path[0]}: cannot be overridden")
        return
    try:
        value = parse_value(text)
    except ValueError as error:
        draft.mistakes.append(f"--set {override}: {dotted(path)}: {error}")
        return
    written = None if isinstance(value, str | dict | list) else text
    for part in reversed(path):
        value = {part: value}
    place = f"--set {override}"
    _lay(draft, value, lambda path: ValueOrigin(place, place, dotted(path), "--set", written))


def fill_variables(draft: Draft) -> None:
    """Replace `${env:NAME}` and `${env:NAME:-default}` in all strings of the draft."""

    def fill(value: object, path: KeyPath) -> object:
        if isinstance(value, dict):
            return {key: fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item, (*path, index)) for index, item in enumerate(value)]
        return _fill_text(draft, value, path) if isinstance(value, str) and "${env:" in value else value

    draft.values = {key: fill(value, (key,)) for key, value in draft.values.items()}


def dotted(path: KeyPath) -> str:
    """Write a path as `key.path`."""
    return ".".join(str(part) for part in path)


def _lay(draft: Draft, source: object, locate: Callable[[KeyPath], ValueOrigin]) -> None:
    def lay(target: dict[str, object], source: dict[str, object], path: KeyPath) -> None:
        for key, value in source.items():
            here = (*path, key)
            value = _spell_out(here, value)
            origin = draft.origins[here] = locate(here)
            if not isinstance(value, dict):
                target[key] = value
                mark(value, here)
                continue
            draft.origins[here] = replace(origin, place=origin.key_place)
            old = _spell_out(here, target.get(key))
            inner = target[key] = old if isinstance(old, dict) else {}
            if here[:-1] == ("search",) and key in DIMENSIONS and len({"choices", "range"} & value.keys()) == 1:
                # choices that are said later take the place of a range, and the other way round
                inner.pop("range" if "choices" in value else "choices", None)
            if here == ("trainer", "schedule") and "name" in value:
                inner.clear()  # what an earlier layer says is of another schedule
            lay(inner, value, here)

    def mark(value: object, path: KeyPath) -> None:
        """Note where the items of a list stand, and those of a list in it."""
        for index, item in enumerate(value if isinstance(value, list) else []):
            draft.origins[(*path, index)] = locate((*path, index))
            mark(item, (*path, index))

    if isinstance(source, dict):
        lay(draft.values, source, ())


def _spell_out(path: KeyPath, value: object) -> object:
    """Read short forms as what they stand for, so that they can be merged.

    `execution: inline` is `{mode: inline}`, `schedule: cosine` is `{name: cosine}`, and of the searched dimensions a
    list is `{choices: ...}` and `{low: ..., high: ...}` is `{range: ...}`.
    """
    if path == ("execution",) and isinstance(value, str):
        return {"mode": value}
    if path == ("trainer", "schedule"):
        return spell_out_schedule(value)
    if path[:-1] == ("search",) and path[-1] in DIMENSIONS:
        return spell_out_dimension(value)
    return value


def _fill_text(draft: Draft, text: str, path: KeyPath) -> object:
    origin = draft.origin(path)
    where = f"{origin.place}: {origin.path}" if origin else dotted(path)
    wrong = [
        f"the environment variable {match[1]} is not set; a default can be given as ${{env:{match[1]}:-value}}"
        for match in _VARIABLE.finditer(text)
        if match[1] not in os.environ and match[2] is None
    ]
    if "${env:" in _VARIABLE.sub("", text):
        wrong.append("must look like ${env:NAME} or ${env:NAME:-default}")
    if wrong:
        draft.mistakes += [f"{where}: {each} ({text!r})" for each in wrong]
        draft.unfilled.add(path)
    filled = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[2] or ""), text)
    if not _VARIABLE.fullmatch(text):
        return filled
    try:  # the whole value comes from the environment: it has the type that it looks like
        return parse_value(filled)
    except ValueError:
        return filled
