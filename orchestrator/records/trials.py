"""Trials and their runs, finished or lost."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from pydantic import model_validator

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Replicate
from orchestrator.errors import RunCause
from orchestrator.records.record import Record
from orchestrator.records.runs import RunResult
from orchestrator.records.scores import FrozenScores
from orchestrator.records.spec import Hyperparameters

TrialState = Literal["waiting", "running", "complete", "failed", "pruned", "put_off"]
"""`put_off`: the sweep was stopped or died before it ended; the next start of the sweep goes on with it."""
RunState = Literal["complete", "failed", "pruned", "put_off"]
INTERRUPTED = "interrupted"
"""Why a run was put off that was torn down; the error of any that was, in records of before runs had a state."""


class RunRecord(Record):
    """One run of a trial, finished or lost."""

    name: str
    """As in MLflow and TensorBoard: `trial_007_stem+layer1_seed0`, or `trial_007_stem+layer1_lr=0.003_seed0` where the
    learning rate varies in the sweep."""
    seed: int
    fold: int | None = None
    """Which of `data.folds` it is validated on, from 0; None: there are none."""
    fingerprint: str
    state: RunState
    """Like that of a trial; of a record that has none it follows from its other fields."""
    result: RunResult | None = None
    """None unless it is complete."""
    error: str | None = None
    """Why it failed, or was dropped."""
    cause: RunCause | None = None
    """Kind of the loss."""
    attempts: int = 1
    """Times that it was started in this sweep's call."""
    mlflow_run_id: str | None = None
    reused_from: str | None = None
    """Name of the experiment and run that answered instead of a training."""
    checkpoint: str | None = None
    """Best checkpoint, relative to the root."""
    pruned_after: int | None = None
    """Epochs after which a race dropped it."""
    at_once: float | None = None
    """Runs of its sweep under way while it trained, itself among them, on average; None: not known, or it was not
    trained in one piece, so that its duration compares with no other."""

    @property
    def replicate(self) -> Replicate:
        """What tells it apart from the other runs of its trial."""
        return Replicate(seed=self.seed, fold=self.fold)

    @model_validator(mode="before")
    @classmethod
    def _find_state(cls, values: object) -> object:
        """Read the state of a record of before runs had one, which said by a text that a run was put off."""
        if not isinstance(values, Mapping) or "state" in values:
            return values
        error = values.get("error")
        if error == INTERRUPTED:
            return {**values, "state": "put_off", "error": None}
        dropped = values.get("pruned_after") is not None
        return {**values, "state": "pruned" if dropped else "complete" if error is None else "failed"}


class TrialRecord(Record):
    """One trial: one frozen set with its other hyperparameters."""

    number: int
    """Optuna's number of the trial."""
    frozen: FrozenSet
    """What each block does."""
    hyperparameters: Hyperparameters
    state: TrialState
    runs: tuple[RunRecord, ...] = ()
    """One a seed, or with folds one a seed and fold."""
    val_acc: float | None = None
    """Objective: mean over the runs, over the images of all folds; None unless complete."""
    trainable_params: int | None = None
    """Objective; None unless complete."""
    error: str | None = None
    """Why the trial failed, or was dropped."""
    repeats: int | None = None
    """Number of the earlier trial whose result answered this one: the sampler suggested it again."""
    scores: FrozenScores | None = None
    """What was known of its frozen set before anything trained."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is left to run: it is complete, or a race dropped it."""
        return self.state in {"complete", "pruned"}

    @property
    def pruned_after(self) -> int | None:
        """Epochs after which a race dropped it; None where none did."""
        return next((run.pruned_after for run in self.runs if run.pruned_after is not None), None)

    @property
    def put_off(self) -> bool:
        """Whether the sweep was stopped or died before it ended: it has not failed, and the next start goes on."""
        return self.state == "put_off"

    @property
    def has_failed(self) -> bool:
        """Whether it failed for a reason of its own."""
        return self.state == "failed"


def superseded(trials: Iterable[TrialRecord]) -> frozenset[int]:
    """Return the numbers of the complete trials that a later one answers with more seeds."""
    newest: dict[tuple[FrozenSet, Hyperparameters], TrialRecord] = {}
    old = set()
    for trial in trials:
        if trial.state != "complete" or trial.repeats is not None:
            continue
        before = newest.get((trial.frozen, trial.hyperparameters))
        if before is not None and {run.replicate for run in before.runs} < {run.replicate for run in trial.runs}:
            old.add(before.number)
        newest[trial.frozen, trial.hyperparameters] = trial
    return frozenset(old)


def mean_over_images(runs: Sequence[RunRecord], key: str) -> float | None:
    """Return the mean of a quantity over finished runs; of folds, over the images that they were validated on.

    Args:
        runs: Of one trial.
        key: A quantity of `names.OF_RUN`.

    Returns:
        It; None where there is no finished run, or one has no such quantity.
    """
    results = [run.result for run in runs if run.result is not None]
    values = [value for result in results if (value := result.read(key)) is not None]
    if not results or len(values) < len(results):
        return None
    weights = None if any(run.fold is None for run in runs) else [result.n_val for result in results]
    return fmean(values, weights)


def results_of(trial: TrialRecord) -> list[RunResult]:
    """List the results of the trial's finished runs, by seed as configured."""
    return [run.result for run in trial.runs if run.result is not None]
