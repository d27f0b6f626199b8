"""Data sets on disk: every image has one colour, which tells its label and its number."""

import io
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

from orchestrator.config.models import DataConfig

THREE = {"train": 4, "validation": 2, "test": 1}
NAMES = ("blight", "healthy", "rust")
FEATURES = Features({"image": datasets.Image(), "labels": ClassLabel(names=list(NAMES))})


def colour(label: int, number: int) -> tuple[int, int, int]:
    """A colour that tells the label (red) and the image (green)."""
    return (80 * label + 10, 5 * number, 0)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def draw(label: int, number: int) -> bytes:
    return encode(Image.new("RGB", (8, 8), colour(label, number)))


def config(folder: Path, **overrides) -> DataConfig:
    return DataConfig(source=str(folder), **({"image_size": 8, "loader_workers": 2} | overrides))


def write_image_folder(folder: Path, counts: dict[str, int]) -> Path:
    """A folder a class, within a folder a split; with the split "" only a folder a class."""
    for offset, (split, count) in enumerate(counts.items()):
        for label, name in enumerate(NAMES):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                (place / f"{number}.png").write_bytes(draw(label, 10 * offset + number))
    return folder


def write_parquet(folder: Path, counts: dict[str, int], image="image", label="labels", kind=None) -> Path:
    (folder / "data").mkdir(parents=True)
    kind = kind or ClassLabel(names=list(NAMES))
    for offset, (split, count) in enumerate(counts.items()):
        labels = [label for label in range(3) for _ in range(count)]
        images = [{"bytes": draw(label, 10 * offset + i % count), "path": None} for i, label in enumerate(labels)]
        values = labels if kind.dtype != "string" else [NAMES[label] for label in labels]
        features = Features({image: datasets.Image(), label: kind, "note": Value("string")})
        table = Dataset.from_dict({image: images, label: values, "note": ["x"] * len(labels)}, features=features)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def write_table(path: Path, images: list, labels: list) -> None:
    """Write a split as it is given; `datasets` itself would refuse much of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"image": images, "labels": labels}
    pq.write_table(pa.Table.from_pydict(rows, schema=FEATURES.arrow_schema), path)


def stored(*numbers: int) -> list[dict]:
    return [{"bytes": draw(number % 3, number), "path": None} for number in numbers]
