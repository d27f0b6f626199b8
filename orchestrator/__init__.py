"""Which blocks of a pretrained network should I freeze? A sweep that answers with a Pareto front."""

from orchestrator.app import plan_sweep, run_sweep
from orchestrator.blocks import FrozenSet
from orchestrator.config import load_experiment
from orchestrator.config.models import Experiment
from orchestrator.errors import (
    ConfigError,
    NotFoundError,
    OrchestratorError,
    RunError,
    SetupError,
    SweepError,
)
from orchestrator.results import Sweep, Trial, load_sweep

__all__ = [
    "ConfigError",
    "Experiment",
    "FrozenSet",
    "NotFoundError",
    "OrchestratorError",
    "RunError",
    "SetupError",
    "Sweep",
    "SweepError",
    "Trial",
    "load_experiment",
    "load_sweep",
    "plan_sweep",
    "run_sweep",
]
