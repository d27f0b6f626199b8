import pytest
import torch

from orchestrator.config.models import TrainerConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training import device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have GPUs, with or without native bf16."""

    def pretend(gpus: int, *, bf16: bool = False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        # emulation says yes on every GPU
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or bf16
        )

    return pretend


@pytest.mark.parametrize(
    ("gpus", "bf16", "given", "expected"),
    [
        (0, False, {}, ("cpu", "32-true")),
        (1, True, {}, ("gpu", "bf16-mixed")),
        (1, False, {}, ("gpu", "16-mixed")),
        (1, True, {"accelerator": "cpu"}, ("cpu", "32-true")),
        (1, True, {"precision": "16-mixed"}, ("gpu", "16-mixed")),
        (0, False, {"precision": "bf16-mixed"}, ("cpu", "bf16-mixed")),
        (2, False, {"accelerator": "gpu", "precision": "32-true"}, ("gpu", "32-true")),
    ],
)
def test_auto_becomes_what_the_machine_has(machine, gpus, bf16, given, expected):
    machine(gpus, bf16=bf16)
    resolved = device.resolve_trainer(TrainerConfig(lr=0.5, **given))
    assert (resolved.accelerator, resolved.precision) == expected
    assert resolved.lr == 0.5
    assert device.count_gpus() == gpus


def test_a_gpu_that_is_not_there_is_a_setup_error(machine):
    machine(0)
    with pytest.raises(SetupError, match="accelerator is gpu, and torch finds no CUDA device"):
        device.resolve_trainer(TrainerConfig(accelerator="gpu"))


def test_half_precision_on_a_cpu_is_refused(machine):
    machine(0)
    with pytest.raises(ConfigError, match="16-mixed, which needs a CUDA GPU"):
        device.resolve_trainer(TrainerConfig(precision="16-mixed"))


def test_the_device_has_a_name():
    assert device.device_name("cpu")
