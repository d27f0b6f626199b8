"""The parts of a sweep, each built from its configuration."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Final

from orchestrator.config.models import Experiment
from orchestrator.interfaces import Executor, Search, Tracker
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.sweep.full import FullStrategy
from orchestrator.sweep.strategy import Strategy

if TYPE_CHECKING:
    from orchestrator.execution.calls import Call

RUN_FUNCTION = "orchestrator.training.run.run:run_training"
PREPARATION = "orchestrator.training.preparation.prepare"


def workers_loading(experiment: Experiment) -> AbstractContextManager[None]:
    """Let the fork server load libraries while this process loads its own and opens the stores."""
    if experiment.execution.mode == "inline":
        return nullcontext()
    from orchestrator.execution.processes import loading_ahead

    return loading_ahead(RUN_FUNCTION, first=PREPARATION)


def calling(experiment: Experiment, function: str, *args: object) -> "AbstractContextManager[Call]":
    """Call a function that needs the libraries that train: in a process of its own, where runs happen in such."""
    from orchestrator.execution.calls import calling_apart, calling_here

    if experiment.execution.mode == "inline":
        return calling_here(function, *args)
    return calling_apart(RUN_FUNCTION, function, *args)


def build_strategy(prepared: Prepared, search: Search, ledger: Ledger) -> Strategy:
    """Build what decides which runs a sweep starts."""
    if prepared.experiment.search.strategy == "race":
        from orchestrator.sweep.race import RaceStrategy

        return RaceStrategy(prepared, search, ledger)
    return FullStrategy(prepared, search)


def build_executor(prepared: Prepared) -> Executor:
    """Build the place where runs happen, as the module does that `execution.mode` names.

    Args:
        prepared: With its `auto` values concrete, but for `execution.workers` where nothing is to run.
    """
    adapter = import_module(f"orchestrator.execution.{prepared.experiment.execution.mode}")
    executor: Executor = adapter.build(prepared, RUN_FUNCTION)
    return executor


def _build_mlflow(root: Root, experiment: Experiment, say: Callable[[str], None]) -> Tracker:
    """Build the tracker of MLflow, which is loaded, and a store that is a file gets its tables: that takes seconds."""
    say(Step("loading MLflow"))
    from orchestrator.tracking.mlflow.spooling import SpoolingTracker
    from orchestrator.tracking.mlflow.tracker import MlflowTracker

    mlflow = MlflowTracker(root, experiment.name, experiment.tracking.mlflow_uri, say)
    say(Step("opening the MLflow store"))
    mlflow.make_ready()
    return SpoolingTracker(mlflow, root, experiment.name, say)


def _build_tensorboard(root: Root, experiment: Experiment, say: Callable[[str], None]) -> Tracker | None:
    if not experiment.tracking.tensorboard:
        return None
    from orchestrator.tracking.tensorboard import TensorBoardTracker

    return TensorBoardTracker(root, experiment.name, say)


TRACKERS: Final[tuple[Callable[[Root, Experiment, Callable[[str], None]], Tracker | None], ...]] = (
    _build_mlflow,
    _build_tensorboard,
)
"""Build the trackers, in the order in which they are told; None: the experiment does without."""


def build_tracker(root: Root, experiment: Experiment, say: Callable[[str], None]) -> Tracker:
    """Build all trackers of a sweep as one. `say` hears of a store that is lost."""
    from orchestrator.tracking.fanout import FanoutTracker

    built = [build(root, experiment, say) for build in TRACKERS]
    return FanoutTracker([tracker for tracker in built if tracker is not None])
