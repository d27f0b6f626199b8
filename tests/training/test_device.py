"""What torch computes on here: the accelerator and the precision of `auto`, and drivers that do not fit."""

import os
import warnings
from types import SimpleNamespace

import pynvml
import pytest
import torch

from orchestrator.config.models import TrainerConfig
from orchestrator.doctor.machine import check_device
from orchestrator.errors import ConfigError, SetupError
from orchestrator.machine import nvml
from orchestrator.training import device
from tests.doubles.nvml import DRIVER, FREE, Library, installed, uuid_of


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have GPUs, with or without native bf16."""

    def pretend(gpus: int, *, bf16: bool = False):
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        # emulation says yes on every GPU
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or bf16
        )
        properties = SimpleNamespace(name="H100", total_memory=80 * 2**30, uuid="0000")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: properties)

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
    assert len(device.list_gpus()) == gpus


def test_a_gpu_that_is_not_there_is_a_setup_error(machine):
    machine(0)
    with pytest.raises(SetupError, match="accelerator is gpu, and no GPU can be used: torch finds no CUDA GPU"):
        device.resolve_trainer(TrainerConfig(accelerator="gpu"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision": "16-mixed"}, "trainer.precision is 16-mixed, which needs a CUDA GPU"),
        ({"matmul_precision": "high"}, "trainer.matmul_precision is high, which needs a CUDA GPU"),
        ({"precision": "16-mixed", "matmul_precision": "medium"}, "is 16-mixed and trainer.matmul_precision is medium"),
    ],
)
def test_arithmetic_that_a_cpu_has_not_is_refused(machine, given, said):
    machine(0)
    with pytest.raises(ConfigError, match=said):
        device.resolve_trainer(TrainerConfig(**given))


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


def test_gpus_are_described_with_the_precision_of_auto(machine):
    machine(2, bf16=True)
    found = device.describe_device()
    assert [(gpu.name, gpu.memory_mb) for gpu in found.gpus] == [("H100", 81920)] * 2
    assert (found.precision, found.torch, found.why_cpu, found.fault) == ("bf16-mixed", torch.__version__, None, None)


def test_what_torch_says_of_a_driver_is_why_auto_takes_the_cpu(machine, monkeypatch):
    machine(0)

    def complain() -> bool:
        warnings.warn("Can't initialize NVML\nmore", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", complain)
    assert device.explain_cpu() == "Can't initialize NVML"


def test_a_torch_without_cuda_and_apples_gpu_are_why_auto_takes_the_cpu(machine, monkeypatch):
    machine(0)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert device.explain_cpu() == "torch is built without CUDA"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.explain_cpu() == "Apple's GPU is not used: what it computes was never checked against a CPU"


# A machine with GPUs, for the management library, and no driver behind them


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with installed(Library(4)) as library:
        yield library


@pytest.mark.parametrize("library_gpus", [1, 2, 4])
def test_gpus_are_counted_without_cuda(monkeypatch, library_gpus):
    def touch():
        raise AssertionError("this starts CUDA")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", touch)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="", total_memory=0))
    with installed(Library(library_gpus)):
        assert device.explain_cpu() is None
        assert len(device.list_gpus()) == library_gpus


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, 4), ("", 0), ("0", 1), ("2,3", 2), ("-1", 0), (uuid_of(2), 1), ("MIG-7a1b", 0), ("0,0", 0), ("7", 0)],
)
def test_cuda_visible_devices_is_heeded(four_gpus, monkeypatch, visible, gpus):
    """Of a MIG slice only CUDA itself could say that it is there, and there is no driver."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="", total_memory=0))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if not gpus:
        resolved = device.resolve_trainer(TrainerConfig())
        assert (resolved.accelerator, device.list_gpus()) == ("cpu", ())
        assert device.explain_cpu() == f"torch finds no CUDA GPU among CUDA_VISIBLE_DEVICES={visible!r}"
        return
    with pytest.raises(SetupError, match="torch cannot use the GPU of this machine"):
        device.resolve_trainer(TrainerConfig())
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert len(device.list_gpus()) == gpus


@pytest.mark.parametrize("ask", [lambda: device.open_device("gpu", 1), device.start_cuda, device.list_gpus])
def test_a_driver_that_does_not_fit_is_a_setup_error_with_both_versions(four_gpus, ask):
    with pytest.raises(SetupError, match="Found no NVIDIA driver") as caught:
        ask()
    message = caught.value.message
    assert f"torch {torch.__version__}, built for CUDA {torch.version.cuda}; NVIDIA driver {DRIVER}" in message
    assert "\n" not in message
    assert "build of torch that fits" in caught.value.hint
    assert "trainer.accelerator=cpu" in caught.value.hint


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_the_doctor_says_what_a_sweep_says(four_gpus, accelerator):
    with pytest.raises(SetupError, match=r"cannot use the GPU") as caught:
        device.resolve_trainer(TrainerConfig(accelerator=accelerator))
    (finding,) = check_device()
    assert (finding.status, finding.message, finding.hint) == ("fail", caught.value.message, caught.value.hint)
    assert device.resolve_trainer(TrainerConfig(accelerator="cpu")).accelerator == "cpu"  # the way out that it names


def test_a_run_chooses_its_gpu_before_anything_else_and_calls_without_an_index_mean_it(monkeypatch):
    """Without it `reset_peak_memory_stats(1)` fails: with an index torch does not start CUDA by itself."""
    calls = []
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    assert device.open_device("gpu", 1) == torch.device("cuda", 1)
    assert calls == ["init", torch.device("cuda", 1)]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert device.open_device("gpu", None) == torch.device("cuda", 0)
    assert device.open_device("cpu", 1) == torch.device("cpu")
    assert len(calls) == 4


def test_the_management_library_says_what_it_knows(four_gpus):
    bare = uuid_of(2).removeprefix("GPU-")
    assert nvml.read_driver() == DRIVER
    assert nvml.read_free_bytes(bare) == nvml.read_free_bytes(uuid_of(2)) == FREE
    assert nvml.read_free_bytes("of nobody") is None
    four_gpus.without |= {"nvmlDeviceGetMemoryInfo", "nvmlSystemGetDriverVersion"}
    pynvml._nvmlGetFunctionPointer_cache.clear()
    assert nvml.read_free_bytes(bare) is None
    assert nvml.read_driver() is None


def test_without_the_management_library_nothing_is_known():
    assert nvml.read_driver() is None
    assert nvml.read_free_bytes(uuid_of(0)) is None
