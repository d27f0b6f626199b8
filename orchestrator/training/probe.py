"""How much of a GPU one run takes, found out by some training steps."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment
from orchestrator.packing import GpuShare
from orchestrator.training.backbones import build_network, network_stages
from orchestrator.training.device import autocast, choose_memory_format
from orchestrator.training.graphs import GraphedParts

_WARM_UP, _STEPS = 5, 20


def probe_gpu(experiment: Experiment, num_classes: int) -> GpuShare:
    """Measure in a process of its own, so that this one never touches CUDA. It takes as long as torch takes to load.

    Args:
        experiment: With its `auto` values concrete.
        num_classes: Outputs of the head.

    Raises:
        RuntimeError: The steps failed there, or the process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(measure_share, experiment, num_classes).result()


def measure_share(experiment: Experiment, num_classes: int) -> GpuShare:
    """Train some steps on values that mean nothing, with nothing frozen: the run that takes most."""
    device = torch.device("cuda", 0)
    free_before, _ = torch.cuda.mem_get_info(device)
    data, trainer = experiment.data, experiment.trainer
    model = experiment.model
    network = build_network(model, num_classes, 0, FrozenSet(())).train()
    network.to(device, memory_format=choose_memory_format("gpu", data.image_size))  # type: ignore[call-overload]
    parts = GraphedParts(tuple(network_stages(network, model.backbone).values()), trainer.precision)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.randn(data.batch_size, 3, data.image_size, data.image_size, device=device)
    labels = torch.zeros(data.batch_size, dtype=torch.int64, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with autocast("cuda", trainer.precision):
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
    free_after, _ = torch.cuda.mem_get_info(device)
    return GpuShare(busy=min(1.0, busy_s / seconds), bytes=free_before - free_after, free_bytes=free_before)
