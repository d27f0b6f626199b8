"""Trials and their runs, finished or lost."""

from collections.abc import Iterable
from typing import Literal

from orchestrator.errors import RunCause
from orchestrator.names import INTERRUPTED
from orchestrator.records.record import Record
from orchestrator.records.runs import RunResult
from orchestrator.records.scores import FrozenScores
from orchestrator.records.spec import Hyperparameters

TrialState = Literal["waiting", "running", "complete", "failed", "pruned", "put_off"]
"""`put_off`: the sweep was stopped or died before it ended; the next start of the sweep goes on with it."""


class RunRecord(Record):
    """One run of a trial, finished or lost."""

    name: str
    """As in MLflow and TensorBoard: `trial_007_stem+layer1_seed0`, or `trial_007_stem+layer1_lr=0.003_seed0` where the
    learning rate varies in the sweep."""
    seed: int
    fingerprint: str
    result: RunResult | None = None
    """None where the run is lost."""
    error: str | None = None
    """Why it is lost."""
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
    """Epochs after which a race dropped it: it is not lost, and `error` says why it was dropped."""
    at_once: float | None = None
    """Runs of its sweep under way while it trained, itself among them, on average; None: not known, or it was not
    trained in one piece, so that its duration compares with no other."""

    @property
    def was_stopped(self) -> bool:
        """Whether it was stopped on request: it is not lost, and the next sweep continues it."""
        return self.error == INTERRUPTED


class TrialRecord(Record):
    """One trial: one frozen set with its other hyperparameters."""

    number: int
    """Optuna's number of the trial."""
    frozen: str
    """Key of the frozen set."""
    hyperparameters: Hyperparameters
    state: TrialState
    runs: tuple[RunRecord, ...] = ()
    """One a seed."""
    val_acc: float | None = None
    """Objective: mean over the runs; None unless complete."""
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
    """Give the numbers of the complete trials that a later one answers with more seeds."""
    newest: dict[tuple[str, Hyperparameters], TrialRecord] = {}
    old = set()
    for trial in trials:
        if trial.state != "complete" or trial.repeats is not None:
            continue
        before = newest.get((trial.frozen, trial.hyperparameters))
        if before is not None and {run.seed for run in before.runs} < {run.seed for run in trial.runs}:
            old.add(before.number)
        newest[trial.frozen, trial.hyperparameters] = trial
    return frozenset(old)


def results_of(trial: TrialRecord) -> list[RunResult]:
    """List the results of the trial's finished runs, by seed as configured."""
    return [run.result for run in trial.runs if run.result is not None]
