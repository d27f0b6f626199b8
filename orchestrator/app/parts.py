"""The parts of a sweep, each built from its configuration."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

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
    """Build the place where runs happen.

    Args:
        prepared: With its `auto` values concrete, but for `execution.workers` where nothing is to run.
    """
    execution = prepared.experiment.execution
    if execution.mode == "inline":
        from orchestrator.execution.inline import InlineExecutor

        return InlineExecutor(RUN_FUNCTION)
    from orchestrator.execution.processes import ProcessExecutor

    return ProcessExecutor(
        RUN_FUNCTION,
        workers=execution.runs_at_a_time,
        gpus=prepared.gpus,
        timeout_s=None if execution.timeout_min is None else 60 * execution.timeout_min,
        stall_s=None if execution.stall_min is None else 60 * execution.stall_min,
    )


def build_tracker(root: Root, experiment: Experiment, say: Callable[[str], None]) -> Tracker:
    """Build the trackers of a sweep: MLflow, and TensorBoard where it is on. `say` hears of a store that is lost.

    MLflow is loaded, and a store that is a file gets its tables: that takes seconds.
    """
    say(Step("loading MLflow"))
    from orchestrator.tracking.fanout import FanoutTracker
    from orchestrator.tracking.mlflow.spooling import SpoolingTracker
    from orchestrator.tracking.mlflow.tracker import MlflowTracker

    mlflow = MlflowTracker(root, experiment.name, experiment.tracking.mlflow_uri, say)
    say(Step("opening the MLflow store"))
    mlflow.make_ready()
    trackers: list[Tracker] = [SpoolingTracker(mlflow, root, experiment.name, say)]
    if experiment.tracking.tensorboard:
        from orchestrator.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(root, experiment.name, say))
    return FanoutTracker(trackers)
