"""How fast this machine computes each stage of the network, at the batch and image size that is trained."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing.synchronize import Barrier
from statistics import median
from time import perf_counter

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.bound import HEAD, StageSeconds
from benchmarks.workloads import BACKBONE, Workload
from orchestrator.backbones import find_backbone
from orchestrator.config.models import TrainerConfig
from orchestrator.execution.child import KEEP_FREED_MEMORY, in_environment
from orchestrator.training.device import autocast
from orchestrator.training.kernels.convolutions import has_quick_convolutions, quicken_convolutions
from orchestrator.training.network.backbones import block_modules

_FORMATS = (torch.contiguous_format, torch.channels_last)


def measure_stages(workload: Workload, classes: int, repeats: int = 5) -> dict[str, StageSeconds]:
    """Measure each stage by itself: seconds an image, in network order, the head last.

    Each value is the median of `repeats` passes over one batch of random values, after one that is not counted. The
    fastest way counts: in each of torch's two memory formats (channels first, channels last), with the convolutions
    of this project where it has its own, and on a CPU in one process with all threads or in as many processes of one
    thread at the same time.
    """
    before = torch.get_num_threads()
    threads = workload.threads or before
    torch.set_num_threads(threads)
    try:
        measured = _measure_all(workload, classes, repeats)
    finally:
        torch.set_num_threads(before)
    if workload.accelerator == "gpu" or threads == 1:
        return measured
    apart = _measure_apart(workload, classes, repeats, processes=threads)
    return {name: stage.faster(apart[name]) for name, stage in measured.items()}


def _measure_apart(workload: Workload, classes: int, repeats: int, processes: int) -> dict[str, StageSeconds]:
    """Measure the stages in processes of one thread at the same time: seconds an image of all together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    pool = ProcessPoolExecutor(processes, context, initializer=_wait_for_others, initargs=(barrier,))
    with in_environment(KEEP_FREED_MEMORY), pool:
        calls = [pool.submit(_measure_all, workload, classes, repeats) for _ in range(processes)]
        measured = [call.result() for call in calls]
    return {name: StageSeconds.at_the_same_time([each[name] for each in measured]) for name in measured[0]}


def _wait_for_others(barrier: Barrier) -> None:
    """Begin with one thread, as a worker of this project, once all processes have loaded their libraries."""
    torch.set_num_threads(1)
    barrier.wait()


def _measure_all(workload: Workload, classes: int, repeats: int) -> dict[str, StageSeconds]:
    device = torch.device("cuda" if workload.accelerator == "gpu" else "cpu")
    network: nn.Module = torchvision.models.get_model(BACKBONE, weights=None, num_classes=classes).to(device)
    value = torch.randn(workload.batch_size, 3, workload.image_size, workload.image_size, device=device)
    trainer = TrainerConfig(accelerator=workload.accelerator, precision=workload.precision)
    measured = {}
    for name, stage in _stages(network).items():
        with torch.no_grad():
            following = stage.eval()(value)
        ways = _ways(stage, value[:1] if has_quick_convolutions(trainer) else None)
        measured[name] = _measure_stage(ways, value, workload.precision, repeats)
        value = following
    return measured


def _stages(network: nn.Module) -> dict[str, nn.Module]:
    """Cut the network where its blocks end; what has no weights goes with the block before it."""

    def join(*names: str) -> list[nn.Module]:
        return [network.get_submodule(name) for name in names]

    stages: dict[str, nn.Module] = {
        block: nn.Sequential(*join("conv1", "bn1", "relu", "maxpool")) if block == "stem" else modules[0]
        for block, modules in block_modules(network, find_backbone(BACKBONE)).items()
    }
    average, head = join("avgpool", "fc")
    return {**stages, HEAD: nn.Sequential(average, nn.Flatten(), head)}


def _ways(stage: nn.Module, sample: Tensor | None) -> list[tuple[nn.Module, torch.memory_format]]:
    """Return a copy of a stage for each way to compute it, with the memory format of its input.

    Args:
        stage: Of the network.
        sample: An input of it, where this project has convolutions of its own.
    """
    ways = []
    for memory_format in _FORMATS:
        in_format: nn.Module = deepcopy(stage).to(memory_format=memory_format)
        ways.append((in_format, memory_format))
        if sample is not None:
            quick = deepcopy(in_format)
            quicken_convolutions(quick, sample, memory_format)
            ways.append((quick, memory_format))
    return ways


def _measure_stage(
    ways: list[tuple[nn.Module, torch.memory_format]], value: Tensor, precision: str, repeats: int
) -> StageSeconds:
    def fastest(call: Callable[[nn.Module, Tensor], None]) -> float:
        seconds = []
        for stage, memory_format in ways:
            given = value.contiguous(memory_format=memory_format)
            seconds.append(_median_seconds(partial(call, stage, given), precision, value.device, repeats))
        return min(seconds) / len(value)

    return StageSeconds(
        forward=fastest(_forward),
        weights=fastest(lambda stage, given: _train(stage, given, trains=True, needs_input=False)),
        weights_and_input=fastest(lambda stage, given: _train(stage, given, trains=True, needs_input=True)),
        input=fastest(lambda stage, given: _train(stage, given, trains=False, needs_input=True)),
    )


def _forward(stage: nn.Module, value: Tensor) -> None:
    stage.eval()
    with torch.inference_mode():
        stage(value)


def _train(stage: nn.Module, value: Tensor, *, trains: bool, needs_input: bool) -> None:
    stage.train(trains).requires_grad_(trains).zero_grad(set_to_none=True)
    result = stage(value.detach().requires_grad_(needs_input))
    result.backward(torch.ones_like(result))


def _median_seconds(call: Callable[[], None], precision: str, device: torch.device, repeats: int) -> float:
    seconds = []
    with autocast(device.type, precision):
        for _ in range(repeats + 1):
            _wait(device)
            began = perf_counter()
            call()
            _wait(device)
            seconds.append(perf_counter() - began)
    return median(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
