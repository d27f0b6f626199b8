"""An entry of the file, its bases, the defaults and the command line become one experiment; every mistake is named."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from pydantic import ValidationError

from orchestrator.config.document import Document, KeyPath, dump_yaml, read_document
from orchestrator.config.layers import Draft, dotted, fill_variables, lay_document, lay_override
from orchestrator.config.mistakes import describe_problem, did_you_mean, list_problems, show
from orchestrator.config.models import Experiment
from orchestrator.errors import ConfigError
from orchestrator.masking import mask_address

_TOP_KEYS = ("defaults", "experiments")
_MAX_BASES = 300
"""Experiments that extend each other, one after the other."""
_MAX_SHOWN = 100
"""Mistakes that are named."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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


def load_experiment(name: str, path: str | Path = "experiments.yaml", overrides: Sequence[str] = ()) -> Experiment:
    """Load an experiment of a configuration file.

    Args:
        name: Entry under `experiments`.
        path: The file.
        overrides: `key.path=value` each, typed as YAML; they win over the file.

    Raises:
        ConfigError: With all mistakes at once, a line each.

    Example:
        >>> from orchestrator import load_experiment
        >>> load_experiment("demo", overrides=["trainer.lr=1e-3"]).trainer.lr
        0.001
    """
    return resolve_experiment(name, path, overrides).experiment


def resolve_experiment(name: str, path: str | Path = "experiments.yaml", overrides: Sequence[str] = ()) -> Resolved:
    """Load an experiment and say where each value comes from.

    Raises:
        ConfigError: With all mistakes at once, a line each.
    """
    document = _read(Path(path))
    entries = _entries(document)
    if name not in entries:
        hint = did_you_mean(name, list(entries)) if entries else "; there is none"
        raise _as_error([*document.mistakes, f"{path}: experiments: there is no experiment {name!r}{hint}"])
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


def fill_option(option: str, text: str | None) -> str | None:
    """Replace `${env:NAME}` and `${env:NAME:-default}` in the value of a command line's option.

    Raises:
        ConfigError: A variable is not set.
    """
    if text is None:
        return None
    draft = Draft(values={option: text})
    fill_variables(draft)
    if draft.mistakes:
        raise ConfigError("\n".join(draft.mistakes), hint="set the variable (export NAME=...)")
    return str(draft.values[option])


def without_credentials(experiment: Experiment) -> Experiment:
    """Copy an experiment as it may be written down: the address of its tracking store has no credentials."""
    tracking = experiment.tracking
    if tracking.mlflow_uri is None:
        return experiment
    masked = tracking.model_copy(update={"mlflow_uri": mask_address(tracking.mlflow_uri)})
    return experiment.model_copy(update={"tracking": masked})


def config_hash(experiment: Experiment) -> str:
    """Hash a resolved experiment: 12 hex digits of the sha256 over its canonical JSON."""
    text = json.dumps(experiment.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_error(mistakes: list[str]) -> ConfigError:
    count = [f"{len(mistakes)} mistakes"] if len(mistakes) > 1 else []
    more = [f"and {len(mistakes) - _MAX_SHOWN} more"] if len(mistakes) > _MAX_SHOWN else []
    message = "\n".join([*count, *mistakes[:_MAX_SHOWN], *more])
    return ConfigError(message, hint="`orchestrator config schema` prints every key, type and range")


def _read(path: Path) -> Document:
    document = read_document(path)
    for key in document.values:
        if key not in _TOP_KEYS:
            document.mistakes.append(f"{document.keys[(key,)]}: {key}: unknown key{did_you_mean(key, _TOP_KEYS)}")
    for key in _TOP_KEYS:
        value = document.values.get(key)
        if value is not None and not isinstance(value, dict):
            document.mistakes.append(f"{document.places[(key,)]}: {key}: must be a mapping ({show(value)})")
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
            document.mistakes.append(f"{place}: experiments.{name}: must be a mapping ({show(entry)})")
    return document


def _entries(document: Document) -> dict[str, object]:
    entries = document.values.get("experiments")
    return entries if isinstance(entries, dict) else {}


def _build(name: str, document: Document, overrides: Sequence[str]) -> tuple[Draft, Experiment | None]:
    draft = Draft()
    chain, whole = _chain(name, document, draft)
    for base in [("defaults",), *chain]:
        lay_document(draft, document, base)
    for override in overrides:
        lay_override(draft, override)
    fill_variables(draft)

    def entry_place(path: KeyPath) -> str:
        full: KeyPath = ("experiments", name, *path)
        while full not in document.keys:
            full = full[:-1]
        return str(document.keys[full])

    try:
        return draft, Experiment.model_validate({**draft.values, "name": name})
    except ValidationError as error:
        for problem in list_problems(error):
            # what is missing may come from the base that is not there
            if (whole or problem["type"] != "missing") and problem["loc"] not in draft.unfilled:
                draft.mistakes.append(describe_problem(problem, draft, entry_place, name))
        return draft, None


def _chain(name: str, document: Document, draft: Draft) -> tuple[list[KeyPath], bool]:
    """List an entry and its bases, the farthest base first; and whether all of them are there."""
    entries = _entries(document)
    names = {name: None}  # in order
    last, whole = name, True
    while True:
        entry = entries[last] or {}
        if not isinstance(entry, dict):
            whole = False
            break
        base = entry.get("extends")
        if base is None:
            break
        wrong = _find_wrong(base, names, entries)
        if wrong is not None:
            place = document.places["experiments", last, "extends"]
            draft.mistakes.append(f"{place}: experiments.{last}.extends: {wrong} ({show(base)})")
            whole = False
            break
        last = str(base)
        names[last] = None
    chain = list(reversed(names))
    if len(chain) > _MAX_BASES:  # the same entry is blamed, whichever of those that extend it is looked at
        place = document.places["experiments", chain[_MAX_BASES], "extends"]
        draft.mistakes.append(
            f"{place}: experiments.{chain[_MAX_BASES]}.extends: more than {_MAX_BASES} experiments extend each other"
        )
        chain, whole = chain[:1], False
    return [("experiments", each) for each in chain], whole


def _find_wrong(base: object, names: Mapping[str, None], entries: Mapping[str, object]) -> str | None:
    """Explain why `base` cannot be the base of the last of `names`; None where it can."""
    if not isinstance(base, str):
        return "must be the name of an experiment"
    if base in names:
        circle = [*dropwhile(lambda each: each != base, names), base]
        return f"the experiments extend each other in a circle, {' -> '.join(circle)}"
    return None if base in entries else f"there is no such experiment{did_you_mean(base, list(entries))}"


def _describe_origins(experiment: Experiment, draft: Draft) -> dict[str, str]:
    """Record who gave each value; a mapping that somebody wrote does not make its other keys theirs."""
    described: dict[str, str] = {}

    def walk(value: object, path: KeyPath) -> None:
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                walk(item, (*path, key))
            return
        origin = draft.origins.get(path)
        described[dotted(path)] = origin.shown if origin else "default"

    walk(experiment.model_dump(mode="json", exclude={"name"}), ())
    return described
