"""How much of the plane of gain and cost each set not measured yet may add to what is known."""

from itertools import pairwise

import numpy as np

from orchestrator.stats.evidence import Floats


def hypervolume_gains(drawn: Floats, costs: Floats, known: int, highest: float) -> Floats:
    """Return the area that each unknown set would add to what the known ones dominate, in the mean of draws: [unknown].

    Values of the known sets are drawn too, so that a measured one is not held for true, and a set that still runs
    counts as known by what it may give. The area is bounded by the lowest value of each draw and by `highest`.

    Args:
        drawn: True values, the known sets first; higher is better: [draws, known + unknown].
        costs: Of each set, on the scale on which area is measured: [known + unknown].
        known: Sets that are measured or still run, at least one.
        highest: Cost up to which area counts.

    Source: S. Daulton, M. Balandat, E. Bakshy, "Parallel Bayesian optimization of multiple noisy objectives with
    expected hypervolume improvement", NeurIPS 2021; exact for two objectives of which one is known.
    """
    order = np.argsort(costs[:known], kind="stable")
    edges = np.append(costs[:known][order], highest)
    best = np.maximum.accumulate(drawn[:, :known][:, order], axis=1)
    values, of_unknown = drawn[:, known:], costs[known:]
    cheaper = np.maximum(0.0, np.minimum(edges[0], highest) - of_unknown)
    added = np.maximum(values - drawn.min(axis=1, keepdims=True), 0.0).mean(axis=0) * cheaper
    for place, (low, high) in enumerate(pairwise(edges.tolist())):
        width = np.maximum(0.0, high - np.maximum(low, of_unknown))
        reached = width > 0
        if reached.any():
            above = np.maximum(values[:, reached] - best[:, place : place + 1], 0.0)
            added[reached] += above.mean(axis=0) * width[reached]
    return np.asarray(added)


def improvements(drawn: Floats, known: int) -> Floats:
    """Return by how much each unknown set exceeds the best known one, in the mean of draws: [unknown].

    Args:
        drawn: As of `hypervolume_gains`.
        known: Likewise.
    """
    best = drawn[:, :known].max(axis=1, keepdims=True)
    return np.asarray(np.maximum(drawn[:, known:] - best, 0.0).mean(axis=0))
