"""How runs share a machine: how many at a time, and which starts next. A GPU gets as many as keep it busy."""

import heapq
from collections.abc import Sequence
from itertools import combinations

from orchestrator.config.models import Experiment
from orchestrator.machine.gpus import GpuShare
from orchestrator.machine.limits import read_memory

_MIB = 2**20
_PROCESS = 1000 * _MIB
"""Bytes of a run without what grows with its batches, about."""
_GPU_MEMORY = 0.8
"""Share of a GPU's free memory that is given to runs: one that validates takes more than one that only trains."""
_LEAST_BUSY = 0.05
"""Least share of the time that a run is thought to take, so that no GPU gets more than 20."""
_SCALING = 0.9
"""Threads make a run faster by their number to this power, about: two threads 1.87 times."""
_WORTHWHILE = 0.005
"""Share of the time of a plan that another order must save: no estimate is better than that."""
_MOST_ARRANGED = 64
"""Trials of a plan that is arranged; a longer one, costliest first, ends evenly by itself."""


def choose_workers(costs: Sequence[float], *, cores: int, most: int) -> int:
    """Choose the number of runs at a time that ends a plan soonest, each with an equal share of the cores.

    Args:
        costs: Of each run on one thread, in the order in which they start, in any unit.
        cores: CPU cores.
        most: Runs at a time for which there is memory.
    """
    candidates = range(1, max(1, min(cores, len(costs), most)) + 1)
    return min(candidates, key=lambda workers: (estimate_end(costs, workers) / (cores // workers) ** _SCALING, workers))


def estimate_end(costs: Sequence[float], workers: int) -> float:
    """Return when the last of a plan's runs ends, where each starts as soon as one of `workers` is free."""
    free = [0.0] * workers
    for cost in costs:
        heapq.heapreplace(free, free[0] + cost)
    return max(free)


def arrange_starts(costs: Sequence[float], workers: int, *, runs_each: int = 1) -> list[int]:
    """Order trials so that the last of their runs ends early, and leave the given order where little would be gained.

    The two trials whose exchange saves most change places, again and again; of exchanges that save as much, the one
    that leaves the beginning as it is. That need not find the best order.

    Args:
        costs: Of a run of each trial, in any unit.
        workers: Runs at a time.
        runs_each: Runs of each trial.

    Returns:
        Positions in `costs`, in the order in which the trials are to start.
    """
    order = list(range(len(costs)))
    if not 1 < len(costs) <= _MOST_ARRANGED:
        return order
    least = max(*costs, runs_each * sum(costs) / workers)

    def stretch(order: Sequence[int]) -> float:
        """Return when the last run ends, as a multiple of when it would at best, to a thousandth."""
        return round(estimate_end([costs[trial] for trial in order for _ in range(runs_each)], workers) / least, 3)

    while stretch(order) > 1 + _WORTHWHILE:
        pairs = reversed(list(combinations(range(len(order)), 2)))
        best = min((_exchange(order, *pair) for pair in pairs), key=stretch)
        if stretch(best) > stretch(order) - _WORTHWHILE:
            break
        order = best
    return order


def _exchange(order: Sequence[int], first: int, second: int) -> list[int]:
    changed = list(order)
    changed[first], changed[second] = order[second], order[first]
    return changed


def choose_packing(share: GpuShare, *, gpus: int, cores: int, runs: int) -> int:
    """Choose the number of runs at a time on all GPUs: until they are busy, have no memory or a core each is used.

    A share that cannot be true, because a profiler or a driver reported nothing, packs least: one run a GPU.
    """
    if not (share.busy > 0 and share.bytes > 0):
        return max(1, min(gpus, runs))
    until_busy = round(1 / max(share.busy, _LEAST_BUSY))
    until_full = int(_GPU_MEMORY * share.free_bytes) // share.bytes
    on_each = max(1, min(until_busy, until_full, cores // gpus))
    return max(1, min(gpus * on_each, runs))


def count_fitting(experiment: Experiment) -> int:
    """Count the runs on a CPU for which there is memory now; at least one."""
    data = experiment.data
    activations = data.batch_size * data.image_size**2 * experiment.model.network.step_bytes
    images = 0 if experiment.cache.images else data.memory_mb * _MIB
    return max(1, read_memory().available // (_PROCESS + activations + images))
