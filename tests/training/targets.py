"""Trainings for worker processes, importable there by name."""

import os
import signal
import time
from pathlib import Path

from orchestrator.interfaces import EpochSink
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.narrow import narrow_networks

HERE = "tests.training.targets"


def run_or_die(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train; where the folder holds a file `die`, die in the middle: after an epoch, without a word."""

    def report(metrics):
        on_epoch(metrics)
        if (Path(workplace.directory) / "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    return run_training(spec, workplace, report)


def run_or_die_in_a_step(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train a narrow network; die at the start of the step that the folder's file `die` names, and remove it before."""
    order = Path(workplace.directory) / "die"
    step = FreezingModule.train_on

    def train_on(module, batch):
        if order.exists() and module.global_step == int(order.read_text()):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return step(module, batch)

    FreezingModule.train_on = train_on
    with narrow_networks():
        return run_training(spec, workplace, on_epoch)


def run_in_little_memory(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train with 64 MiB of the GPU: the weights fit, their gradients and moments do not."""
    import torch

    total = torch.cuda.get_device_properties(workplace.gpu or 0).total_memory
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / total, workplace.gpu or 0)
    return run_training(spec, workplace, on_epoch)


def run_narrow_or_die(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train a narrow network; die as `run_or_die` does."""
    with narrow_networks():
        return run_or_die(spec, workplace, on_epoch)


def run_narrow_until_asked(spec: RunSpec, workplace: Workplace, on_epoch: EpochSink) -> RunResult:
    """Train a narrow network; after its first epoch it goes on once it was asked to stop."""
    asked, heard = [], signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *received: (asked.append(received), heard(*received)))

    def report(metrics):
        on_epoch(metrics)
        while not asked:
            time.sleep(0.01)

    with narrow_networks():
        return run_training(spec, workplace, report)
