"""How runs share a machine, against schedules that are worked out by hand or step by step."""

import math
from itertools import combinations, permutations
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.app import packing
from orchestrator.app.packing import arrange_starts, choose_packing, choose_workers, count_fitting, estimate_end
from orchestrator.config.models import CacheConfig, DataConfig
from orchestrator.machine.gpus import GpuShare
from tests.factories import make_experiment

PREFIXES = [5.4, 5.0, 3.8, 2.5, 1.2, 0.01]
"""Training costs of the six prefixes of a ResNet18, about."""


def end_step_by_step(costs, workers):
    """Run tenths of a second one by one: whoever has nothing to do takes the next run."""
    waiting, left, steps = list(costs), [0] * workers, 0
    while waiting or any(left):
        for worker in range(workers):
            if left[worker] == 0 and waiting:
                left[worker] = waiting.pop(0)
        left = [max(0, each - 1) for each in left]
        steps += 1
    return steps


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 6))
def test_the_end_of_a_plan_is_that_of_a_schedule_worked_out_step_by_step(costs, workers):
    assert estimate_end(costs, workers) == end_step_by_step(costs, workers)


def test_two_runs_of_one_thread_beat_one_of_two():
    assert choose_workers(PREFIXES, cores=2, most=99) == 2


def test_a_single_run_gets_all_cores():
    assert choose_workers([3.0], cores=8, most=99) == 1


def test_where_one_run_is_most_of_the_work_it_gets_the_threads():
    # side by side the long one ends at 10; one after the other with two threads all ends at 11 / 2**0.9 = 5.9
    assert choose_workers([10.0, 1.0], cores=2, most=99) == 1


def test_many_equal_runs_have_a_core_each():
    assert choose_workers([1.0] * 32, cores=16, most=99) == 16


def test_no_more_run_than_memory_allows():
    assert choose_workers([1.0] * 32, cores=16, most=3) <= 3
    assert choose_workers([1.0] * 32, cores=16, most=0) == 1


def test_no_more_run_than_there_are():
    assert choose_workers([1.0] * 3, cores=64, most=99) == 3


@pytest.mark.parametrize("cores", range(1, 13))
def test_no_core_is_promised_twice(cores):
    workers = choose_workers(PREFIXES, cores=cores, most=99)
    assert workers * max(1, cores // workers) <= cores


def end_in_order(costs, order, workers, runs_each=1):
    return end_step_by_step([costs[trial] for trial in order for _ in range(runs_each)], workers)


def test_six_runs_of_very_different_length_divide_evenly():
    # costliest first: 35 + 17 + 9 = 61 beside 33 + 25 + 1; best: 35 + 25 = 60 beside 33 + 17 + 9 + 1 = 60
    costs = [35, 33, 25, 17, 9, 1]
    order = arrange_starts(costs, 2)
    assert order == [0, 1, 3, 2, 4, 5]
    assert end_in_order(costs, order, 2) == min(end_in_order(costs, each, 2) for each in permutations(range(6))) == 60


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 4), st.integers(1, 3))
def test_no_exchange_of_two_trials_would_let_a_plan_end_sooner_by_more_than_a_hundredth(costs, workers, runs_each):
    order = arrange_starts(costs, workers, runs_each=runs_each)
    end = end_in_order(costs, order, workers, runs_each)
    assert sorted(order) == list(range(len(costs)))
    assert end <= end_in_order(costs, range(len(costs)), workers, runs_each)
    for first, second in combinations(range(len(costs)), 2):
        other = list(order)
        other[first], other[second] = order[second], order[first]
        least = max(*costs, runs_each * sum(costs) / workers)
        assert end_in_order(costs, other, workers, runs_each) > end - 0.01 * least


def test_each_seed_of_a_trial_is_a_run():
    # 2 beside 2 and then 4 end at 6, 2 + 2 beside 4 at 4; with two seeds each, 2 2 2 2 4 4 end at 8, and none sooner
    assert arrange_starts([2.0, 2.0, 4.0], 2) == [0, 2, 1]
    assert arrange_starts([2.0, 2.0, 4.0], 2, runs_each=2) == [0, 1, 2]


@pytest.mark.parametrize(
    ("costs", "workers"),
    [
        ([], 2),
        ([5.0], 2),
        ([1.0, 5.0, 3.0], 1),  # one after the other they end at the same time in any order
        ([1.0] * 7, 2),
        ([1000.0, 997.0, 3.5], 2),  # half a thousandth could be saved
        ([float(cost) for cost in range(1, 66)], 2),
    ],
)
def test_where_little_would_be_gained_the_order_stays(costs, workers):
    assert arrange_starts(costs, workers) == list(range(len(costs)))


def test_memory_is_counted_by_what_a_batch_holds(monkeypatch):
    def fitting(available, **data):
        monkeypatch.setattr(packing, "read_memory", lambda: SimpleNamespace(available=available))
        return count_fitting(make_experiment(data=DataConfig(source="synthetic", **data)))

    # a process of 1000 MiB and 16 * 224 * 224 * 1200 bytes are 1918.75 MiB
    assert fitting(19_188 * 2**20, image_size=224, batch_size=16) == 10
    assert fitting(17_650 * 2**20, image_size=224, batch_size=16) == 9
    assert fitting(100 * 2**20, image_size=224, batch_size=16) == 1


def test_images_that_each_run_decodes_for_itself_take_memory_too(monkeypatch):
    available = 8 * psutil.virtual_memory().total
    monkeypatch.setattr(packing, "read_memory", lambda: SimpleNamespace(available=available))
    data = DataConfig(source="synthetic", memory_mb=100_000)
    shared = count_fitting(make_experiment(data=data))
    assert count_fitting(make_experiment(data=data, cache=CacheConfig(images=False))) < shared


GIB = 2**30


@pytest.mark.parametrize(
    ("share", "machine", "expected"),
    [
        # a GPU that computes a quarter of the time has room for three more
        (GpuShare(busy=0.25, bytes=2 * GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 16, "runs": 32}, 4),
        (GpuShare(busy=0.9, bytes=2 * GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 16, "runs": 32}, 1),
        # 0.8 * 15 GiB hold two runs of 5 GiB
        (GpuShare(busy=0.25, bytes=5 * GIB, free_bytes=15 * GIB), {"gpus": 1, "cores": 16, "runs": 32}, 2),
        (GpuShare(busy=0.25, bytes=20 * GIB, free_bytes=15 * GIB), {"gpus": 1, "cores": 16, "runs": 32}, 1),
        (GpuShare(busy=0.25, bytes=GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 2, "runs": 32}, 2),
        (GpuShare(busy=0.25, bytes=GIB, free_bytes=78 * GIB), {"gpus": 4, "cores": 2, "runs": 32}, 4),
        (GpuShare(busy=0.5, bytes=GIB, free_bytes=78 * GIB), {"gpus": 4, "cores": 64, "runs": 32}, 8),
        (GpuShare(busy=0.25, bytes=GIB, free_bytes=78 * GIB), {"gpus": 2, "cores": 64, "runs": 3}, 3),
        (GpuShare(busy=0.01, bytes=GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 64, "runs": 64}, 20),
        # a profiler that sees nothing, memory that was given back meanwhile, a clock that stands: one run a GPU
        (GpuShare(busy=0.0, bytes=GIB, free_bytes=78 * GIB), {"gpus": 2, "cores": 64, "runs": 64}, 2),
        (GpuShare(busy=0.25, bytes=0, free_bytes=78 * GIB), {"gpus": 1, "cores": 64, "runs": 64}, 1),
        (GpuShare(busy=0.25, bytes=-GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 64, "runs": 64}, 1),
        (GpuShare(busy=math.nan, bytes=GIB, free_bytes=78 * GIB), {"gpus": 1, "cores": 64, "runs": 64}, 1),
    ],
)
def test_a_gpu_is_shared_until_it_is_busy_or_full(share, machine, expected):
    assert choose_packing(share, **machine) == expected
