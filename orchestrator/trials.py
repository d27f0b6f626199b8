"""What follows from the trials of a sweep, taken together."""

from collections.abc import Iterable

from orchestrator.records import Hyperparameters, TrialRecord


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
