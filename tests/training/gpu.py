"""What tests on a CUDA device share."""

import subprocess

from orchestrator.config.models import TrainerConfig
from orchestrator.training.device import resolve_trainer
from tests.training.tiny import make_spec


def gpu_spec(key: str, **trainer):
    resolved = resolve_trainer(TrainerConfig())
    return make_spec(key, accelerator=resolved.accelerator, precision=resolved.precision, **trainer)


def used_mib() -> int:
    """Memory in use on the GPUs, whoever uses it."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return sum(int(line) for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.split())
