"""The energy of a run: what its GPU counts, and nothing where none does."""

from types import SimpleNamespace

import pytest
import torch

from orchestrator.training.run.energy import EnergyMeter
from tests.doubles import nvml

WH_MJ = 3_600_000


def test_the_energy_of_a_run_is_what_its_gpu_counts_meanwhile(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=nvml.uuid_of(1)))
    with nvml.installed(nvml.Library(2)) as library:
        meter = EnergyMeter()
        meter.start(torch.device("cuda"))
        library.energy_mj[0] += 7 * WH_MJ  # another GPU
        library.energy_mj[1] += 5 * WH_MJ // 2
        assert meter.read_wh() == pytest.approx(2.5)


def test_nothing_counts_on_a_cpu_or_where_the_library_knows_no_such_gpu(monkeypatch):
    meter = EnergyMeter()
    meter.start(torch.device("cpu"))
    assert meter.read_wh() is None
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="unknown"))
    with nvml.installed(nvml.Library(1)):
        meter.start(torch.device("cuda"))
        assert meter.read_wh() is None
