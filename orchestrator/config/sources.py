"""The kinds of `data.source`. To add one, add it to `SOURCES`, or to `_STORED` if it lies in files or on a hub.

A package adds one by an entry point in the group `freeze_orchestrator.sources`.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.config.data import DataConfig
from orchestrator.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource:
    """Images that are drawn, or that come with an installed package.

    Attributes:
        name: What `data.source` says.
        opener: Opens it, as `module:function`, from a `DataConfig`; returns a `Collection`. It is imported when it is
            needed.
        classes: Number of classes; None: known once it is opened, or by its options.
        options: Section of `data` that holds its options; `classes` in it is the number of classes.

    Example:
        >>> from orchestrator import NamedSource
        >>> STRIPES = NamedSource(name="stripes", opener="tiny_package:open_stripes", classes=2)
    """

    name: str
    opener: str
    classes: int | None = None
    options: str | None = None

    def open(self, data: DataConfig) -> Any:
        """Open it: a `Collection`."""
        return pkgutil.resolve_name(self.opener)(data)

    def count_classes(self, data: DataConfig) -> int | None:
        """Return the number of its classes; None: known once it is opened."""
        return self.classes if self.options is None else int(getattr(data, self.options).classes)

    def explain_classes(self, data: DataConfig) -> str:
        """Return why it has as many classes, for messages."""
        known = self.count_classes(data)
        return f"{self.name} has {known}" if self.options is None else f"data.{self.options}.classes is {known}"

    def describe(self, data: DataConfig) -> tuple[str, dict[str, object]]:
        """Return its type and what it is, as plain values."""
        if self.options is not None:
            return self.name, getattr(data, self.options).model_dump(mode="json")
        return self.name.partition("/")[0], {"name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource:
    """Images in files, on this machine or on a hub.

    Attributes:
        fits: Whether a path, or a name that looks like one, is of this kind.
        prefix: What says before a path that it is of this kind, whatever lies there; empty: nothing does.
        opener: Opens it, as `module:function`, from a path, a `DataConfig` and `Problems`; returns `Opened`.
        checker: Looks at it before a library is loaded that reads it, from a path and a `DataConfig`; returns a
            `Precheck`.
        is_local: Whether it lies on this machine.
    """

    fits: Callable[[Path], bool]
    opener: str
    checker: str
    prefix: str = ""
    is_local: bool = True

    def path(self, source: str) -> Path:
        """Return the path of a source."""
        return Path(source.removeprefix(self.prefix)).expanduser()

    def open(self, data: DataConfig, problems: object) -> Any:
        """Open it; see `opener`."""
        return pkgutil.resolve_name(self.opener)(self.path(data.source), data, problems)

    def check(self, data: DataConfig) -> Any:
        """Look at it; see `checker`."""
        return pkgutil.resolve_name(self.checker)(self.path(data.source), data)

    def describe(self, data: DataConfig) -> tuple[str, dict[str, object]]:
        """Return its type and where it is, as plain values."""
        if self.is_local:
            return "local", {"uri": self.path(data.source).resolve().as_uri()}
        return "hugging_face", {"path": data.source, "revision": data.revision}


SOURCES: Final = Registry(
    NamedSource,
    [
        NamedSource(
            name="synthetic", opener="orchestrator.training.data.synthetic:open_synthetic", options="synthetic"
        ),
        NamedSource(name="sklearn/digits", opener="orchestrator.training.data.digits:open_digits", classes=10),
    ],
    group="freeze_orchestrator.sources",
)
"""Sources that are known by their name; a name is looked up here before it is taken for a path."""

_STORED: Final = (
    StoredSource(
        fits=Path.is_dir,
        opener="orchestrator.training.data.local:open_folder",
        checker="orchestrator.training.preparation.precheck:check_folder",
    ),
    StoredSource(
        fits=lambda path: path.suffix.lower() == ".zip" and path.is_file(),
        opener="orchestrator.training.data.opening:open_archive",
        checker="orchestrator.training.preparation.precheck:check_archive",
    ),
    StoredSource(
        fits=lambda path: path.exists() or path.is_symlink(),
        prefix="csv:",
        opener="orchestrator.training.data.opening:open_list",
        checker="orchestrator.training.preparation.precheck:check_list",
    ),
    StoredSource(
        fits=lambda _: True,
        opener="orchestrator.training.data.opening:open_hub",
        checker="orchestrator.training.preparation.precheck:check_hub",
        is_local=False,
    ),
)
"""Kinds of stored sources; the first that fits is it."""


def find_stored(source: str) -> StoredSource:
    """Return the kind of a source that is in files or on a hub.

    Raises:
        OSError: No system takes such a path, or it may not be looked at.
    """
    path = Path(source).expanduser()
    said = (kind for kind in _STORED if kind.prefix and source.startswith(kind.prefix))
    return next(said, None) or next(kind for kind in _STORED if kind.fits(path))


def known_classes(data: DataConfig) -> int | None:
    """Count the classes of a data set, as far as they are known without it.

    Raises:
        ConfigError: An installed package adds the source and cannot be used.
    """
    if data.classes is not None:
        return len(data.classes)
    return SOURCES.find(data.source).count_classes(data) if data.source in SOURCES else None


def explain_classes(data: DataConfig) -> str:
    """Return why a data set has as many classes as `known_classes` counts, for messages."""
    if data.classes is not None:
        return f"data.classes names {len(data.classes)}"
    return SOURCES.find(data.source).explain_classes(data)
