"""A data source that was opened: rows of images and labels by split, and an account of what is not used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset, concatenate_datasets

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.columns import find_columns
from orchestrator.training.data.quality import LeftOut
from orchestrator.training.data.rows import Bounds, StoredRows, TableRows
from orchestrator.training.folders.split_names import SPLITS, TRAIN, canonical_name
from orchestrator.training.folders.walk import show


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A data source that was opened; no image was read.

    Attributes:
        rows: Images and labels of each split that there is.
        class_names: By label.
        bounds: Where files must lie; None: anywhere.
        notes: What a user should hear.
        left_out: Files that are not used.
        files: Files that are used; None where they are not known one by one.
        reading: How the source is read, in words.
    """

    rows: Mapping[str, StoredRows]
    class_names: tuple[str, ...]
    bounds: Bounds | None = None
    notes: Sequence[str] = ()
    left_out: tuple[LeftOut, ...] = ()
    files: int | None = None
    reading: str = ""


def read_columns(found: Mapping[str, Dataset], config: DataConfig) -> tuple[dict[str, TableRows], tuple[str, ...]]:
    """Find images and labels in tables; also returned are the names of the classes.

    Raises:
        ConfigError: They have no such columns.
    """
    columns = find_columns(found, config)
    return {split: TableRows(dataset, columns) for split, dataset in found.items()}, columns.class_names


def assign_stored(found: Mapping[str, Dataset], config: DataConfig) -> tuple[dict[str, Dataset], list[str]]:
    """Find train, validation and test among stored splits; also returned are the names of those that are none.

    Raises:
        ConfigError: Several are the same split, one that was told is not there, or none is the training split.
    """
    named: dict[str, list[str]] = {}
    if config.splits is not None:
        for split, name in config.splits.items():
            if name not in found:
                raise ConfigError(
                    f"data.splits.{split}: {config.source} has no split {name!r}; it has {', '.join(map(show, found))}"
                )
            named.setdefault(split, []).append(name)
    else:
        for name in found:
            if canonical := canonical_name(name):
                named.setdefault(canonical, []).append(name)
        for split, names in named.items():
            if len(names) > 1:
                raise ConfigError(
                    f"data.source: {config.source} has several splits that can be its {split} split: "
                    f"{', '.join(names)}",
                    hint=f"choose with data.splits, such as {split}: {names[0]}",
                )
    if TRAIN not in named:
        raise ConfigError(
            f"{config.source} has no train split; it has {', '.join(map(show, found)) or 'none'}",
            hint=f"say with data.splits which is the training split, such as {{train: {next(iter(found), 'train')}}}",
        )
    used = {name for names in named.values() for name in names}
    splits = {split: concatenate_datasets([found[name] for name in named[split]]) for split in SPLITS if split in named}
    return splits, [name for name in found if name not in used]
