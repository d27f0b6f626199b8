"""Rank correlation."""

import numpy as np
from numpy.typing import NDArray


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    """Compute Spearman's rank correlation, in [-1, 1]; equal values share their mean rank.

    Args:
        left: [n], finite.
        right: [n], finite.

    Returns:
        It; None where all values of a side are equal, which have no order.
    """
    ranks = np.stack([_rank(left), _rank(right)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1)
    return float(ranks[0] @ ranks[1] / norms.prod()) if norms.all() else None


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1; of values that are equal, each has the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places])
