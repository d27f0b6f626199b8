"""What the machine computes on: accelerator and precision in concrete terms."""

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

AUTOCAST: Mapping[str, torch.dtype] = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""What convolutions compute in, by precision; those that are not here leave it as it is."""
_CHANNELS_LAST_FROM = 128
"""Pixels: a CPU trains on images of 128 px and more by a tenth faster with it, and on smaller ones no faster."""
_DRIVER = Path("/proc/driver/nvidia/version")


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
    """A CUDA GPU that torch sees."""

    name: str
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What this machine computes on.

    Attributes:
        torch: Version of torch.
        cuda: CUDA version that torch was built for; None: for none.
        driver: Version of the NVIDIA driver; None where there is none, or where it cannot be read.
        gpus: The GPUs that torch sees.
        cpu: Name of the CPU.
        precision: What `auto` gives.
        warnings: What torch said when it was asked for GPUs.
    """

    torch: str
    cuda: str | None
    driver: str | None
    gpus: tuple[Gpu, ...]
    cpu: str
    precision: Precision
    warnings: tuple[str, ...]


def describe_device() -> Device:
    """Say what torch computes on here."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [torch.cuda.get_device_properties(number) for number in range(count_gpus())]
        precision = resolve_trainer(TrainerConfig()).precision  # an old driver makes torch warn, and go without
    return Device(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=_read_driver(),
        gpus=tuple(Gpu(each.name, each.total_memory / 2**20) for each in found),
        cpu=device_name("cpu"),
        precision=precision,
        warnings=tuple(dict.fromkeys(str(each.message).splitlines()[0] for each in said)),
    )


def _read_driver() -> str | None:
    try:
        text = _DRIVER.read_text()
    except OSError:
        return None
    # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 ..."; open modules say it likewise
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found[1] if found else text.splitlines()[0].strip()


def resolve_trainer(trainer: TrainerConfig) -> TrainerConfig:
    """Replace `auto` by what this machine has.

    Raises:
        SetupError: A GPU is asked for and there is none.
        ConfigError: The precision does not exist on the device.
    """
    has_gpu = torch.cuda.is_available()
    accelerator = trainer.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if has_gpu else "cpu"
    if accelerator == "gpu" and not has_gpu:
        raise SetupError(
            "trainer.accelerator is gpu, and torch finds no CUDA device here",
            hint="set trainer.accelerator to cpu or auto, or check the driver with `nvidia-smi`",
        )
    precision = _auto_precision(accelerator) if trainer.precision == "auto" else trainer.precision
    if accelerator == "cpu" and precision == "16-mixed":
        raise ConfigError(
            "trainer.precision is 16-mixed, which needs a CUDA GPU, and this run is on the CPU",
            hint="set trainer.precision to auto or 32-true",
        )
    return trainer.model_copy(update={"accelerator": accelerator, "precision": precision})


def _auto_precision(accelerator: str) -> Precision:
    if accelerator == "cpu":
        return "32-true"
    # without the argument a T4 says yes, by emulation
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def count_gpus() -> int:
    """Count the CUDA GPUs that torch sees; 0 without CUDA."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_name(accelerator: str = "auto", gpu: int | None = None) -> str:
    """Name the device that a run with this concrete accelerator (`auto`: whatever is there) uses."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name(gpu or 0)
    return platform.processor() or platform.machine() or "cpu"
