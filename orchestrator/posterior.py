"""Stand-in for the statistics of a sweep, until they are merged: the same two functions, less carefully."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def draw_accuracies(
    correct: Sequence[NDArray[np.bool_]],
    frozen: Sequence[frozenset[str]],  # noqa: ARG001 - the real one learns from neighbours
    *,
    draws: int = 4000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Draw accuracies by a Bayesian bootstrap of the images, the same for all trials. Returns [draws, trials]."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(correct[0].shape[1]), size=draws)
    means = np.stack([each.mean(axis=0) for each in correct], axis=1)
    noise = np.array([0.008 / np.sqrt(len(each)) for each in correct])
    drawn: NDArray[np.float64] = np.clip(weights @ means + rng.normal(size=(draws, len(correct))) * noise, 0, 1)
    return drawn


def front_probabilities(accuracies: NDArray[np.float64], params: Sequence[float]) -> NDArray[np.float64]:
    """Give the share of draws in which each trial is on the front, [trials]."""
    costs = np.asarray(params)
    on_front = np.ones(accuracies.shape, dtype=bool)
    for trial, cost in enumerate(costs):
        cheaper, equal = costs < cost, costs == cost
        on_front[:, trial] &= (accuracies[:, equal] <= accuracies[:, [trial]]).all(axis=1)
        on_front[:, trial] &= (accuracies[:, cheaper] < accuracies[:, [trial]]).all(axis=1)
    share: NDArray[np.float64] = on_front.mean(axis=0)
    return share
