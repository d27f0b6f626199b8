"""What the machine computes on: accelerator and precision in concrete terms."""

import platform

import torch

from orchestrator.config.models import Precision, TrainerConfig
from orchestrator.errors import ConfigError, SetupError


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
