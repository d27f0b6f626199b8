"""A sweep in numbers."""

from orchestrator import names
from orchestrator.results.belief import Belief
from orchestrator.results.scores import score_metrics
from orchestrator.results.snapshot import Snapshot
from orchestrator.stats import pareto


def sum_up(snapshot: Snapshot, belief: Belief) -> dict[str, float]:
    """Return the summary metrics of a sweep; see `Sweep.summary_metrics`."""
    pruned = sum(trial.state == "pruned" for trial in snapshot.trials)
    metrics = {
        names.N_TRIALS: float(len(snapshot.trials)),
        names.N_FAILED: float(sum(trial.has_failed for trial in snapshot.trials)),
        names.FRONT_SIZE: float(len(snapshot.front)),
    }
    if pruned:
        metrics[names.N_PRUNED] = float(pruned)
    if not snapshot.front:
        return metrics
    points = [(snapshot.objective.gain(trial), snapshot.objective.cost(trial)) for trial in snapshot.front]
    metrics[names.HYPERVOLUME] = pareto.hypervolume(points, reference=snapshot.reference)
    if belief.judgement is not None:
        metrics[names.SUPPORTED_SIZE] = float(len(belief.judgement.supported))
        metrics[names.HYPERVOLUME_LOW], metrics[names.HYPERVOLUME_HIGH] = belief.judgement.hypervolume_interval
    metrics[names.BEST_VAL_ACC] = max(trial.val_acc or 0.0 for trial in snapshot.complete)
    return metrics | score_metrics(snapshot.complete)
