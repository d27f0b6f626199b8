"""The curves of a sweep's runs: of those that finished, and of those that a race dropped."""

from orchestrator import names
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.results.tables import Row
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger


def history_of(run: RunRecord, root: Root) -> tuple[EpochMetrics, ...]:
    """Return the epochs of a run; where a race dropped it, those until then, which lie beside its checkpoint."""
    if run.result is not None:
        return run.result.history
    if run.pruned_after is None:
        return ()
    reached = [rung for rung in Ledger(root).find_rungs(run.fingerprint) if rung.epochs >= run.pruned_after]
    return reached[0].history[: run.pruned_after] if reached else ()


def build_history_rows(trial: TrialRecord, root: Root) -> list[Row]:
    """Return one row a seed (and fold) and epoch, epochs from 1."""
    return [
        {
            "epoch": epoch.number,
            names.SEED: run.seed,
            **({} if run.fold is None else {names.FOLD: run.fold}),
            **{each.key: epoch.read(each.key) for each in names.OF_EPOCH},
        }
        for run in trial.runs
        for epoch in history_of(run, root)
    ]
