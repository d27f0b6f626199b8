import warnings
from types import SimpleNamespace

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


DRIVER_TEXTS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\nGCC version: 12\n": "550.54.15",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n": "570.86.10",
    "something else\n": "something else",
}


@pytest.mark.parametrize("text", DRIVER_TEXTS)
def test_the_driver_is_read_from_the_kernel(tmp_path, monkeypatch, text):
    monkeypatch.setattr(device, "_DRIVER", tmp_path / "version")
    assert device.describe_device().driver is None
    (tmp_path / "version").write_text(text)
    assert device.describe_device().driver == DRIVER_TEXTS[text]


def test_gpus_are_described_with_the_precision_of_auto(machine, monkeypatch):
    machine(2, bf16=True)
    properties = SimpleNamespace(name="H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: properties)
    found = device.describe_device()
    assert [(gpu.name, gpu.memory_mb) for gpu in found.gpus] == [("H100", 81920)] * 2
    assert (found.precision, found.torch) == ("bf16-mixed", torch.__version__)


def test_what_torch_says_of_an_old_driver_is_kept(machine, monkeypatch):
    machine(0)

    def complain() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver is too old\nmore", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", complain)
    assert device.describe_device().warnings == ("CUDA initialization: The NVIDIA driver is too old",)
