"""A YAML file as plain values that remember where they stand. `yaml.safe_load` semantics, but strict about keys."""

import math
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.config.text import read_text
from orchestrator.errors import ConfigError

KeyPath = tuple[str | int, ...]
_STRING_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_MAPPING_TAG = "tag:yaml.org,2002:map"
_SEQUENCE_TAG = "tag:yaml.org,2002:seq"
_MAX_WRITTEN = 20_000
"""Values of a file, as it is written; more take seconds to read."""
_MAX_NODES = 100_000
"""The same with its aliases filled in: they can make a small file huge."""
_MAX_DEPTH = 50
"""Mappings and lists in each other."""
_MAX_DIGITS = 40
"""Characters of a number."""
_OCTAL = re.compile(r"([-+]?)0([0-7_]+)")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NOT_READ = (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises on a value that its tag does not fit."""


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
        unread: Values that are among the mistakes: whatever else is wrong with them follows from that.
        written: How values stand there that YAML reads as something else than text.
    """

    values: dict[str, object]
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)
    written: dict[KeyPath, str] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, with an end to how much it reads and how deep."""

    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose the next node.

        Raises:
            ConfigError: There are too many, or too many in each other; the message begins with the line.
        """
        self.count += 1
        self.depth += 1
        if self.depth > _MAX_DEPTH or self.count > _MAX_WRITTEN:
            why = (
                f"nested more than {_MAX_DEPTH} deep"
                if self.depth > _MAX_DEPTH
                else f"more than {_MAX_WRITTEN:,} values"
            )
            raise ConfigError(f"{self.line + 1}:{self.column + 1}: {why}", hint="a configuration has no use for that")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        ConfigError: It is missing, no regular file, too large, not UTF-8, not YAML, empty, or no mapping.
    """
    reader = _Reader(str(path))
    text = read_text(path)
    try:
        node = _compose(text, path)
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
    mistakes = [f"{place}: {text}" for place, text in reader.mistakes]
    return Document(values, reader.keys, reader.places, mistakes, reader.unread, reader.written)


def _compose(text: str, path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except ConfigError as error:
        raise ConfigError(f"{path}:{error.message}", hint=error.hint) from error


def parse_value(text: str) -> object:
    """Read one value as YAML, as strictly as a file.

    Raises:
        ValueError: It is no YAML.
    """
    reader = _Reader("")
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = None if node is None else reader.read(node, ())
    except (yaml.YAMLError, ConfigError) as error:
        raise ValueError(f"not a YAML value: {text!r}") from error
    if reader.mistakes:
        raise ValueError(f"not a YAML value: {text!r}: {reader.mistakes[0][1]}")
    return value


def dump_yaml(values: object) -> str:
    """Write plain values as YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


class _Reader:
    """Turns nodes into plain values and notes where they stand."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._constructor = _Loader("")
        self._open: list[yaml.Node] = []
        self._count = 0
        self._blamed: set[int] = set()
        self.keys: dict[KeyPath, Place] = {}
        self.places: dict[KeyPath, Place] = {}
        self.mistakes: list[tuple[Place, str]] = []
        self.unread: set[KeyPath] = set()
        self.written: dict[KeyPath, str] = {}

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
                self.unread.add(path)
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        """Read a mapping. Its own keys win over merged ones, and of those the ones that are named first."""
        with self._inside(node, path):
            if node.tag != _MAPPING_TAG:
                self._blame(node, path, f"the tag {node.tag} is not allowed here")
                self.unread.add(path)
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
        """Return where a node begins."""
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _split(
        self, node: yaml.MappingNode, path: KeyPath
    ) -> tuple[dict[str, tuple[yaml.Node, yaml.Node]], list[yaml.MappingNode]]:
        """Tell a mapping's own keys, each once, from the mappings that it merges."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merges: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag not in (_MERGE_TAG, _STRING_TAG) or not isinstance(key_node, yaml.ScalarNode):
                shown = _clip(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a collection"
                self._blame(key_node, path, f"keys must be strings, in quotes if need be ({shown})")
                continue
            known = merges if key_node.tag == _MERGE_TAG else own
            key = key_node.value
            if (wrong := _find_control(key)) is not None:
                self._blame(key_node, path, f"a key {wrong}")
                continue
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
        wrong = _find_two_readings(node) or _find_control(node.value)
        value: object = None
        if wrong is None:
            try:
                value = self._constructor.construct_object(node)
            except _NOT_READ as error:
                kind = node.tag.rpartition(":")[2]
                words = str(error) if kind == "timestamp" and isinstance(error, ValueError) else ""
                problem = getattr(error, "problem", None) or words or f"cannot be read as {kind}"
                wrong = f"{problem} ({_clip(node.value)})"
        if wrong is not None:
            self._blame(node, path, wrong)
            self.unread.add(path)
        elif not isinstance(value, str):
            self.written[path] = node.value
        return value

    @contextmanager
    def _inside(self, node: yaml.Node, path: KeyPath) -> Iterator[None]:
        self._count += 1
        if node in self._open or self._count > _MAX_NODES:
            why = "an alias that contains itself" if node in self._open else f"more than {_MAX_NODES:,} values"
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


def _find_two_readings(node: yaml.ScalarNode) -> str | None:
    """Describe what is wrong with a number that people and programs read in two ways; None where nothing is."""
    if node.style is not None or node.tag not in _NUMBERS:
        return None
    text = node.value
    if len(text) > _MAX_DIGITS:
        return f"is a number of {len(text):,} characters ({_clip(text)})"
    if (octal := _OCTAL.fullmatch(text)) and text.strip("+-0_"):
        digits = octal[2].replace("_", "")
        eight, ten = (f"{octal[1]}{int(digits, base)}" for base in (8, 10))
        return f"{text} is {eight} in YAML 1.1 (base 8) and {ten} elsewhere: write {eight}, {ten} or, as text, '{text}'"
    if _BASE_60.fullmatch(text):
        value = math.fsum(float(part) * 60**place for place, part in enumerate(reversed(_parts(text))))
        return f"{text} is {value:g} in YAML 1.1 (base 60): write {value:g} or, as text, '{text}'"
    return None


def _parts(text: str) -> list[str]:
    return text.replace("_", "").split(":")


def _find_control(text: str) -> str | None:
    """Return which character text has that no value may have; None where it has none."""
    strange = next((c for c in text if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\t\n\r"), None)
    return None if strange is None else f"has the character U+{ord(strange):04X}, which no value may have"


def _clip(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
