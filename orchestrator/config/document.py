"""A YAML file as plain values that remember where they stand. `yaml.safe_load` semantics, but strict about keys."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.errors import ConfigError

KeyPath = tuple[str | int, ...]
_MERGE_TAG = "tag:yaml.org,2002:merge"
_MAX_NODES = 100_000
"""Aliases can make a small file huge; a configuration has no use for that."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(slots=True)
class Document:
    """A file's values.

    Attributes:
        values: The file as plain values.
        keys: Where the key of each path stands.
        places: Where the value of each path stands.
        mistakes: What is wrong already, a line each.
    """

    values: dict[str, object]
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        ConfigError: It is missing, a directory, not UTF-8, not YAML, empty, or no mapping.
    """
    text = _read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{place}: YAML syntax: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: YAML syntax: {str(error).splitlines()[0]}") from error
    if node is None:
        raise ConfigError(f"{path}: the file is empty", hint="it needs the keys defaults and experiments")
    if not isinstance(node, yaml.MappingNode):
        mark = node.start_mark
        raise ConfigError(
            f"{path}:{mark.line + 1}:{mark.column + 1}: the file must be a mapping with the key experiments"
        )
    reader = _Reader(str(path))
    values = reader.read_mapping(node, ())
    return Document(values, reader.keys, reader.places, reader.mistakes)


def parse_value(text: str) -> object:
    """Read one value as YAML.

    Raises:
        ValueError: It is no YAML.
    """
    try:
        value: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not a YAML value: {text!r}") from error
    return value


def dump_yaml(values: object) -> str:
    """Write plain values as YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="name the configuration with -c/--config") from error
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path}: is a directory, not a file", hint=f"did you mean {path / 'experiments.yaml'}?"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid UTF-8 at byte {error.start}", hint="save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


class _Reader:
    """Turns nodes into plain values and notes where they stand."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._constructor = yaml.SafeLoader("")
        self._open: list[yaml.Node] = []
        self._count = 0
        self.keys: dict[KeyPath, Place] = {}
        self.places: dict[KeyPath, Place] = {}
        self.mistakes: list[str] = []

    def read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        first: dict[str, Place] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if key_node.tag == _MERGE_TAG:
                for source in self._merge_sources(value_node):
                    merged = self.read_mapping(source, path) | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                shown = getattr(key_node, "value", "a collection")
                self.mistakes.append(f"{place}: {_dotted(path) or 'top level'}: keys must be strings ({shown})")
                continue
            key = key_node.value
            if key in first:
                self.mistakes.append(
                    f"{place}: {_dotted((*path, key))}: duplicate key, first on line {first[key].line}"
                )
                continue
            first[key] = place
            values[key] = self._read(value_node, (*path, key))
            self.keys[(*path, key)] = place
        return merged | values

    def _read(self, node: yaml.Node, path: KeyPath) -> object:
        self._count += 1
        self.places[path] = self._place(node)
        if node in self._open or self._count > _MAX_NODES:
            why = "an alias that contains itself" if node in self._open else f"more than {_MAX_NODES} values"
            raise ConfigError(f"{self._place(node)}: {_dotted(path)}: {why}")
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.read_mapping(node, path)
            return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.pop()

    def _read_scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        try:
            value: object = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or str(error)
            self.mistakes.append(f"{self._place(node)}: {_dotted(path)}: {problem} ({node.value})")
            return None
        return value

    def _merge_sources(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode) and source not in self._open:
                yield source
            else:
                self.mistakes.append(f"{self._place(source)}: <<: a merge needs a mapping")

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
