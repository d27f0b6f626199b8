"""The studies under a root: where they lie, how they are opened, and what their trials say."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import names
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.errors import NotFoundError, SetupError
from orchestrator.masking import mask_credentials
from orchestrator.records.document import add_version, read_document
from orchestrator.records.scores import BlockScores
from orchestrator.records.spec import Hyperparameters
from orchestrator.records.trials import RunRecord, TrialRecord, mean_over_images
from orchestrator.records.trials import TrialState as State
from orchestrator.storage.databases import OPTUNA
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import read_owner
from orchestrator.storage.troubles import hint_at_cause

optuna.logging.set_verbosity(optuna.logging.WARNING)

EXPERIMENT = "experiment"
CHOICE = "choice"
HYPERPARAMETERS = "hyperparameters"
RUNS = "runs"
REPEATS = "repeats"
PUT_OFF = names.PUT_OFF
DISCARDED = "discarded"
"""Mark of a trial that was put off and that no sweep asks for any more."""
SCORES = "scores"
_WAIT_S = 20
"""Seconds to wait for another process that writes."""
STORE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What the store raises once it is open: its disk is full or gone, or another process keeps it locked."""
_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
}


def read_study(root: Root, name: str) -> tuple[Experiment, list[TrialRecord]]:
    """Read a study: its experiment and all trials that were started.

    Raises:
        NotFoundError: There is no such study; the message lists those there are.
        SetupError: The store cannot be read.
    """
    known = study_names(root)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        raise NotFoundError(
            f"no sweep called {name!r} in {root.path}; there are: {', '.join(known) or 'none'}",
            hint=f"did you mean {close[0]!r}?" if close else f"start one with `orchestrator sweep {name}{root.option}`",
        )
    # asked first: what an owner that ends meanwhile leaves is not taken for put off
    abandoned = read_owner(root.lock(name)) is None
    with translated(root):
        study = optuna.load_study(study_name=name, storage=open_storage(root))
        experiment = study.user_attrs.get(EXPERIMENT)
        if experiment is None:
            raise NotFoundError(f"the study {name!r} in {root.optuna_db} was not made by this project")
        with _readable(f"the study {name!r} in {root.optuna_db}"):
            experiment = read_document(Experiment, experiment, f"the study {name!r}")
        return experiment, read_trials(study, abandoned=abandoned)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what pydantic raises of values that do not make a record into `SetupError`."""
    try:
        yield
    except ValidationError as error:
        raise SetupError(
            f"{name} cannot be read: {error.errors()[0]['msg']}",
            hint="it was written by another version of this program",
        ) from error


def read_scores(root: Root, name: str) -> BlockScores | None:
    """Read what a study knows of the blocks from before anything trained; None where it knows nothing.

    Raises:
        SetupError: The store cannot be read.
    """
    if name not in study_names(root):
        return None
    with translated(root):
        return _parse_scores(optuna.load_study(study_name=name, storage=open_storage(root)))


def _parse_scores(study: optuna.Study) -> BlockScores | None:
    try:
        return read_document(BlockScores, study.user_attrs.get(SCORES) or {}, f"the scores of {study.study_name!r}")
    except (ValidationError, SetupError):  # there are none, or another version wrote them
        return None


def study_names(root: Root) -> list[str]:
    """List the studies under a root; nothing is created.

    Raises:
        SetupError: The store cannot be read.
    """
    if not root.optuna_db.is_file():
        return []
    with translated(root):
        return sorted(optuna.get_all_study_names(open_storage(root)))


def open_storage(root: Root) -> optuna.storages.RDBStorage:
    """Open the storage of a root; the file is made where it is not there yet."""
    # another process may be writing: wait for it instead of failing at once
    return optuna.storages.RDBStorage(
        f"sqlite:///{root.optuna_db}", engine_kwargs={"connect_args": {"timeout": _WAIT_S}}
    )


@contextmanager
def translated(root: Root) -> Iterator[None]:
    """Turn what Optuna and its database raise into `SetupError`."""
    try:
        yield
    except (*STORE_ERRORS, RuntimeError) as error:
        raise SetupError(
            f"cannot use the studies in {root.optuna_db}: {explain(error)}",
            hint=hint_at_cause(error, OPTUNA, f"sqlite:///{root.optuna_db}", root.optuna_db)
            or "is the file one of Optuna's? `orchestrator doctor` looks at it",
        ) from error


def explain(error: Exception) -> str:
    """Return the database's own reason, without SQL."""
    return str(error.__cause__ or error).splitlines()[0]


def read_trials(study: optuna.Study, *, abandoned: bool = False) -> list[TrialRecord]:
    """Read all trials that were started, by number.

    An older version failed what was put off and began it again under another number: that stands for it.

    Args:
        study: As Optuna keeps it.
        abandoned: Nobody owns the study: what seems to run was put off by a death.
    """
    scores = _parse_scores(study)
    found = (read_trial(trial, scores, abandoned=abandoned) for trial in study.get_trials(deepcopy=False))
    records = [record for record in found if record is not None]
    newest = {(record.frozen, record.hyperparameters): record.number for record in records}
    return [
        record
        for record in records
        if not record.put_off or newest[record.frozen, record.hyperparameters] == record.number
    ]


def read_trial(trial: FrozenTrial, scores: BlockScores | None = None, *, abandoned: bool = False) -> TrialRecord | None:
    """Read a trial's record; None for one that waits, was discarded, or died before it was described.

    Args:
        trial: As Optuna keeps it.
        scores: What is known of the blocks; the record has what follows for its frozen set.
        abandoned: Nobody owns the study.

    Raises:
        SetupError: Another version wrote it, and it cannot be read.
    """
    choice = trial.user_attrs.get(CHOICE)
    state = _STATES.get(trial.state)
    if trial.user_attrs.get(DISCARDED):
        return None
    marked = trial.user_attrs.get(PUT_OFF, False) and state in {"running", "failed"}
    if marked or (abandoned and state == "running"):
        state = "put_off"
    # a race drops trials with the runs that they have; what was discarded has none
    discarded = state == "pruned" and RUNS not in trial.user_attrs
    if choice is None or state is None or discarded:
        return None
    name = f"trial {trial.number}"
    with _readable(name):
        frozen = FrozenSet.parse(choice[names.FROZEN])
        hyperparameters = Hyperparameters(**choice[HYPERPARAMETERS])
        runs = tuple(read_document(RunRecord, run, name) for run in trial.user_attrs.get(RUNS, ()))
    results = [run.result for run in runs if run.result is not None] if state == "complete" else []
    return TrialRecord(
        number=trial.number,
        frozen=frozen,
        hyperparameters=hyperparameters,
        state=state,
        runs=runs,
        val_acc=mean_over_images(runs, names.VAL_ACC) if results else None,
        trainable_params=results[0].trainable_params if results else None,
        error=trial.user_attrs.get(names.ERROR) if state != "put_off" else None,
        repeats=trial.user_attrs.get(REPEATS),
        scores=None if scores is None else scores.of(frozen),
    )


def dump_experiment(experiment: Experiment) -> dict[str, Any]:
    """Write an experiment as plain values, without the credentials of its tracking store."""
    plain: dict[str, Any] = experiment.model_dump(mode="json")
    if uri := experiment.tracking.mlflow_uri:
        plain["tracking"]["mlflow_uri"] = mask_credentials(uri)
    return plain


def dump_run(run: RunRecord) -> dict[str, Any]:
    """Write a run as plain values, without the step losses: they are in MLflow and in `result.json`."""
    plain = add_version(run.model_dump(mode="json"))
    if plain["result"] is not None:
        for epoch in plain["result"]["history"]:
            epoch.pop("step_losses")
    return plain
