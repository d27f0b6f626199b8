"""Which blocks of a pretrained network should I freeze? A sweep that answers with a Pareto front."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.app.plan import plan_sweep
    from orchestrator.app.sweep import run_sweep
    from orchestrator.backbones import Backbone
    from orchestrator.blocks import FrozenSet, Tuning
    from orchestrator.config import load_experiment
    from orchestrator.config.models import Experiment
    from orchestrator.config.sources import NamedSource
    from orchestrator.errors import (
        ConfigError,
        NotFoundError,
        OrchestratorError,
        RunError,
        SetupError,
        SweepError,
    )
    from orchestrator.results import Recommendation, Sweep, Trial, load_sweep
    from orchestrator.search.block_sampler import BlockSampler
    from orchestrator.training.data.collection import ArrayImages, Collection

__all__ = [
    "ArrayImages",
    "Backbone",
    "BlockSampler",
    "Collection",
    "ConfigError",
    "Experiment",
    "FrozenSet",
    "NamedSource",
    "NotFoundError",
    "OrchestratorError",
    "Recommendation",
    "RunError",
    "SetupError",
    "Sweep",
    "SweepError",
    "Trial",
    "Tuning",
    "load_experiment",
    "load_sweep",
    "plan_sweep",
    "run_sweep",
]

_MODULES = {
    "app.plan": ("plan_sweep",),
    "app.sweep": ("run_sweep",),
    "backbones": ("Backbone",),
    "blocks": ("FrozenSet", "Tuning"),
    "config": ("load_experiment",),
    "config.models": ("Experiment",),
    "config.sources": ("NamedSource",),
    "errors": ("ConfigError", "NotFoundError", "OrchestratorError", "RunError", "SetupError", "SweepError"),
    "results": ("Recommendation", "Sweep", "Trial", "load_sweep"),
    "search.block_sampler": ("BlockSampler",),
    "training.data.collection": ("ArrayImages", "Collection"),
}
"""Where each name comes from. It is loaded when it is asked for: the command line starts without most of it."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
