"""The memory of a run: on a GPU what is resident is counted apart."""

import pytest
import torch

from orchestrator.training.data.loading import load_data
from orchestrator.training.run.memory import MemoryMeter
from tests.training.tiny import make_data

MIB = 2**20
CUDA = torch.device("cuda", 1)


class Moved:
    """Data that lie on a GPU."""

    def __init__(self, resident_bytes):
        self.resident_bytes = resident_bytes


@pytest.fixture
def cuda(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: calls.append(device) or 300 * MIB)
    return calls


def test_images_on_the_gpu_are_no_part_of_the_peak(cuda):
    """Else a run that freezes more could look dearer: it keeps activations, which are larger than images."""
    meter = MemoryMeter()
    meter.start(CUDA, Moved(100 * MIB))
    assert (meter.peak_mb(), meter.resident_mb) == (200, 100)
    assert cuda == [CUDA, CUDA]  # not the first GPU


def test_on_a_cpu_it_is_the_resident_set_of_the_process(cuda):
    meter = MemoryMeter()
    meter.start(torch.device("cpu"), load_data(make_data()))
    assert meter.peak_mb() > 10
    assert meter.resident_mb is None
    assert cuda == []
