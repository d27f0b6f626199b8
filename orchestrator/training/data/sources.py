"""Data sets that are stored, wherever they lie: opened, looked at, and told what is wrong with them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.config.models import DataConfig, ValueRange
from orchestrator.storage.cache import Cache
from orchestrator.training.data.duplicates import count_shared
from orchestrator.training.data.encoded import NO_LABEL, REPAIR_HINT, EncodedImages, Survey, survey_images
from orchestrator.training.data.opened import Opened
from orchestrator.training.data.opening import open_rows
from orchestrator.training.data.quality import BrokenImage, describe_broken
from orchestrator.training.data.splits import SPLITS, TEST, TRAIN, VALIDATION, name_splits
from orchestrator.training.data.subset import choose_subset
from orchestrator.training.images.cache import CachedImages, open_stored
from orchestrator.training.images.depth import find_value_range
from orchestrator.training.problems import Problems

_ADJECTIVES = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set that was opened.

    Attributes:
        splits: Train, validation and test, without what was skipped; as they are stored where a problem keeps them
            from being told apart.
        problems: Why it cannot be used.
        broken: The images that cannot be used, as far as they were looked for.
        survey: What every image is, or the broken ones only; empty where they were not looked at.
        opened: How it was read, and what was left out.
        value_range: What becomes black and white in images of more than 8 bits a channel; None: there are none.
        decoded: Their pixels, where they are cached.
    """

    splits: dict[str, EncodedImages]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    problems: Problems
    broken: tuple[BrokenImage, ...]
    survey: Survey
    opened: Opened
    value_range: ValueRange | None = None
    decoded: CachedImages | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over class names, splits, labels and encoded images; the order of rows does not count."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for name, images in self.splits.items():
            digest.update(f"{name}:{len(images)}:".encode())
            for label, image in zip(images.labels, images.digests, strict=True):
                digest.update(f"{label}:".encode() + image)
        return digest.hexdigest()


def open_source(config: DataConfig, *, decode: bool = False, cache: Cache | None = None) -> Source:
    """Open a data set and make sure that it can be used.

    Args:
        config: Which, and how.
        decode: Decode every image once, to find the broken ones. Those of a data set with `on_corrupt: skip` are
            looked for in any case, since they are left out.
        cache: Keeps decoded images: those that it has need not be decoded, and it gets the others.

    Raises:
        ConfigError: The data set is not as it must be; all problems at once.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    source = examine_source(config, decode=decode or config.on_corrupt == "skip", cache=cache)
    source.problems.raise_any()
    return source


def examine_source(config: DataConfig, *, decode: bool, cache: Cache | None = None) -> Source:
    """Open a data set and gather its problems.

    Args:
        config: Which, and how.
        decode: Decode every image once, to find the broken ones.
        cache: Keeps decoded images; with it, `survey` names the broken ones only.

    Raises:
        ConfigError: It cannot be read, or has no columns of images and labels.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    problems = Problems()
    opened = open_rows(config, problems)
    stored = {
        split: EncodedImages(rows, opened.class_names, split, config.source, bounds=opened.bounds, problems=problems)
        for split, rows in opened.rows.items()
    }
    total = sum(map(len, stored.values()))
    value_range, ranged = _settle_values(stored, total, config, problems, look=decode)
    notes = [*opened.notes, *ranged]
    survey, decoded = _survey(stored, config, value_range, cache, decode=decode)
    whole, broken = _take_out(stored, survey)
    notes += _report_broken(broken, total, config, problems)
    # what is to be repaired counts as whole, so that only what is wrong besides is a problem of its own
    splits = whole if config.on_corrupt == "skip" else stored
    class_names = opened.class_names
    if not any(NO_LABEL in images.labels for images in splits.values()):
        with problems.noting():
            splits, made = name_splits(splits, config)
            splits, class_names, left_out = _take_subset(splits, class_names, config)
            notes += [*made, *left_out, *_note_classes(splits, class_names, config, problems)]
            notes += _note_shared(splits, config)
    return Source(
        splits=splits,
        class_names=class_names,
        notes=tuple(notes),
        problems=problems,
        broken=tuple(broken),
        survey=survey,
        opened=opened,
        value_range=value_range,
        decoded=decoded,
    )


def _settle_values(
    stored: Mapping[str, EncodedImages], total: int, config: DataConfig, problems: Problems, *, look: bool
) -> tuple[ValueRange | None, list[str]]:
    """Settle what becomes black and white; where it is told, images are looked at only to say what they have."""
    if isinstance(config.value_range, tuple) and not look:
        found: tuple[ValueRange | None, list[str]] = (config.value_range, [])
    else:
        found = find_value_range(stored.values(), total, config, problems)
    for images in stored.values():
        images.value_range = found[0]
    return found


def _survey(
    stored: Mapping[str, EncodedImages],
    config: DataConfig,
    value_range: ValueRange | None,
    cache: Cache | None,
    *,
    decode: bool,
) -> tuple[Survey, CachedImages | None]:
    """Look at every image; where the cache has them, or gets them now, it says which are broken."""
    decoded = open_stored(cache, stored.values(), config, value_range) if cache else None
    if decoded is not None:
        return decoded.broken, decoded
    return (survey_images(stored.values(), config.loader_workers) if decode else {}), None


def _take_out(
    stored: Mapping[str, EncodedImages], survey: Survey
) -> tuple[dict[str, EncodedImages], list[BrokenImage]]:
    """Take the broken images out of all splits."""
    whole, broken = {}, []
    for name, images in stored.items():
        rows, found = images.find_broken(survey)
        whole[name] = images.select(rows)
        broken += found
    return whole, broken


def _take_subset(
    splits: Mapping[str, EncodedImages], class_names: tuple[str, ...], config: DataConfig
) -> tuple[dict[str, EncodedImages], tuple[str, ...], tuple[str, ...]]:
    """Keep the images that the configuration asks for, with the names of their classes and notes."""
    subset = choose_subset({split: images.labels for split, images in splits.items()}, class_names, config)
    if subset is None:
        return dict(splits), class_names, ()
    kept = {
        split: images.keep(subset.rows[split], subset.labels[split], subset.class_names)
        for split, images in splits.items()
    }
    return kept, subset.class_names, subset.notes


def _report_broken(broken: Sequence[BrokenImage], total: int, config: DataConfig, problems: Problems) -> list[str]:
    """Note broken images as problems, a line a kind, or say in a note that they are left out."""
    lines = describe_broken(broken)
    if config.on_corrupt == "fail":
        for text in lines:
            problems.add(f"{config.source}: {text}", hint=REPAIR_HINT)
        return []
    if not broken:
        return []
    which = f"{len(broken)} of {total} images are broken and left out (data.on_corrupt=skip)"
    return [f"{config.source}: {which}: {'; '.join(lines)}"]


def _note_classes(
    splits: Mapping[str, EncodedImages], names: tuple[str, ...], config: DataConfig, problems: Problems
) -> list[str]:
    """Note classes that cannot be trained as problems, and give notes on those that cannot be evaluated."""
    if len(names) < 2:
        problems.add(
            f"{config.source} has one class only: {', '.join(names) or 'none'}", hint="there is nothing to tell apart"
        )
    notes = []
    for split in SPLITS:
        counts = np.bincount(splits[split].labels, minlength=len(names))
        empty = [name for name, count in zip(names, counts, strict=True) if count == 0]
        if not empty:
            continue
        which = f"{len(empty)} of {len(names)} classes have no {_ADJECTIVES[split]} images: {', '.join(empty[:10])}"
        if split == TRAIN:
            problems.add(f"{config.source}: {which}", hint="add images, or leave the class out with data.classes")
        else:
            notes.append(f"{config.source}: {which}; the accuracy there says nothing of them")
    return notes


def _note_shared(splits: Mapping[str, EncodedImages], config: DataConfig) -> list[str]:
    counts = [
        f"{count} of {len(splits[later])} {later} images are in {earlier} too"
        for earlier, later in ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST))
        if (count := count_shared(splits[earlier].digests, splits[later].digests))
    ]
    if not counts:
        return []
    note = f"exact duplicates across splits inflate the accuracy: {', '.join(counts)}"
    return [f"{config.source}: {note}; `orchestrator data check` names them"]
