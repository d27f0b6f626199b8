"""How much of a GPU one run takes, found out by some training steps."""

from time import perf_counter

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.machine.gpus import GpuShare
from orchestrator.machine.nvml import read_free_bytes
from orchestrator.training.device import autocast, choose_memory_format, list_gpus, open_device
from orchestrator.training.kernels.graphs import GraphedParts
from orchestrator.training.network.backbones import build_network, network_rest
from orchestrator.training.reuse.plan import plan_prefixes
from orchestrator.training.run.lightning import quiet, torch_settings

_WARM_UP, _STEPS = 5, 20
_CONTEXT = 600 * 2**20
"""Bytes that CUDA takes for a process, about, where nobody says it."""


def measure_share(experiment: Experiment, num_classes: int, images: int) -> GpuShare:
    """Train some steps on values that mean nothing, with nothing frozen: the run that takes most.

    This process touches CUDA and keeps its context: call it in one that ends soon.

    Args:
        experiment: With its `auto` values concrete.
        num_classes: Outputs of the head.
        images: Images of all splits.

    Raises:
        SetupError: CUDA cannot be started.
        RuntimeError: The steps failed.
    """
    trainer = experiment.trainer
    gpus = list_gpus()
    free = read_free_bytes(gpus[0].uuid) if gpus else None  # CUDA itself could only say it once it has a context
    device = open_device("gpu", 0)
    free_within, _ = torch.cuda.mem_get_info(device)
    free_before = free_within + _CONTEXT if free is None else max(free, free_within)
    with torch_settings(None, trainer.matmul_precision), quiet():
        torch.use_deterministic_algorithms(trainer.deterministic)
        busy = _measure_busy(experiment, num_classes, device)
    free_after, _ = torch.cuda.mem_get_info(device)
    resident = count_resident(experiment, images, free_within)
    return GpuShare(busy=busy, bytes=free_before - free_after + resident, free_bytes=free_before)


def count_resident(experiment: Experiment, images: int, free: int) -> int:
    """Count the bytes that a run keeps on a GPU beside network and steps: images, or what frozen blocks gave for them.

    Args:
        experiment: With its `auto` values concrete.
        images: Images of all splits.
        free: Bytes that are free there: what takes more than half of it stays outside.
    """
    data = experiment.data
    pixels = images * 3 * data.image_size**2
    in_memory = experiment.cache.images or pixels <= data.memory_mb * 2**20
    plans = plan_prefixes(experiment, images).values()
    kept = [images * plan.image_bytes for plan in plans if plan.kept]
    return max((size for size in (pixels, *kept) if in_memory and size <= free // 2), default=0)


def largest_batch(experiment: Experiment) -> int:
    """Return the size of the largest batch that a run of the sweep may train on."""
    dimension = experiment.search.batch_size
    if dimension is None:
        return experiment.data.batch_size
    return dimension.range.high if dimension.range is not None else max(dimension.choices or ())


def _measure_busy(experiment: Experiment, num_classes: int, device: torch.device) -> float:
    """Measure the share of the time in which the GPU computes; 0 where the profiler sees nothing."""
    data, trainer, model = experiment.data, experiment.trainer, experiment.model
    batch = largest_batch(experiment)
    network = build_network(model, num_classes, 0, FrozenSet(), image_size=data.image_size).train()
    network.to(device, memory_format=choose_memory_format("gpu", data.image_size))  # type: ignore[call-overload]
    parts = GraphedParts(network_rest(network, model.network, 0, data.image_size), trainer.precision)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)  # it holds most
    images = torch.randn(batch, 3, data.image_size, data.image_size, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device.type, trainer.precision):
            loss: Tensor = nn.functional.cross_entropy(parts(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for _ in range(_WARM_UP):
        step()
    torch.cuda.synchronize(device)
    began = perf_counter()
    for _ in range(_STEPS):
        step()
    torch.cuda.synchronize(device)
    seconds = perf_counter() - began
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(_STEPS):
            step()
        torch.cuda.synchronize(device)
    busy_s = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    return float(min(1.0, busy_s / seconds))
