"""What a sweep knows: tables, the front, the trial to use, curves, networks."""

from orchestrator.records.trials import results_of
from orchestrator.results.effects import BlockEffects
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.recommending import Recommendation
from orchestrator.results.scores import describe_scores
from orchestrator.results.snapshot import describe_states
from orchestrator.results.sweep import Sweep, load_sweep
from orchestrator.results.tables import Row
from orchestrator.results.trial import Trial
from orchestrator.stats.scales import Interval

__all__ = [
    "BlockEffects",
    "Interval",
    "PredictedTrials",
    "Recommendation",
    "Row",
    "Sweep",
    "Trial",
    "describe_scores",
    "describe_states",
    "load_sweep",
    "results_of",
]
