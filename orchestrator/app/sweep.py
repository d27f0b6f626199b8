"""Composition root: an experiment becomes the concrete parts, wired. Heavy libraries load when a sweep needs them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.app.git import find_git_commit
from orchestrator.app.parts import (
    PREPARATION,
    build_executor,
    build_strategy,
    build_tracker,
    calling,
    workers_loading,
)
from orchestrator.app.pretrained import SWEEP_COMMAND, find_pretrained
from orchestrator.app.workers import arrange_trials, settle_workers
from orchestrator.config import config_hash, to_yaml, without_credentials
from orchestrator.config.models import Experiment
from orchestrator.errors import OrchestratorError, SweepError
from orchestrator.interfaces import Observer
from orchestrator.observers.group import LoggingObserver, ObserverGroup
from orchestrator.observers.progress import ProgressFile
from orchestrator.records.prepared import Prepared
from orchestrator.records.record import Step
from orchestrator.records.starts import SweepStart
from orchestrator.report.summary import build_summarise
from orchestrator.results import Sweep
from orchestrator.storage.databases import OPTUNA
from orchestrator.storage.layout import DEFAULT_ROOT, Root
from orchestrator.storage.ledger import Ledger
from orchestrator.storage.lock import hold_lock
from orchestrator.storage.troubles import hint_at_cause
from orchestrator.sweep.jobs import SweepOutcome
from orchestrator.sweep.loop import SweepLoop


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
        fresh: Train everything again under a new study; the old one stays, as `<name>~<number>`.
        command: Begins the commands that hints name.

    Raises:
        ConfigError: The configuration does not fit the data or an earlier sweep of the same name.
        SetupError: Device, disk, download or tracking store; nothing has run. Or the experiment is being swept already.
        SweepError: Too many runs were lost (`execution.max_failures`), or the disk is full; what finished is kept.

    Example:
        >>> from orchestrator import load_experiment, run_sweep
        >>> sweep, outcome = run_sweep(load_experiment("demo"))  # has finished before: nothing is trained
        >>> sweep, outcome.trained
        (<Sweep 'demo': 2 trials, 2 on the front>, 0)
    """
    from orchestrator.training.preparation.precheck import check_inputs

    experiment = experiment.with_blocks()
    check_inputs(experiment).raise_any()  # within a second: what would be found after half a minute of loading
    place = Root.at(root)
    place.create()
    with _reporting_lost_disk(place), hold_lock(place.lock(experiment.name)), workers_loading(experiment):
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
    from orchestrator.app.taking_up import take_up_study
    from orchestrator.search import finish_archive, read_scores

    archived = finish_archive(root, experiment.name)
    observer.on_message(Step("opening the studies"))
    kept = None if fresh else read_scores(root, experiment.name)
    file = _find_weights_file(root, experiment, command, observer)
    tracked, experiment = experiment, without_credentials(experiment)  # nothing but the tracker needs them
    with calling(experiment, f"{PREPARATION}:prepare", experiment, root, kept, file) as preparation:
        tracker = build_tracker(root, tracked, observer.on_message)
        observer.on_message(Step("loading PyTorch"))
        prepared: Prepared = preparation.result(observer.on_message)
    observer.on_message(Step("reading the study"))
    prepared, search = take_up_study(root, experiment, prepared, observer, fresh=fresh, archived=archived)
    strategy = build_strategy(prepared, search, Ledger(root))
    if strategy.left != []:
        prepared = settle_workers(prepared, observer)
        arrange_trials(search, prepared)
        strategy.settle(prepared)
    left = strategy.left
    observer.on_plan(prepared.experiment, left, search.settled())
    if left == [] and search.is_closed and not _owes_records(root, experiment.name):
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


def _find_weights_file(root: Root, experiment: Experiment, command: str, observer: Observer) -> str | None:
    """Find the network of another sweep that this one starts from, and say which it is; None where it needs none.

    It is looked up here, once for all processes: that sweep may find a better one while this one runs.
    """
    pretrained = find_pretrained(root, experiment, command)
    if pretrained is None:
        return None
    observer.on_message(f"model.weights: {pretrained.description}")
    return str(pretrained.file)
