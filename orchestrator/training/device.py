"""What the machine computes on: accelerator and precision in concrete terms."""

import os
import platform
import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.config.models import Precision, TrainerConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.machine.nvml import read_driver

AUTOCAST: Mapping[str, torch.dtype] = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""What convolutions compute in, by precision; those that are not here leave it as it is."""
_CHANNELS_LAST_FROM = 128
"""Pixels: a CPU trains on images of 128 px and more by a tenth faster with it, and on smaller ones no faster."""
_DRIVER = Path("/proc/driver/nvidia/version")
# torch asks the management library for GPUs: that neither starts CUDA, which no process could that is forked later, nor
# takes a driver that is too old for no GPU at all. Lightning sets it too, and whoever has not loaded it must agree
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"


def autocast(device_type: str, precision: str, *, cached: bool = True) -> AbstractContextManager[object]:
    """Compute in a precision, as Lightning's trainer does.

    Args:
        device_type: `cpu` or `cuda`.
        precision: In concrete terms.
        cached: Cast each weight once for the context; a CUDA graph must cast it in each replay.
    """
    dtype = AUTOCAST.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device_type, dtype=dtype, cache_enabled=cached)


def choose_memory_format(accelerator: str, image_size: int) -> torch.memory_format:
    """Choose how weights and activations lie in memory. The last bit of a result depends on it."""
    if accelerator == "gpu" or image_size >= _CHANNELS_LAST_FROM:
        return torch.channels_last
    return torch.contiguous_format


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA GPU that torch sees. Its UUID is as torch writes it; empty where torch does not know it."""

    name: str
    memory_mb: float
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What this machine computes on.

    Attributes:
        torch: Version of torch.
        cuda: CUDA version that torch was built for; None: for none.
        driver: Version of the NVIDIA driver; None where there is none, or where it cannot be read.
        gpus: The GPUs that torch computes on.
        cpu: Name of the CPU.
        precision: What `auto` gives.
        why_cpu: Why `auto` takes the CPU; None where it takes a GPU.
        fault: Why torch cannot compute on the GPUs that it sees; `auto` is refused then. None: it can, or sees none.
    """

    torch: str
    cuda: str | None
    driver: str | None
    gpus: tuple[Gpu, ...]
    cpu: str
    precision: Precision
    why_cpu: str | None
    fault: SetupError | None


def describe_device() -> Device:
    """Return what torch computes on here. It asks as a sweep does."""
    gpus: tuple[Gpu, ...] = ()
    fault: SetupError | None = None
    why_cpu = explain_cpu()
    if why_cpu is None:
        try:
            gpus = list_gpus()
        except SetupError as error:
            fault = error
    return Device(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=_find_driver(),
        gpus=gpus,
        cpu=device_name("cpu"),
        precision=_auto_precision("gpu" if gpus else "cpu"),
        why_cpu=why_cpu,
        fault=fault,
    )


def explain_cpu() -> str | None:
    """Explain why `accelerator: auto` takes the CPU, as a clause; None where torch sees a CUDA GPU."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        reason = "torch is built without CUDA"
        if torch.backends.mps.is_available():
            reason = "Apple's GPU is not used: what it computes was never checked against a CPU"
    elif said:  # of a driver that does not fit
        reason = str(said[0].message).splitlines()[0]
    elif visible is not None:
        reason = f"torch finds no CUDA GPU among CUDA_VISIBLE_DEVICES={visible!r}"
    else:
        reason = "torch finds no CUDA GPU"
    return reason


def start_cuda() -> None:
    """Start CUDA in this process; nothing is put on a GPU.

    Raises:
        SetupError: It cannot be started, whatever the management library says of GPUs.
    """
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        driver = _find_driver()
        raise SetupError(
            f"torch cannot use the GPU of this machine: {str(error).strip().splitlines()[0]} "
            f"(torch {torch.__version__}, {build}; NVIDIA driver {driver or 'not found'})",
            hint="install a driver, or the build of torch that fits the one that is there "
            "(https://pytorch.org/get-started/locally), or set trainer.accelerator=cpu",
        ) from error


def list_gpus() -> tuple[Gpu, ...]:
    """List the CUDA GPUs that torch computes on.

    Raises:
        SetupError: There are some, and torch cannot use them.
    """
    if not torch.cuda.is_available():
        return ()
    start_cuda()
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return tuple(Gpu(each.name, each.total_memory / 2**20, str(getattr(each, "uuid", ""))) for each in found)


def open_device(accelerator: str, gpu: int | None) -> torch.device:
    """Make the device of a run ready. From here on, CUDA's calls without an index mean that GPU.

    Args:
        accelerator: In concrete terms.
        gpu: Index among the GPUs that torch sees; None: the first.

    Raises:
        SetupError: CUDA cannot be started.
    """
    if accelerator != "gpu":
        return torch.device("cpu")
    # cuBLAS reads it once, and sums in an order of its own each time without it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    start_cuda()  # with an index, not all calls of torch.cuda do
    device = torch.device("cuda", gpu or 0)
    torch.cuda.set_device(device)  # else the first GPU gets a context of each process too
    return device


def _find_driver() -> str | None:
    try:
        text = _DRIVER.read_text()
    except OSError:  # inside some containers
        return read_driver()
    # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 ..."; open modules say it likewise
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found[1] if found else text.splitlines()[0].strip()


def resolve_trainer(trainer: TrainerConfig) -> TrainerConfig:
    """Replace `auto` by what this machine has.

    Raises:
        SetupError: A GPU is asked for and there is none; or there is one, and torch cannot use it.
        ConfigError: The precision does not exist on the device.
    """
    accelerator = trainer.accelerator
    why_cpu = explain_cpu() if accelerator != "cpu" else None
    if accelerator == "auto":
        accelerator = "gpu" if why_cpu is None else "cpu"
    if accelerator == "gpu":
        if why_cpu is not None:
            raise SetupError(
                f"trainer.accelerator is gpu, and no GPU can be used: {why_cpu}",
                hint="set trainer.accelerator to cpu or auto, or check the driver with `nvidia-smi`",
            )
        start_cuda()
    precision = _auto_precision(accelerator) if trainer.precision == "auto" else trainer.precision
    if accelerator == "cpu":
        _require_cpu_arithmetic(trainer)
    return trainer.model_copy(update={"accelerator": accelerator, "precision": precision})


def _require_cpu_arithmetic(trainer: TrainerConfig) -> None:
    wrong = []
    if trainer.precision == "16-mixed":
        wrong.append("trainer.precision is 16-mixed")
    if trainer.matmul_precision != "highest":
        wrong.append(f"trainer.matmul_precision is {trainer.matmul_precision}")
    if wrong:
        raise ConfigError(
            f"{' and '.join(wrong)}, which needs a CUDA GPU, and this run is on the CPU",
            hint="leave it out, or set trainer.precision to auto or 32-true and trainer.matmul_precision to highest",
        )


def _auto_precision(accelerator: str) -> Precision:
    if accelerator == "cpu":
        return "32-true"
    # without the argument a T4 says yes, by emulation
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def device_name(accelerator: str, gpu: int | None = None) -> str:
    """Name the device that a run with this concrete accelerator uses."""
    if accelerator == "gpu":
        return torch.cuda.get_device_name(gpu or 0)
    return platform.processor() or platform.machine() or "cpu"
