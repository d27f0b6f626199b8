"""Data sets read through Hugging Face `datasets`: a hub name, a folder of Parquet files, or an image folder."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import HfHubHTTPError

from orchestrator.cache import Cache
from orchestrator.config.models import DataConfig, ValueRange
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.columns import find_columns
from orchestrator.training.depth import find_value_range
from orchestrator.training.duplicates import count_shared
from orchestrator.training.encoded import NO_LABEL, REPAIR_HINT, EncodedImages, Survey, survey_images
from orchestrator.training.folders import (
    allowed_folders,
    find_empty_tables,
    note_empty_folders,
    require_inner_links,
)
from orchestrator.training.image_cache import CachedImages, open_stored
from orchestrator.training.problems import Problems
from orchestrator.training.quality import BrokenImage
from orchestrator.training.splits import SPLITS, TEST, TRAIN, VALIDATION, name_splits
from orchestrator.training.subset import choose_subset

# the HTTP library's base class stands among the bases of the client's own error, whichever library that is
_HUB_ERRORS = tuple(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)
_UNUSABLE = (DataFilesNotFoundError, EmptyDatasetError, DatasetsError, ValueError, RuntimeError)
_SCRIPT = "scripts are no longer supported"
_ADJECTIVES = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
_OFFLINE_HINT = (
    "connect once, or set HF_HUB_OFFLINE=1 if it is cached, or point data.source at a local folder; "
    "`make demo` needs no download"
)

_SHOWN = 20
"""Broken images that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set that was opened.

    Attributes:
        splits: Train, validation and test, without what was skipped; as they are stored where a problem keeps them
            from being told apart.
        problems: Why it cannot be used.
        broken: The images that cannot be used, as far as they were looked for.
        survey: What every image is, or the broken ones only; empty where they were not looked at.
        value_range: What becomes black and white in images of more than 8 bits a channel; None: there are none.
        decoded: Their pixels, where they are cached.
    """

    splits: dict[str, EncodedImages]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    problems: Problems
    broken: tuple[BrokenImage, ...]
    survey: Survey
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


def examine_source(
    config: DataConfig, *, decode: bool, most: int | None = _SHOWN, cache: Cache | None = None
) -> Source:
    """Open a data set and gather its problems.

    Args:
        config: Which, and how.
        decode: Decode every image once, to find the broken ones.
        most: Broken images that are named in problems and notes, the others are counted; None: all.
        cache: Keeps decoded images; with it, `survey` names the broken ones only.

    Raises:
        ConfigError: It cannot be read, or has no columns of images and labels.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    found = _load(config)
    columns = find_columns(found, config)
    problems = Problems()
    folder = _local_folder(config)
    within = allowed_folders(folder) if folder else None
    stored = {
        name: EncodedImages(dataset, columns, name, config.source, within=within, problems=problems)
        for name, dataset in found.items()
    }
    if folder and columns.numbers is None:
        note_empty_folders(folder, columns.class_names, config.source, problems)
    total = sum(map(len, stored.values()))
    value_range, notes = _settle_values(stored, total, config, problems, look=decode)
    survey, decoded = _survey(stored, config, value_range, cache, decode=decode)
    whole, broken = _take_out(stored, survey)
    notes += _report_broken(broken, most, total, config, problems)
    # what is to be repaired counts as whole, so that only what is wrong besides is a problem of its own
    splits = whole if config.on_corrupt == "skip" else stored
    class_names = columns.class_names
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
        value_range=value_range,
        decoded=decoded,
    )


def _load(config: DataConfig) -> Mapping[str, Dataset]:
    folder = _local_folder(config)
    if folder:
        require_inner_links(folder, config.source)
    try:
        with _quiet(hide=folder is not None or not sys.stderr.isatty()):
            found = (
                datasets.load_dataset(str(folder))
                if folder
                else datasets.load_dataset(config.source, revision=config.revision)
            )
    except DatasetNotFoundError as error:
        raise SetupError(
            f"data.source: the hub has no data set {config.source!r} (revision {config.revision or 'newest'}), "
            f"or it is private: {error}",
            hint="check the name and `hf auth login`",
        ) from error
    except _UNUSABLE as error:
        raise _unusable(config, folder, error) from error
    except _HUB_ERRORS as error:
        if folder:
            raise _unusable(config, folder, error) from error
        raise SetupError(
            f"data.source: {config.source!r} (revision {config.revision or 'newest'}) is not in the cache "
            f"({datasets.config.HF_DATASETS_CACHE}) and cannot be downloaded: {error}",
            hint=_OFFLINE_HINT,
        ) from error
    if not isinstance(found, DatasetDict):
        raise ConfigError(f"data.source: {config.source} gives a {type(found).__name__}, not splits")
    return dict(found)


def _local_folder(config: DataConfig) -> Path | None:
    """Name the folder that the source is; None where it is on the hub."""
    folder = Path(config.source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or config.source.startswith(("/", ".", "~")) or config.source.count("/") > 1:
        what = "is no folder" if folder.exists() else "does not exist"
        raise ConfigError(f"data.source: {config.source} {what}", hint="give a folder, a hub name, or `synthetic`")
    return None


def _unusable(config: DataConfig, folder: Path | None, error: Exception) -> ConfigError:
    reason = str(error.__cause__ or error)
    if _SCRIPT in reason:
        return ConfigError(
            f"data.source: {config.source} has a loading script ({reason.rpartition(' ')[2]}); a script is a program, "
            "would need trust_remote_code, and is never run",
            hint="convert the data set to Parquet or to a folder of images, and point data.source there",
        )
    empty = find_empty_tables(folder) if folder else []
    if empty:
        return ConfigError(
            f"data.source: {config.source} has an empty split: {', '.join(map(str, empty))} without a row",
            hint="fill it, or remove the file: a missing validation or test split is split off the training images",
        )
    return ConfigError(
        f"data.source: {config.source} cannot be read as a data set: {reason}",
        hint="a folder holds Parquet files named train-, validation- and test-, or a folder of images a class",
    )


@contextmanager
def _quiet(*, hide: bool) -> Iterator[None]:
    shown = datasets.is_progress_bar_enabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


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


def _report_broken(
    broken: Sequence[BrokenImage], most: int | None, total: int, config: DataConfig, problems: Problems
) -> list[str]:
    """Note broken images as problems, or say in a note that they are left out."""
    shown = list(map(str, broken[:most]))
    rest = len(broken) - len(shown)
    if config.on_corrupt == "fail":
        for text in shown:
            problems.add(f"{config.source}: {text}", hint=REPAIR_HINT)
        if rest:
            problems.add(f"{config.source}: {rest} more images are broken; `orchestrator data check` names them")
        return []
    if not broken:
        return []
    named = "; ".join([*shown, *([f"and {rest} more"] if rest else [])])
    which = f"{len(broken)} of {total} images are broken and left out (data.on_corrupt=skip)"
    return [f"{config.source}: {which}: {named}"]


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
