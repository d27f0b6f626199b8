"""Trials next to each other on the front, compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.records.labels import Label
from orchestrator.records.trials import TrialRecord
from orchestrator.results.tables import Row
from orchestrator.stats.comparison import Comparison

COMPARISON_TYPES: Final = {
    "cheaper": "string",
    "other": "string",
    "cheaper_trial": "int64",
    "other_trial": "int64",
    **dict.fromkeys(("difference", "low", "high", "standard_error", "p_value", "p_value_adjusted"), "float64"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Two trials next to each other on the front.

    Attributes:
        cheaper: The one with fewer parameters.
        other: The other.
        comparison: How much more accurate `other` is.
        adjusted_p_value: Its p-value, corrected for the number of neighbours (Holm).
    """

    cheaper: TrialRecord
    other: TrialRecord
    comparison: Comparison
    adjusted_p_value: float


def build_comparison_row(found: "Neighbours", labels: Mapping[int, Label]) -> Row:
    """Say how much more accurate a trial on the front is than the one before it, each by its label."""
    comparison = found.comparison
    return {
        "cheaper": str(labels[found.cheaper.number]),
        "other": str(labels[found.other.number]),
        "cheaper_trial": found.cheaper.number,
        "other_trial": found.other.number,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "standard_error": comparison.standard_error,
        "p_value": comparison.p_value,
        "p_value_adjusted": found.adjusted_p_value,
    }
