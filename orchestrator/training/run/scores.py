"""Scores of predictions that classes of few images count in as much as others, from a confusion matrix."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from orchestrator import names


def balanced_accuracy(confusion: Tensor) -> float:
    """Return the mean recall of the classes that have images.

    Args:
        confusion: Images by true class (row) and predicted class (column).

    Source: `sklearn.metrics.balanced_accuracy_score`.
    """
    counts, right = confusion.sum(1).double(), confusion.diagonal().double()
    return float((right / counts)[counts > 0].mean())


def macro_f1(confusion: Tensor) -> float:
    """Return the mean F1 score of the classes that have images or are predicted.

    Args:
        confusion: Images by true class (row) and predicted class (column).

    Source: `sklearn.metrics.f1_score` with `average="macro"`.
    """
    both, right = (confusion.sum(1) + confusion.sum(0)).double(), confusion.diagonal().double()
    return float((2 * right / both)[both > 0].mean())


SCORES: Final[Mapping[str, Callable[[Tensor], float]]] = {
    names.BALANCED_ACCURACY: balanced_accuracy,
    names.MACRO_F1: macro_f1,
}
"""They by key, as `EpochMetrics.measured` and `RunResult.measured` hold them."""


def score(confusion: Tensor) -> dict[str, float]:
    """Return all scores by key, rounded to fp32: Lightning compares epochs in it."""
    return {key: float(torch.tensor(compute(confusion), dtype=torch.float32)) for key, compute in SCORES.items()}
