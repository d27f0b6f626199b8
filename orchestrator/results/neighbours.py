"""Trials next to each other on the front, compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator import catalogue, names
from orchestrator.quantities import column_types
from orchestrator.records.labels import TrialLabel
from orchestrator.records.trials import TrialRecord
from orchestrator.results.tables import Row
from orchestrator.stats.comparison import Comparison

COMPARISON_TYPES: Final = column_types(catalogue.OF_COMPARISON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Two trials next to each other on the front.

    Attributes:
        cheaper: The one with the lower cost.
        other: The other.
        comparison: How much better `other` is.
        adjusted_p_value: Its p-value, corrected for the number of neighbours (Holm).
    """

    cheaper: TrialRecord
    other: TrialRecord
    comparison: Comparison
    adjusted_p_value: float


def build_comparison_row(found: "Neighbours", labels: Mapping[int, TrialLabel]) -> Row:
    """Describe how much better a trial on the front is than the one before it, each by its label."""
    comparison = found.comparison
    return {
        names.CHEAPER: str(labels[found.cheaper.number]),
        names.OTHER: str(labels[found.other.number]),
        names.CHEAPER_TRIAL: found.cheaper.number,
        names.OTHER_TRIAL: found.other.number,
        names.DIFFERENCE: comparison.difference,
        names.LOW: comparison.low,
        names.HIGH: comparison.high,
        names.STANDARD_ERROR: comparison.standard_error,
        names.P_VALUE: comparison.p_value,
        names.P_VALUE_ADJUSTED: found.adjusted_p_value,
    }
