"""Which split and which class each image of a folder belongs to, by the names of the folders that it lies in.

What is clearly one thing is read so; where two readings are possible, an error shows both and how each is told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.config.splits import SplitsConfig
from orchestrator.errors import ConfigError
from orchestrator.training.folders.split_names import SPLITS, TRAIN, canonical_name, find_split
from orchestrator.training.folders.told import find_told, tell
from orchestrator.training.folders.tree import Folder, grow
from orchestrator.training.folders.walk import Parts, show

ClassFolder = Literal["auto", "inner", "outer"]
Labelled = tuple[Parts, str]
"""An image and its class."""

NO_CLASS_FOLDER = "lie in no class folder"
NO_SPLIT_FOLDER = "lie in no folder of a split"
_CLASSES_HINT = "give each class a folder of its own, or point data.source at a CSV with the columns path and label"
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a folder of images is read.

    Attributes:
        images: The images of each split that there is, and their classes.
        loose: Images that belong to no class or split, and why, as a predicate of many.
        notes: What a user should hear of the reading.
        reading: The reading itself, in words.
    """

    images: dict[str, list[Labelled]]
    loose: list[tuple[Parts, str]]
    notes: tuple[str, ...]
    reading: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roots:
    """Where the classes of each split begin."""

    splits: dict[str, list[Folder]]
    loose: list[tuple[Parts, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    whole: bool = False
    """There are no splits: all of it is one."""


def read_layout(
    images: Iterable[Parts], source: str, *, splits: SplitsConfig | None = None, class_folder: ClassFolder = "auto"
) -> Layout:
    """Find the split and the class of each image.

    Args:
        images: Their paths in the data folder.
        source: The data folder, for messages.
        splits: Where the splits lie, where a user says so.
        class_folder: Which of several nested folders names the class.

    Raises:
        ConfigError: There are no classes, or there is more than one reading.
    """
    tree = grow(images)
    if splits is not None:
        found, outside = find_told(tree, splits, source)
        roots = _Roots(splits=found, loose=[(path, "lie in no part of data.splits") for path in outside])
    else:
        by_class = _read_splits_in_classes(tree)
        if by_class is not None:
            return by_class
        roots = _find_roots(tree, source)
    labelled, loose = _name_classes(roots, source, class_folder)
    notes, reading = roots.notes, _describe(roots, labelled)
    if roots.whole and (by_name := _split_by_name(labelled[TRAIN], source)):
        labelled, reading = by_name, f"{reading}, the splits by the names of the files"
        notes += (f"{source}: the names of the files say the splits: {_count_splits(labelled)}",)
    return Layout(images=labelled, loose=[*roots.loose, *loose], notes=notes, reading=reading)


def _find_roots(tree: Folder, source: str) -> _Roots:
    here = tree
    loose: list[tuple[Parts, str]] = []
    while True:
        inner = _unwrap(here)
        if inner is None:
            found = _judge(here, source)
            return _Roots(splits=found.splits, loose=[*loose, *found.loose], notes=found.notes, whole=found.whole)
        loose += [(path, NO_CLASS_FOLDER) for path in here.images]
        here = inner


def _unwrap(folder: Folder) -> Folder | None:
    """Return the folder below, where this one only wraps it; a folder of a split does not."""
    if len(folder.folders) != 1:
        return None
    (inner,) = folder.folders.values()
    if not inner.folders or inner.images:
        return None
    if find_split(inner.parts[-1]) is None:
        return inner
    below = {find_split(name) for name in inner.folders}
    return inner if TRAIN in below and None not in below else None


def _judge(folder: Folder, source: str) -> _Roots:
    """Decide whether the folders of a folder are splits or classes."""
    if not folder.folders:
        raise ConfigError(
            f"data.source: {source} has no classes: its {len(folder.images)} images lie in no folders of classes",
            hint=_CLASSES_HINT,
        )
    named = {name: split for name in folder.folders if (split := find_split(name))}
    others = [name for name in folder.folders if name not in named]
    if not named:
        return _as_classes(folder)
    if not others:
        return _judge_named(folder, named, source)
    return _judge_mixed(folder, named, others, source)


def _judge_named(folder: Folder, named: dict[str, str], source: str) -> _Roots:
    """Decide where all folders are called like splits."""
    exact = [name for name in named if canonical_name(name)]
    if all(not folder.folders[name].folders for name in named):
        if not exact and len(named) > 1 and len(set(named.values())) == 1:
            return _as_classes(folder)  # such as test_tube and test_plate
        where = _list(named)
        raise ConfigError(
            f"data.source: {source} can be read in two ways: (1) as the splits {where}, whose images lie in no folders "
            f"of classes; (2) as the classes {where}, without splits",
            hint=f"for (1) {_CLASSES_HINT}; for (2) set data.splits to {{train: {tell(folder.parts)}}}",
        )
    twice = {split: names for split in SPLITS if len(names := [n for n, s in named.items() if s == split]) > 1}
    for split, names in twice.items():
        if any(name in exact for name in names):
            both = ", ".join(tell((*folder.parts, name)) for name in names)
            raise ConfigError(
                f"data.source: {source} has several folders that can be its {split} split: {_list(names)}",
                hint=f"choose with data.splits, such as {split}: {tell((*folder.parts, names[0]))}, or take them "
                f"together: {split}: [{both}]",
            )
    if TRAIN not in named.values():
        raise ConfigError(
            f"{source} has no train split; it has {_list(named)}",
            hint="say with data.splits which folder is the training split",
        )
    return _as_splits(folder, named)


def _judge_mixed(folder: Folder, named: dict[str, str], others: list[str], source: str) -> _Roots:
    """Decide where some folders are called like splits and some are not."""
    exact = [name for name in named if canonical_name(name)]
    kinds = set(named.values())
    hold_classes = all(folder.folders[name].folders and not folder.folders[name].images for name in named)
    distinct = len(kinds) == len(named)
    if TRAIN in kinds and len(kinds) > 1 and distinct and len(exact) == len(named) and hold_classes:
        return _as_splits(folder, named)
    flat = all(not inner.folders for inner in folder.folders.values())
    if flat and len(kinds) == 1 and (not exact or len(others) > 1):
        notes = (f"{source}: {_list(exact)} is read as a class, like {_list(others)} beside it",) if exact else ()
        roots = _as_classes(folder)
        return _Roots(splits=roots.splits, loose=roots.loose, notes=notes, whole=True)
    left = sum(folder.folders[name].count() for name in others)
    told = ", ".join(f"{split}: {tell((*folder.parts, name))}" for name, split in named.items())
    raise ConfigError(
        f"data.source: {source} can be read in two ways: (1) as the splits {_list(named)}, and the {left} images in "
        f"{_list(others)} belong to none; (2) as the classes {_list(folder.folders)}, without splits",
        hint=f"for (1) set data.splits to {{{told}}} and data.on_unread to skip, which leaves {_list(others)} out; "
        f"for (2) set data.splits to {{train: {tell(folder.parts)}}}",
    )


def _as_classes(folder: Folder) -> _Roots:
    return _Roots(splits={TRAIN: [folder]}, whole=True)


def _as_splits(folder: Folder, named: dict[str, str]) -> _Roots:
    loose = [(path, NO_SPLIT_FOLDER) for path in folder.images]
    for name, inner in folder.folders.items():
        if name not in named:
            loose += [(path, NO_SPLIT_FOLDER) for path in inner.walk()]
    splits = {
        split: [folder.folders[name] for name, which in named.items() if which == split]
        for split in SPLITS
        if split in named.values()
    }
    return _Roots(splits=splits, loose=loose)


def _read_splits_in_classes(tree: Folder) -> Layout | None:
    """Read folders of splits within folders of classes; None where it is not so throughout."""
    here = tree
    loose: list[tuple[Parts, str]] = []
    while (inner := _unwrap(here)) is not None:
        loose += [(path, NO_CLASS_FOLDER) for path in here.images]
        here = inner
    loose += [(path, NO_CLASS_FOLDER) for path in here.images]
    if len(here.folders) < 2 or any(find_split(name) for name in here.folders):
        return None
    found: dict[str, list[Labelled]] = {}
    for name, folder in here.folders.items():
        if folder.images or not folder.folders:
            return None
        splits = [canonical_name(inner) for inner in folder.folders]
        if len(set(splits)) < len(splits):
            return None
        for split, inner in zip(splits, folder.folders.values(), strict=True):
            if split is None or inner.folders:
                return None
            found.setdefault(split, []).extend((path, name) for path in inner.images)
    if TRAIN not in found:
        return None
    labelled = {split: found[split] for split in SPLITS if split in found}
    return Layout(images=labelled, loose=loose, notes=(), reading="folders of splits within folders of classes")


def _name_classes(
    roots: _Roots, source: str, class_folder: ClassFolder
) -> tuple[dict[str, list[Labelled]], list[tuple[Parts, str]]]:
    """Name the class of each image by one of the folders between it and the root of its split."""
    labelled: dict[str, list[Labelled]] = {split: [] for split in roots.splits}
    loose, deep = [], []
    for split, folders in roots.splits.items():
        for root in folders:
            top = root
            while class_folder != "inner" and (inner := _unwrap_split(top)) is not None:
                top = inner
            for path in root.walk():
                between = path[len(top.parts) : -1]
                if not between:
                    loose.append((path, NO_CLASS_FOLDER))
                    continue
                deep.append((path, between))
                labelled[split].append((path, between[-1 if class_folder == "inner" else 0]))
    if not deep:
        raise ConfigError(
            f"data.source: {source} has no classes: its {len(loose)} images lie in no folders of classes",
            hint=_CLASSES_HINT,
        )
    if class_folder == "auto" and any(len(between) > 1 for _, between in deep):
        raise _doubt_classes(deep, source)
    return {split: found for split, found in labelled.items() if found}, loose


def _unwrap_split(folder: Folder) -> Folder | None:
    """Return the folder below, where all of a split lies in it, as in `train/images/rust/1.png`."""
    if folder.images or len(folder.folders) != 1:
        return None
    (inner,) = folder.folders.values()
    return inner if inner.folders and not inner.images else None


def _doubt_classes(deep: Sequence[tuple[Parts, Parts]], source: str) -> ConfigError:
    outer = dict.fromkeys(between[0] for _, between in deep)
    inner = dict.fromkeys(between[-1] for _, between in deep)
    example = next(path for path, between in deep if len(between) > 1)
    return ConfigError(
        f"data.source: {source} can be read in two ways, since images lie several folders deep, such as "
        f"{show('/'.join(example))}: (1) the outer folders are the classes: {_list(sorted(outer))}; (2) the inner "
        f"folders are: {_list(sorted(inner))}",
        hint="for (1) set data.class_folder to outer, for (2) to inner",
    )


def _split_by_name(images: list[Labelled], source: str) -> dict[str, list[Labelled]] | None:
    """Sort images into splits where the names of all files say them; None where none does.

    Raises:
        ConfigError: Some do, and others do not.
    """
    found: dict[str | None, list[Labelled]] = {}
    for path, label in images:
        found.setdefault(find_split(path[-1].rpartition(".")[0] or path[-1]), []).append((path, label))
    kinds = set(found) - {None}
    if not kinds - {TRAIN} or len(found) == 1:
        return None
    if None not in found and TRAIN in kinds:
        return {split: found[split] for split in SPLITS if split in found}
    counts = ", ".join(f"{len(found[split])} {split}" for split in SPLITS if split in found)
    rest = f"{len(found[None])} say none" if None in found else "none says train"
    raise ConfigError(
        f"data.source: {source} can be read in two ways: (1) the names of files say the splits ({counts}, such as "
        f"{show('/'.join(next(found[split][0][0] for split in reversed(SPLITS) if split in found)))}), and {rest}; "
        "(2) the names say nothing, and there are no splits",
        hint="for (1) move the images of each split into a folder of its own; for (2) set data.splits to {train: .}",
    )


def _describe(roots: _Roots, images: dict[str, list[Labelled]]) -> str:
    if roots.whole:
        return "folders of classes, without splits"
    where = ", ".join(
        f"{split} from {' and '.join(show('/'.join(folder.parts) or '.') for folder in roots.splits[split])}"
        for split in images
    )
    return f"folders of classes; {where}"


def _count_splits(images: dict[str, list[Labelled]]) -> str:
    return ", ".join(f"{len(found)} {split}" for split, found in images.items())


def _list(names: Iterable[str]) -> str:
    every = list(map(show, names))
    rest = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + rest
