"""Which trials to keep and which one to use, chosen by rule from what the data can tell apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def find_supported_front(better: NDArray[np.bool_], params: Sequence[float], accuracy: Sequence[float]) -> list[int]:
    """Find the supported front: the fewest trials that stand for all.

    A trial stands for itself and for each trial with as many or more parameters that is not significantly better than
    it. Of several sets as small, the one with the highest accuracies is taken. Equal in every respect: the earlier.

    Args:
        better: `better[trial, reference]`, as `comparison.find_better` gives it: [trials, trials].
        params: Trainable parameters of each trial, [trials].
        accuracy: Measured accuracies in [0, 1], [trials].

    Returns:
        Their places, by rising parameters; empty for no trial.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    count = len(params)
    if count == 0:
        return []
    cost = np.asarray(params, dtype=np.float64)
    stands_for = (cost[None, :] <= cost[:, None]) & ~better
    np.fill_diagonal(stands_for, val=True)
    # less than one trial's weight in all, so that accuracy and order decide among sets of equal size alone
    lost = (1 - np.asarray(accuracy)) / (2 * count) + np.arange(count) * 1e-6 / count**2
    solved = milp(
        1 + lost,
        constraints=LinearConstraint(stands_for.astype(np.float64), lb=1),
        integrality=np.ones(count, dtype=np.int64),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise RuntimeError(f"the smallest set was not found: {solved.message}")  # each trial stands for itself
    members = np.flatnonzero(np.round(solved.x))
    return [int(each) for each in members[np.argsort(cost[members], kind="stable")]]
