"""Composition root: an experiment becomes the concrete parts, wired. Heavy libraries load when a sweep needs them."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cache import format_size
from orchestrator.config import config_hash, to_yaml, without_credentials
from orchestrator.config.models import Experiment
from orchestrator.databases import OPTUNA
from orchestrator.errors import OrchestratorError, SetupError, SweepError
from orchestrator.interfaces import (
    Executor,
    Observer,
    Search,
    SweepStart,
    Tracker,
)
from orchestrator.jobs import SweepOutcome
from orchestrator.labels import label_planned
from orchestrator.layout import DEFAULT_ROOT, Root
from orchestrator.ledger import Ledger
from orchestrator.lock import hold_lock
from orchestrator.masking import MASK
from orchestrator.observers import LoggingObserver, ObserverGroup
from orchestrator.plan import Plan as Plan
from orchestrator.plan import plan_sweep as plan_sweep
from orchestrator.prepared import Prepared
from orchestrator.pretrained import SWEEP_COMMAND, find_pretrained
from orchestrator.progress import ProgressFile
from orchestrator.records import Step
from orchestrator.results import Sweep
from orchestrator.strategy import FullStrategy, Strategy
from orchestrator.summary import build_summarise
from orchestrator.sweep import SweepLoop
from orchestrator.troubles import hint_at_cause

if TYPE_CHECKING:
    from orchestrator.execution.calls import Call
    from orchestrator.packing import GpuShare
    from orchestrator.search import OptunaSearch

_RUN_FUNCTION = "orchestrator.training.run:run_training"
_PREPARATION = "orchestrator.preparation"


def run_sweep(
    experiment: Experiment,
    *,
    root: str | Path = DEFAULT_ROOT,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    fresh: bool = False,
    command: str = SWEEP_COMMAND,
) -> tuple[Sweep, SweepOutcome]:
    """Run what is left of an experiment's sweep and return what is known at its end.

    Args:
        experiment: The experiment; its name is the study's.
        root: Folder that holds everything a sweep writes.
        observer: Hears what happens; None: the `orchestrator` logger does.
        stop: Once set, no new run starts, those under way end with their epoch, and this returns.
        fresh: Train everything anew under a new study; the old one stays, as `<name>~<number>`.
        command: Begins the commands that hints name.

    Raises:
        ConfigError: The configuration does not fit the data or an earlier sweep of the same name.
        SetupError: Device, disk, download or tracking store; nothing has run. Or the experiment is being swept already.
        SweepError: Too many runs were lost (`execution.max_failures`), or the disk is full; what finished is kept.
    """
    from orchestrator.training.precheck import check_inputs

    check_inputs(experiment).raise_any()  # within a second: what would be found after half a minute of loading
    place = Root.at(root)
    place.create()
    with _reporting_lost_disk(place), hold_lock(place.lock(experiment.name)), _workers_loading(experiment):
        watching = ObserverGroup([observer or LoggingObserver(), ProgressFile(place.progress(experiment.name))])
        return _run_locked(experiment, place, watching, stop, fresh=fresh, command=command)


@contextmanager
def _reporting_lost_disk(root: Root) -> Iterator[None]:
    """Turn what a disk or a database raises that is full or gone into `SweepError`."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        from orchestrator.search import STORE_ERRORS, explain  # not before: who is refused waits for no library

        if not isinstance(error, (OSError, *STORE_ERRORS)):
            raise
        reason = str(error) if isinstance(error, OSError) else explain(error)
        cause = hint_at_cause(error, OPTUNA, f"sqlite:///{root.optuna_db}", root.optuna_db)
        raise SweepError(
            f"the sweep cannot go on: {reason}",
            hint=f"what finished is kept; {cause}"
            if cause is not None
            else "what finished is kept: once that is mended (is the disk full?), the same command goes on",
        ) from error


def _workers_loading(experiment: Experiment) -> AbstractContextManager[None]:
    """Let the fork server load libraries while this process loads its own and opens the stores."""
    if experiment.execution.mode == "inline":
        return nullcontext()
    from orchestrator.execution.processes import loading_ahead

    return loading_ahead(_RUN_FUNCTION, first=_PREPARATION)


def _run_locked(
    experiment: Experiment,
    root: Root,
    observer: Observer,
    stop: threading.Event | None,
    *,
    fresh: bool,
    command: str,
) -> tuple[Sweep, SweepOutcome]:
    observer.on_message(Step("loading Optuna"))
    from orchestrator.search import OptunaSearch, archive_sweep, count_archives, finish_archive, read_scores

    archived = finish_archive(root, experiment.name)
    observer.on_message(Step("opening the studies"))
    kept = None if fresh else read_scores(root, experiment.name)
    file = _find_weights_file(root, experiment, command, observer)
    tracked, experiment = experiment, without_credentials(experiment)  # nothing but the tracker needs them
    with calling(experiment, f"{_PREPARATION}:prepare", experiment, root, kept, file) as preparation:
        tracker = build_tracker(root, tracked, observer.on_message)
        observer.on_message(Step("loading PyTorch"))
        prepared: Prepared = preparation.result(observer.on_message)
    observer.on_message(Step("reading the study"))
    if fresh and archived is None:
        archived = archive_sweep(root, experiment.name)
    if archived is not None:
        observer.on_message(f"the sweep of {experiment.name} begins anew; the old study is {archived!r}")
    prepared = replace(prepared, generation=count_archives(root, experiment.name))
    search = OptunaSearch(root, experiment, prepared.costs, prepared.scores)
    _take_up(search, prepared, observer)
    if build_strategy(prepared, search, Ledger(root)).left != []:
        prepared = settle_workers(prepared, observer)
        _arrange_trials(search, prepared)
    strategy = build_strategy(prepared, search, Ledger(root))
    observer.on_plan(prepared.experiment, strategy.left, search.settled())
    if strategy.left == [] and search.is_closed and not _owes_records(root, experiment.name):
        return Sweep(root, experiment, search.trials()), SweepOutcome()
    loop = SweepLoop(
        prepared,
        strategy=strategy,
        search=search,
        executor=build_executor(prepared),
        tracker=tracker,
        observer=observer,
        ledger=Ledger(root),
        summarise=build_summarise(root, experiment),
        stop=stop,
    )
    outcome = loop.run(_describe_start(prepared, experiment))
    search.close()
    return Sweep(root, experiment, search.trials()), outcome


def _describe_start(prepared: Prepared, experiment: Experiment) -> SweepStart:
    """Gather what is known when the sweep starts; `experiment` is as it was configured."""
    return SweepStart(
        experiment=prepared.experiment,
        data=prepared.data,
        config_yaml=to_yaml(experiment),
        config_hash=config_hash(experiment),
        git_commit=find_git_commit(),
        generation=prepared.generation,
        scores=prepared.scores,
        gpu_uuids=prepared.gpu_uuids,
    )


def _owes_records(root: Root, name: str) -> bool:
    """Whether something waits for the tracking store."""
    return root.spool(name).exists() or root.refused(name).exists()


def calling(experiment: Experiment, function: str, *args: object) -> "AbstractContextManager[Call]":
    """Call a function that needs the libraries that train: in a process of its own, where runs happen in such."""
    from orchestrator.execution.calls import calling_apart, calling_here

    if experiment.execution.mode == "inline":
        return calling_here(function, *args)
    return calling_apart(_RUN_FUNCTION, function, *args)


def _find_weights_file(root: Root, experiment: Experiment, command: str, observer: Observer) -> str | None:
    """Find the network of another sweep that this one starts from, and say which it is; None where it needs none.

    It is looked up here, once for all processes: that sweep may find a better one while this one runs.
    """
    pretrained = find_pretrained(root, experiment, command)
    if pretrained is None:
        return None
    observer.on_message(f"model.weights: {pretrained.description}")
    return str(pretrained.file)


def _take_up(search: "OptunaSearch", prepared: Prepared, observer: Observer) -> None:
    """Go on with a study, if it is of the same experiment; say what it leaves out and what a death left running."""
    search.require_identity(prepared.identity, prepared.weights_file)
    if search.left_out:
        limit = prepared.experiment.search.max_trainable_params
        observer.on_message(f"left out, over search.max_trainable_params={limit}: {', '.join(search.left_out)}")
    for trial in search.reconcile():
        label = label_planned(prepared.experiment, trial)
        observer.on_message(f"trial {trial.number} ({label}) was left running by a dead process: it is gone on with")


def settle_workers(prepared: Prepared, observer: Observer) -> Prepared:
    """Make `execution.workers` a number.

    On a CPU it follows from the whole plan, so a sweep that is gone on with has as many, unless memory is short by now:
    the number of threads of a run, and with it the last bit of its result, depends on it.
    """
    experiment = prepared.experiment
    workers = _count_workers(prepared, observer)
    if experiment.execution.workers == "auto" and workers > 1:
        observer.on_message(f"execution.workers is auto: {workers} runs at a time")
    execution = experiment.execution.model_copy(update={"workers": workers})
    return replace(prepared, experiment=experiment.model_copy(update={"execution": execution}))


def _arrange_trials(search: "OptunaSearch", prepared: Prepared) -> None:
    """Let the trials of a plan start in the order in which they end soonest with as many runs at a time."""
    from orchestrator.packing import arrange_starts

    experiment, left = prepared.experiment, search.planned()
    if left and experiment.search.strategy == "full":
        work, seeds = [prepared.work[choice.frozen] for choice in left], len(experiment.search.seeds)
        order = arrange_starts(work, experiment.execution.runs_at_a_time, runs_each=seeds)
        search.arrange([left[place] for place in order])


def _count_workers(prepared: Prepared, observer: Observer) -> int:
    from orchestrator.packing import choose_packing, choose_workers, count_cores, count_fitting
    from orchestrator.search import plan_choices

    experiment, costs = prepared.experiment, prepared.costs
    if experiment.execution.mode == "inline":
        return 1
    if experiment.execution.workers != "auto":
        return experiment.execution.workers
    choices, _ = plan_choices(experiment, costs)
    seeds = len(experiment.search.seeds)
    if choices is None:
        of_runs = [1.0] * (experiment.search.n_trials or 1) * seeds
    else:
        of_runs = [prepared.work[choice.frozen] for choice in choices for _ in range(seeds)]
    if experiment.trainer.accelerator == "cpu":
        return choose_workers(of_runs, cores=count_cores(), most=count_fitting(experiment))
    observer.on_message(Step("measuring what a run takes of a GPU"))
    share = _measure_gpu_share(prepared, observer)
    if share is None:
        return max(1, min(prepared.gpus, len(of_runs)))
    observer.on_message(f"a run keeps a GPU busy for {share.busy:.0%} of the time and takes {format_size(share.bytes)}")
    return choose_packing(share, gpus=prepared.gpus, cores=count_cores(), runs=len(of_runs))


def _measure_gpu_share(prepared: Prepared, observer: Observer) -> "GpuShare | None":
    """Measure how much of a GPU a run takes, in a process that ends with it; None where that cannot be done."""
    experiment, data = prepared.experiment, prepared.data
    arguments = experiment, len(data.class_names), sum(data.split_sizes.values())
    with calling(experiment, f"{_PREPARATION}:measure_gpu_share", *arguments) as measuring:
        try:
            share: GpuShare | None = measuring.result(observer.on_message)
        except SetupError as error:  # the process died
            from orchestrator.packing import explain_no_share

            observer.on_message(explain_no_share(error))
            return None
    return share


def build_strategy(prepared: Prepared, search: Search, ledger: Ledger) -> Strategy:
    """Build what decides which runs a sweep starts."""
    if prepared.experiment.search.strategy == "race":
        from orchestrator.racing import RaceStrategy

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

        return InlineExecutor(_RUN_FUNCTION)
    from orchestrator.execution.processes import ProcessExecutor

    return ProcessExecutor(
        _RUN_FUNCTION,
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
    from orchestrator.tracking.mlflow import MlflowTracker
    from orchestrator.tracking.spool import SpoolingTracker

    mlflow = MlflowTracker(root, experiment.name, experiment.tracking.mlflow_uri, say)
    say(Step("opening the MLflow store"))
    mlflow.make_ready()
    trackers: list[Tracker] = [SpoolingTracker(mlflow, root, experiment.name, say)]
    if experiment.tracking.tensorboard:
        from orchestrator.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(root, experiment.name, say))
    return FanoutTracker(trackers)


def mend_store(root: Root, say: Callable[[str], None]) -> None:
    """Let the root's own MLflow store look for artifacts where the root lies now, before somebody else opens it.

    Where that cannot be done (it is being swept by another path, or cannot be written), `say` hears why.
    """
    from orchestrator.tracking.database import follow_root

    try:
        for said in follow_root(root):
            say(said)
    except OrchestratorError as error:
        say(f"warning: {error.message}; artifacts may not be shown")


def keep_report(
    sweep: Sweep, files: Sequence[Path], mlflow_uri: str | None = None, say: Callable[[str], None] | None = None
) -> None:
    """Keep pictures of a sweep as artifacts of its MLflow parent run.

    Args:
        sweep: The sweep.
        files: The pictures.
        mlflow_uri: The tracking store, where it is not the one that the study names: that has no credentials.
        say: Hears what was mended in the store; None: the log does.

    Raises:
        SetupError: The tracking store cannot be reached.
        NotFoundError: The sweep has no parent run there.
    """
    from orchestrator.tracking.mlflow import MlflowTracker

    experiment = sweep.experiment
    uri = mlflow_uri or experiment.tracking.mlflow_uri
    if uri is not None and MASK in uri:
        raise SetupError(
            f"the study does not keep the credentials of its tracking store, {uri}: the pictures are not kept there",
            hint="give its address: --mlflow-uri",
        )
    MlflowTracker(sweep.root, experiment.name, uri, say).keep_files(files)


def find_git_commit() -> str | None:
    """Find the commit of the folder that the command runs in; None outside a repository or without git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
