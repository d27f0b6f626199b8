"""A YAML file as plain values that remember where they stand. `yaml.safe_load` semantics, but strict about keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.errors import ConfigError

KeyPath = tuple[str | int, ...]
_STRING_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_MAPPING_TAG = "tag:yaml.org,2002:map"
_SEQUENCE_TAG = "tag:yaml.org,2002:seq"
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
    reader = _Reader(str(path))
    try:
        node = yaml.compose(_read_text(path), Loader=yaml.SafeLoader)
        if node is None:
            raise ConfigError(f"{path}: the file is empty", hint="it needs the keys defaults and experiments")
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{reader.place(node)}: the file must be a mapping with the key experiments")
        values = reader.read_mapping(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{place}: YAML syntax: {what}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: YAML syntax: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    mistakes = [f"{place}: {text}" for place, text in reader.mistakes]
    return Document(values, reader.keys, reader.places, mistakes)


def parse_value(text: str) -> object:
    """Read one value as YAML, as strictly as a file.

    Raises:
        ValueError: It is no YAML.
    """
    reader = _Reader("")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = None if node is None else reader.read(node, ())
    except (yaml.YAMLError, RecursionError, ConfigError) as error:
        raise ValueError(f"not a YAML value: {text!r}") from error
    if reader.mistakes:
        raise ValueError(f"not a YAML value: {text!r}: {reader.mistakes[0][1]}")
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
        self._blamed: set[int] = set()
        self.keys: dict[KeyPath, Place] = {}
        self.places: dict[KeyPath, Place] = {}
        self.mistakes: list[tuple[Place, str]] = []

    def read(self, node: yaml.Node, path: KeyPath) -> object:
        """Read any node."""
        self.places[path] = self.place(node)
        if isinstance(node, yaml.MappingNode):
            return self.read_mapping(node, path)
        with self._inside(node, path):
            if isinstance(node, yaml.ScalarNode):
                return self._read_scalar(node, path)
            if node.tag != _SEQUENCE_TAG:
                self._blame(node, path, f"the tag {node.tag} is not allowed here")
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        """Read a mapping. Its own keys win over merged ones, and of those the ones that are named first."""
        with self._inside(node, path):
            if node.tag != _MAPPING_TAG:
                self._blame(node, path, f"the tag {node.tag} is not allowed here")
            own, merged = self._split(node, path)
            values: dict[str, object] = {}
            # what wins is read last, so that places are its places too
            for source in reversed(merged):
                values |= self.read_mapping(source, path)
            for key, (key_node, value_node) in own.items():
                values[key] = self.read(value_node, (*path, key))
                self.keys[(*path, key)] = self.place(key_node)
            return values

    def place(self, node: yaml.Node) -> Place:
        """Say where a node begins."""
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _split(
        self, node: yaml.MappingNode, path: KeyPath
    ) -> tuple[dict[str, tuple[yaml.Node, yaml.Node]], list[yaml.MappingNode]]:
        """Tell a mapping's own keys, each once, from the mappings that it merges."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merges: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag not in (_MERGE_TAG, _STRING_TAG) or not isinstance(key_node, yaml.ScalarNode):
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a collection"
                self._blame(key_node, path, f"keys must be strings, in quotes if need be ({shown})")
                continue
            known = merges if key_node.tag == _MERGE_TAG else own
            key = key_node.value
            if key in known:
                first = self.place(known[key][0]).line
                self._blame(key_node, (*path, key), f"duplicate key, first on line {first}")
                continue
            known[key] = key_node, value_node
        return own, [source for _, value in merges.values() for source in self._merge_sources(value, path)]

    def _merge_sources(self, node: yaml.Node, path: KeyPath) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._blame(source, (*path, "<<"), "a merge needs a mapping")

    def _read_scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        try:
            value: object = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or str(error)
            self._blame(node, path, f"{problem} ({node.value})")
            return None
        return value

    @contextmanager
    def _inside(self, node: yaml.Node, path: KeyPath) -> Iterator[None]:
        self._count += 1
        if node in self._open or self._count > _MAX_NODES:
            why = "an alias that contains itself" if node in self._open else f"more than {_MAX_NODES} values"
            raise ConfigError(f"{self.place(node)}: {_dotted(path)}: {why}")
        self._open.append(node)
        try:
            yield
        finally:
            self._open.pop()

    def _blame(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        """Note a mistake, once, wherever aliases repeat it."""
        if id(node) not in self._blamed:
            self._blamed.add(id(node))
            self.mistakes.append((self.place(node), f"{_dotted(path)}: {text}"))


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path) or "top level"
