"""The data set of a run as MLflow shows it, without loading the library that loads it."""

import json
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from orchestrator.config.models import BUILT_IN_SOURCES, SYNTHETIC, DataConfig
from orchestrator.masking import mask_credentials
from orchestrator.records.facts import DatasetInfo

_DIGEST_LIMIT = 36
_NAME_LIMIT = 500


def build_dataset_input(info: DatasetInfo, config: DataConfig) -> DatasetInput:
    """Describe the data set of a run: name, digest (the head of its fingerprint), source, sizes of its splits."""
    source_type, source = _describe_source(config)
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


def _describe_source(config: DataConfig) -> tuple[str, dict[str, object]]:
    if config.source == SYNTHETIC:
        return SYNTHETIC, config.synthetic.model_dump(mode="json")
    if config.source in BUILT_IN_SOURCES:
        return config.source.partition("/")[0], {"name": config.source}
    path = Path(config.source).expanduser()
    if path.exists():
        return "local", {"uri": path.resolve().as_uri()}
    return "hugging_face", {"path": config.source, "revision": config.revision}
