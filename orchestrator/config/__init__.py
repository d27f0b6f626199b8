"""Configuration: `experiments.yaml` -> frozen, typed values. The only room that imports yaml."""

from orchestrator.config.models import Experiment
from orchestrator.config.resolve import (
    Resolved,
    check_file,
    config_hash,
    experiment_names,
    load_experiment,
    resolve_experiment,
    to_yaml,
)
from orchestrator.config.schema import json_schema

__all__ = [
    "Experiment",
    "Resolved",
    "check_file",
    "config_hash",
    "experiment_names",
    "json_schema",
    "load_experiment",
    "resolve_experiment",
    "to_yaml",
]
