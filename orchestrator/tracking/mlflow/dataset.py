"""The data set of a run as MLflow shows it, without loading the library that loads it."""

import json
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from orchestrator.config.models import DataConfig
from orchestrator.config.sources import SOURCES, find_stored
from orchestrator.masking import mask_credentials
from orchestrator.records.facts import DatasetInfo

_DIGEST_LIMIT = 36
_NAME_LIMIT = 500


def build_dataset_input(info: DatasetInfo, config: DataConfig) -> DatasetInput:
    """Describe the data set of a run: name, digest (the head of its fingerprint), source, sizes of its splits."""
    kind = SOURCES.find(config.source) if config.source in SOURCES else find_stored(config.source)
    source_type, source = kind.describe(config)
    profile = {"num_rows": sum(info.split_sizes.values()), **info.split_sizes, "classes": len(info.class_names)}
    dataset = Dataset(
        name=mask_credentials(_name(config.source))[:_NAME_LIMIT],
        digest=info.fingerprint[:_DIGEST_LIMIT],
        source_type=source_type,
        source=mask_credentials(json.dumps(source)),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def _name(source: str) -> str:
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else source
