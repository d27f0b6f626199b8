"""An entry of the file, its bases, the defaults and the command line become one experiment; every mistake is named."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.config.document import Document, KeyPath, dump_yaml, parse_value, read_document
from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError

_TOP_KEYS = ("defaults", "experiments")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        place: `file:line:column`, or `--set key=value`.
        path: Full path of the key, as it stands there.
        shown: Short form for people: `experiments.yaml:12`, `--set`.
    """

    place: str
    path: str
    shown: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """An experiment and where each of its values comes from.

    Attributes:
        experiment: The experiment.
        origins: By dotted key; values that nobody set say `default`.
    """

    experiment: Experiment
    origins: dict[str, str]

    def to_yaml(self) -> str:
        """Write the resolved configuration as YAML."""
        return to_yaml(self.experiment)


@dataclass(slots=True)
class _Draft:
    """Values in the making: leaves by path, with their origins; and mistakes."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def load_experiment(name: str, path: str | Path = "experiments.yaml", overrides: Sequence[str] = ()) -> Experiment:
    """Load an experiment of a configuration file.

    Args:
        name: Entry under `experiments`.
        path: The file.
        overrides: `key.path=value` each, typed as YAML; they win over the file.

    Raises:
        ConfigError: With all mistakes at once, a line each.
    """
    return resolve_experiment(name, path, overrides).experiment


def resolve_experiment(name: str, path: str | Path = "experiments.yaml", overrides: Sequence[str] = ()) -> Resolved:
    """Load an experiment and say where each value comes from.

    Raises:
        ConfigError: With all mistakes at once, a line each.
    """
    document = _read(Path(path))
    entries = _entries(document)
    if name not in entries and not document.mistakes:
        close = get_close_matches(name, entries, n=1)
        raise ConfigError(
            f"{path}: there is no experiment {name!r}; there are: {', '.join(entries) or 'none'}",
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    draft, experiment = _build(name, document, overrides)
    mistakes = list(dict.fromkeys([*document.mistakes, *draft.mistakes]))
    if experiment is None or mistakes:
        raise _as_error(mistakes)
    return Resolved(experiment, _describe_origins(experiment, draft))


def experiment_names(path: str | Path = "experiments.yaml") -> list[str]:
    """List the experiments of a file, in its order.

    Raises:
        ConfigError: The file cannot be read.
    """
    return list(_entries(_read(Path(path))))


def check_file(path: str | Path = "experiments.yaml", overrides: Sequence[str] = ()) -> list[str]:
    """Validate all experiments of a file and list their names.

    Raises:
        ConfigError: With all mistakes of all experiments at once, a line each.
    """
    document = _read(Path(path))
    names = list(_entries(document))
    mistakes = list(document.mistakes)
    for name in names:
        mistakes += _build(name, document, overrides)[0].mistakes
    if not names and not mistakes:
        mistakes.append(f"{path}: experiments: there is none")
    if mistakes:
        raise _as_error(list(dict.fromkeys(mistakes)))
    return names


def to_yaml(experiment: Experiment) -> str:
    """Write a resolved experiment as YAML."""
    return dump_yaml(experiment.model_dump(mode="json"))


def config_hash(experiment: Experiment) -> str:
    """Hash a resolved experiment: 12 hex digits of the sha256 over its canonical JSON."""
    text = json.dumps(experiment.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_error(mistakes: list[str]) -> ConfigError:
    count = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes\n"
    return ConfigError(
        count + "\n".join(mistakes), hint="`orchestrator config schema` prints every key, type and range"
    )


def _read(path: Path) -> Document:
    document = read_document(path)
    for key in document.values:
        if key not in _TOP_KEYS:
            document.mistakes.append(f"{document.keys[(key,)]}: {key}: unknown key{_did_you_mean(key, _TOP_KEYS)}")
    for key in _TOP_KEYS:
        value = document.values.get(key)
        if value is not None and not isinstance(value, dict):
            document.mistakes.append(f"{document.places[(key,)]}: {key}: must be a mapping ({value!r})")
    if "experiments" not in document.values:
        document.mistakes.append(f"{path}:1:1: experiments: the key is missing")
    for name, entry in _entries(document).items():
        place = document.keys[("experiments", name)]
        if not _NAME.fullmatch(name):
            document.mistakes.append(
                f"{place}: experiments.{name}: a name has letters, digits, '.', '_' and '-' and begins with a letter "
                f"or digit ({name!r})"
            )
        if entry is not None and not isinstance(entry, dict):
            document.mistakes.append(f"{place}: experiments.{name}: must be a mapping ({entry!r})")
    return document


def _entries(document: Document) -> dict[str, object]:
    entries = document.values.get("experiments")
    return entries if isinstance(entries, dict) else {}


def _build(name: str, document: Document, overrides: Sequence[str]) -> tuple[_Draft, Experiment | None]:
    draft = _Draft()
    for path in [("defaults",), *_chain(name, document, draft)]:
        values: object = document.values
        for part in path:
            values = values.get(part) if isinstance(values, dict) else None
        if isinstance(values, dict):
            _merge(draft, values, document, path)
    for override in overrides:
        _override(draft, override)
    values = _filled(draft, draft.values, ())
    fallback = Origin(str(document.keys.get(("experiments", name), "")), f"experiments.{name}", "default")
    try:
        return draft, Experiment.model_validate({**(values if isinstance(values, dict) else {}), "name": name})
    except ValidationError as error:
        draft.mistakes += [_describe(problem, draft, fallback) for problem in error.errors(include_url=False)]
        return draft, None


def _chain(name: str, document: Document, draft: _Draft) -> list[KeyPath]:
    """List an entry and its bases, the farthest base first."""
    entries = _entries(document)
    chain: list[str] = []
    current: object = name
    while isinstance(current, str):
        chain.append(current)
        entry = entries.get(current)
        base = entry.get("extends") if isinstance(entry, dict) else None
        if base is None:
            break
        place = document.places.get(("experiments", current, "extends"))
        where = f"{place}: experiments.{current}.extends"
        if not isinstance(base, str) or base not in entries:
            hint = _did_you_mean(base, list(entries)) if isinstance(base, str) else ""
            draft.mistakes.append(f"{where}: there is no such experiment{hint} ({base!r})")
            break
        if base in chain:
            draft.mistakes.append(
                f"{where}: the experiments extend each other in a circle ({' -> '.join([*chain, base])})"
            )
            break
        current = base
    return [("experiments", entry) for entry in reversed(chain)]


def _merge(draft: _Draft, values: dict[str, object], document: Document, base: KeyPath) -> None:
    """Lay `values` over the draft: mappings are merged, all else is replaced."""

    def lay(target: dict[str, object], source: dict[str, object], path: KeyPath) -> None:
        for key, value in source.items():
            here = (*path, key)
            if not path and key in ("extends", "name"):
                if key == "name":
                    draft.mistakes.append(
                        f"{document.keys[(*base, *here)]}: {_dot((*base, *here))}: unknown key "
                        "(the entry's key is its name)"
                    )
                continue
            full = (*base, *here)
            place = document.places.get(full)
            key_place = document.keys.get(full, place)
            draft.origins[here] = Origin(
                str(key_place if isinstance(value, dict) else place),
                _dot(full),
                f"{place.file}:{place.line}" if place else "",
            )
            old = target.get(key)
            value = _spell_out(here, value)
            old = _spell_out(here, old)
            if isinstance(value, dict) and isinstance(old, dict):
                target[key] = merged = dict(old)
                lay(merged, value, here)
            elif isinstance(value, dict):
                fresh: dict[str, object] = {}
                target[key] = fresh
                lay(fresh, value, here)
            else:
                target[key] = value

    lay(draft.values, values, ())


def _spell_out(path: KeyPath, value: object) -> object:
    """Read `execution: inline` as `execution: {mode: inline}`, so that it can be merged."""
    return {"mode": value} if path == ("execution",) and isinstance(value, str) else value


def _override(draft: _Draft, override: str) -> None:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    origin = Origin(f"--set {override}", key.strip(), "--set")
    if not equals or not all(path):
        draft.mistakes.append(f"--set {override}: must look like key.path=value")
        return
    if path[0] in ("extends", "name"):
        draft.mistakes.append(f"--set {override}: {key}: cannot be overridden")
        return
    try:
        value = parse_value(text)
    except ValueError as error:
        draft.mistakes.append(f"--set {override}: {key}: {error}")
        return
    target = draft.values
    for depth, part in enumerate(path[:-1]):
        inner = _spell_out(path[: depth + 1], target.get(part))
        target[part] = target = dict(inner) if isinstance(inner, dict) else {}
        draft.origins.setdefault(path[: depth + 1], origin)
    target[path[-1]] = _spell_out(path, value)
    for old in [known for known in draft.origins if known[: len(path)] == path]:
        del draft.origins[old]
    draft.origins[path] = origin


def _filled(draft: _Draft, value: object, path: KeyPath) -> object:
    """Replace `${env:NAME}` and `${env:NAME:-default}` in all strings of `value`."""
    if isinstance(value, dict):
        return {key: _filled(draft, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(draft, item, (*path, index)) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${env:" not in value:
        return value
    origin = _origin(draft, path)
    for match in _VARIABLE.finditer(value):
        if match[1] not in os.environ and match[2] is None:
            draft.mistakes.append(
                f"{origin.place}: {origin.path}: the environment variable {match[1]} is not set ({value}); "
                f"a default can be given as ${{env:{match[1]}:-value}}"
            )
    text = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[2] or ""), value)
    if _VARIABLE.fullmatch(value):  # the whole value comes from the environment: it has the type that it looks like
        try:
            return parse_value(text)
        except ValueError:
            return text
    return text


def _origin(draft: _Draft, path: KeyPath, fallback: Origin | None = None) -> Origin:
    """Find where the value at `path`, or the nearest mapping or list around it, was set."""
    for length in range(len(path), 0, -1):
        origin = draft.origins.get(path[:length])
        if origin is not None:
            rest = path[length:]
            return Origin(origin.place, _dot((origin.path, *rest)), origin.shown) if rest else origin
    return fallback or Origin("", _dot(path), "default")


def _describe(problem: Mapping[str, Any], draft: _Draft, fallback: Origin) -> str:
    """Write a validation error of pydantic as one line."""
    path: KeyPath = tuple(problem["loc"])
    origin = _origin(draft, path, Origin(fallback.place, _dot((fallback.path, *path)), ""))
    kind, message, received = problem["type"], str(problem["msg"]), problem["input"]
    if kind == "extra_forbidden":
        return f"{origin.place}: {origin.path}: unknown key{_did_you_mean(str(path[-1]), _known_keys(path[:-1]))}"
    if kind == "missing":
        return f"{origin.place}: {origin.path}: the key is missing"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", message)
        message = f"must be one of {', '.join(choices)}{_did_you_mean(str(received), choices)}"
    message = message.removeprefix("Value error, ").removeprefix("Input should ").removeprefix("Assertion failed, ")
    shown = "" if isinstance(received, dict) and kind == "value_error" else f" ({_show(received)})"
    return f"{origin.place}: {origin.path}: {message}{shown}"


def _show(value: object, limit: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _known_keys(path: KeyPath) -> list[str]:
    """List the keys of the model at `path`."""
    model: type[BaseModel] | None = Experiment
    for part in path:
        annotation = model.model_fields[str(part)].annotation if model and str(part) in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)
    keys = [key for key in (model.model_fields if model else ()) if path or key != "name"]
    return keys if path else [*keys, "extends"]


def _did_you_mean(received: str, known: Sequence[str]) -> str:
    close = get_close_matches(received, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _dot(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _describe_origins(experiment: Experiment, draft: _Draft) -> dict[str, str]:
    described = {}

    def walk(value: object, path: KeyPath) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, (*path, key))
            return
        shown = draft.origins.get(path, None)
        around = shown or next(
            (
                draft.origins[path[:n]]
                for n in range(len(path) - 1, 0, -1)
                if path[:n] in draft.origins and path[0] != "name"
            ),
            None,
        )
        # a mapping that somebody wrote does not make its other keys theirs
        exact = shown is not None or (around is not None and _inside_list(draft, path))
        described[_dot(path)] = around.shown if around is not None and exact else "default"

    walk(experiment.model_dump(mode="json", exclude={"name"}), ())
    return described


def _inside_list(draft: _Draft, path: KeyPath) -> bool:
    value: object = draft.values
    for part in path:
        if isinstance(value, list):
            return True
        value = value.get(str(part)) if isinstance(value, dict) else None
    return False
