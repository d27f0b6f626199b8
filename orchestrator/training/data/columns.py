"""Which columns hold the images and the labels, and what the labels are called."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, Image, Value

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.problems import Problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the two columns, and of the classes by label.

    Attributes:
        numbers: Label of each value that stands in the column; None where the column holds labels as they are.
    """

    image: str
    label: str
    class_names: tuple[str, ...]
    numbers: dict[Any, int] | None


def find_columns(splits: Mapping[str, Dataset], config: DataConfig) -> Columns:
    """Find the image and the label column by type, or as configured.

    Raises:
        ConfigError: There is none, more than one, or the configured one does not exist or has no fitting type.
    """
    features = next(iter(splits.values())).features
    for name, dataset in splits.items():
        if set(dataset.features) != set(features):
            raise ConfigError(
                f"{config.source}: split {name} has columns {', '.join(dataset.features)}, "
                f"others have {', '.join(features)}"
            )
    problems = Problems()
    image = label = ""
    with problems.noting():
        image = config.image_column or _only(features, Image, "image", config)
        _require_column(features, image, "image_column", config)
        _check_image_type(features[image], image, config)
    with problems.noting():
        label = config.label_column or _only(features, ClassLabel, "label", config)
        _require_column(features, label, "label_column", config)
    problems.raise_any()
    names, numbers = _classes(splits, label, config)
    return Columns(image=image, label=label, class_names=names, numbers=numbers)


def _require_column(features: Mapping[str, object], column: str, key: str, config: DataConfig) -> None:
    if column not in features:
        raise ConfigError(f"data.{key}: {config.source} has no column {column!r}; it has {', '.join(features)}")


def _only(features: Mapping[str, object], kind: type, what: str, config: DataConfig) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(f"{name} ({_type_name(feature)})" for name, feature in features.items())
    if found:
        raise ConfigError(
            f"{config.source} has {len(found)} {what} columns: {', '.join(found)}",
            hint=f"choose one with data.{what}_column",
        )
    raise ConfigError(
        f"{config.source} has no {what} column of type {kind.__name__}; it has {columns}",
        hint=f"name it with data.{what}_column",
    )


def _type_name(feature: object) -> str:
    return str(feature.dtype) if isinstance(feature, Value) else type(feature).__name__


def _check_image_type(feature: object, column: str, config: DataConfig) -> None:
    stored = isinstance(feature, Mapping) and "bytes" in feature
    binary = isinstance(feature, Value) and feature.dtype in {"binary", "large_binary"}
    if not (isinstance(feature, Image) or stored or binary):
        raise ConfigError(
            f"data.image_column: column {column!r} of {config.source} holds {_type_name(feature)}, no encoded images"
        )


def _classes(
    splits: Mapping[str, Dataset], column: str, config: DataConfig
) -> tuple[tuple[str, ...], dict[Any, int] | None]:
    feature = next(iter(splits.values())).features[column]
    if isinstance(feature, ClassLabel):
        return tuple(feature.names), None
    if not (isinstance(feature, Value) and (feature.dtype.startswith(("int", "uint")) or "string" in feature.dtype)):
        raise ConfigError(
            f"data.label_column: column {column!r} of {config.source} holds {_type_name(feature)}, "
            "neither class labels nor whole numbers nor strings"
        )
    values = {value for dataset in splits.values() for value in read_column(dataset, column)} - {None, -1}
    ordered = sorted(values)
    return tuple(str(value) for value in ordered), {value: number for number, value in enumerate(ordered)}


def read_column(dataset: Dataset, column: str) -> list[Any]:
    """Read a whole column as plain values."""
    values: list[Any] = dataset.select_columns([column])[:][column]
    return values
