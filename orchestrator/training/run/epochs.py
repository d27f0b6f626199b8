"""Batches as Lightning gets them: one by one, or, where steps are short, an epoch of them as one."""

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor, nn

from orchestrator.records.facts import Cost
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.loading import LoadedData
from orchestrator.training.data.splits import TRAIN
from orchestrator.training.device import autocast
from orchestrator.training.images.batches import Batch, Batches

LOOP_S = 0.0004
"""Seconds that Lightning's loop takes for a batch, about, whatever a step computes."""
SHORT_S = 100 * LOOP_S
"""Seconds of a step from which on the loop takes less than a hundredth of it."""
_WARM_UP = 4
"""On a CPU the first pass over a batch takes less than this many times as long as the next."""


class Epochs:
    """Batches as Lightning gets them. Read one by one or as one, they are the same.

    Args:
        batches: The batches.
        whole: Make an epoch of them one batch to Lightning: its loop does not go round with each step then.
    """

    def __init__(self, batches: Batches, *, whole: bool) -> None:
        self._batches = batches
        self._whole = whole
        self.batch_sampler = batches.batch_sampler
        """Is told the epoch."""

    def __len__(self) -> int:
        return 1 if self._whole else len(self._batches)

    def __iter__(self) -> Iterator[Batch | Batches]:
        # begins with the first batch that is asked for, when the sampler knows the epoch
        yield from [self._batches] if self._whole else self._batches


def are_steps_short(
    module: nn.Module, data: LoadedData, spec: RunSpec, device: torch.device, cost: Cost | None
) -> bool:
    """Measure whether steps are so short that Lightning's loop would take more than a hundredth of them.

    Nothing that a run computes depends on it. It takes one or two forward passes of a batch.

    Args:
        module: Gives logits for a batch; it is on the device, in training mode, when this returns.
        data: What it trains on.
        spec: Says how.
        device: On what.
        cost: Says how much longer a step takes than the forward pass; None: no longer is taken for granted.
    """
    batch = torch.arange(min(data.config.batch_size, data.size(TRAIN)))
    size = data.config.image_size
    pixels = data.pixels[TRAIN][batch] if data.in_memory else torch.zeros(len(batch), 3, size, size, dtype=torch.uint8)
    pixels = pixels.to(device)
    per_forward = cost.gflops_train_per_image / cost.gflops_forward_per_image if cost is not None else 1.0

    def measure(images: Tensor) -> float:
        began = perf_counter()
        module(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return per_forward * (perf_counter() - began)

    module.to(device).eval()  # neither statistics nor random numbers move
    with torch.inference_mode(), autocast(device.type, spec.trainer.precision):
        measure(pixels[:1])  # loads what libraries load late
        took = measure(pixels)
        if took >= SHORT_S and (device.type != "cpu" or took < _WARM_UP * SHORT_S):
            took = measure(pixels)
    module.train()
    return took < SHORT_S
