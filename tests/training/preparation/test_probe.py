"""What a run takes of a GPU, measured on the CPU with a double of CUDA's calls."""

from types import SimpleNamespace

import pytest
import torch

from orchestrator.app.packing import choose_packing
from orchestrator.config.dimensions import BatchSizeDimension, IntRange
from orchestrator.config.models import CacheConfig, DataConfig, SearchConfig, TrainerConfig
from orchestrator.training.device import Gpu
from orchestrator.training.kernels.graphs import GraphedParts
from orchestrator.training.preparation import probe
from tests.factories import make_experiment

pytestmark = pytest.mark.usefixtures("narrow")
GIB, MIB = 2**30, 2**20


def make(**overrides):
    data = DataConfig(source="synthetic", image_size=32, batch_size=2)
    trainer = TrainerConfig(accelerator="gpu", precision="bf16-mixed")
    return make_experiment(**({"data": data, "trainer": trainer, "search": SearchConfig(mode="prefix")} | overrides))


@pytest.fixture
def cuda(monkeypatch):
    """CUDA's calls as of a GPU whose memory goes from 70 GiB to 60 GiB while torch looks on, and a profiler."""
    state = SimpleNamespace(free=[70 * GIB, 60 * GIB], events=[SimpleNamespace(self_device_time_total=1e3)], shapes=[])

    class Profile:
        def __init__(self, activities):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def key_averages(self):
            return state.events

    class Parts(GraphedParts):
        def __call__(self, value):
            state.shapes.append(tuple(value.shape))
            for part in self._parts:
                value = part(value)
            return value

    monkeypatch.setattr(probe, "list_gpus", lambda: (Gpu("H100", 80 * 2**10, "0000"),))
    monkeypatch.setattr(probe, "open_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(probe, "read_free_bytes", lambda uuid: 71 * GIB if uuid == "0000" else None)
    monkeypatch.setattr(probe, "profile", Profile)
    monkeypatch.setattr(probe, "GraphedParts", Parts)
    monkeypatch.setattr(probe, "_WARM_UP", 1)
    monkeypatch.setattr(probe, "_STEPS", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (state.free.pop(0), 80 * GIB))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    return state


def test_a_share_counts_the_context_and_what_stays_on_the_gpu(cuda):
    share = probe.measure_share(make(cache=CacheConfig(activations=False)), 3, 1000)
    assert 0 < share.busy < 1
    # 71 GiB before the context, 60 after the steps, and 1000 images of 3 x 32 x 32 bytes
    assert (share.bytes, share.free_bytes) == (11 * GIB + 1000 * 3072, 71 * GIB)
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_the_management_library_the_context_is_guessed(cuda, monkeypatch):
    monkeypatch.setattr(probe, "read_free_bytes", lambda _: None)
    share = probe.measure_share(make(), 3, 0)
    assert share.bytes == 10 * GIB + 600 * MIB


@pytest.mark.parametrize(
    ("dimension", "batch"),
    [
        (None, 2),
        (BatchSizeDimension(choices=(4, 6, 3)), 6),
        (BatchSizeDimension(range=IntRange(low=2, high=5)), 5),
    ],
)
def test_the_largest_batch_of_the_search_is_measured(cuda, dimension, batch):
    search = SearchConfig(mode="prefix", batch_size=dimension, n_trials=4)
    probe.measure_share(make(search=search), 3, 0)
    assert set(cuda.shapes) == {(batch, 3, 32, 32)}


def test_a_profiler_that_sees_nothing_packs_least(cuda):
    cuda.events = []
    share = probe.measure_share(make(), 3, 0)
    assert share.busy == 0
    assert choose_packing(share, gpus=2, cores=64, runs=32) == 2


@pytest.mark.parametrize(
    ("data", "cache", "free", "expected"),
    [
        # a kept activation of the stem is 16 channels of 8 x 8 pixels in the narrow network, 4 bytes each
        ({}, CacheConfig(), GIB, 1000 * 16 * 8 * 8 * 4),
        ({}, CacheConfig(activations=False), GIB, 1000 * 3072),
        ({}, CacheConfig(activations=False), 1000 * 3072, 0),  # more than half of what is free stays outside
        ({"memory_mb": 2}, CacheConfig(images=False, activations=False), GIB, 0),  # decoded each epoch
        ({"memory_mb": 3}, CacheConfig(images=False, activations=False), GIB, 1000 * 3072),
    ],
)
def test_what_stays_on_the_gpu_is_counted_as_runs_decide_it(data, cache, free, expected):
    experiment = make(data=DataConfig(source="synthetic", image_size=32, **data), cache=cache)
    assert probe.count_resident(experiment, 1000, free) == expected
