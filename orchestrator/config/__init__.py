"""Configuration: `experiments.yaml` -> frozen, typed values. The only room that imports yaml."""

from orchestrator.config.models import Experiment
from orchestrator.config.resolve import (
    Resolved,
    check_file,
    config_hash,
    experiment_names,
    fill_option,
    load_experiment,
    resolve_experiment,
    to_yaml,
    without_credentials,
)
from orchestrator.config.schema import json_schema

__all__ = [
    "Experiment",
    "Resolved",
    "check_file",
    "config_hash",
    "experiment_names",
    "fill_option",
    "json_schema",
    "load_experiment",
    "resolve_experiment",
    "to_yaml",
    "without_credentials",
]
