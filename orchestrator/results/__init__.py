"""What a sweep knows: tables, the front, the trial to use, curves, networks."""

from orchestrator.results.effects import BlockEffects
from orchestrator.results.judgement import Recommendation
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.scores import describe_scores
from orchestrator.results.sweep import Sweep, describe_states, load_sweep
from orchestrator.results.tables import Interval, Row, results_of
from orchestrator.results.trial import Trial

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
