"""An exponential moving average of a network's weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of a network's trainable parameters and of its floating-point buffers, such as BatchNorm statistics.

    The first update takes them as they are; each further one lets them count for `1 - decay`.

    Args:
        network: The network; what trains of it stays what it is.
        decay: Decay of the average.

    Source: `torch.optim.swa_utils.AveragedModel` with `use_buffers`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._average: list[Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of a step into the average."""
        current = self._list_tensors()
        if self._average:
            self._blend(self._average, current, 0)
        else:
            self._average = [tensor.clone() for tensor in current]

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average into the network and the network's tensors where it was; twice changes nothing."""
        for tensor, average in zip(self._list_tensors(), self._average, strict=True):
            kept = tensor.clone()
            tensor.copy_(average)
            average.copy_(kept)

    def state(self) -> list[Tensor]:
        """Return the average, for `load`."""
        return self._average

    def load(self, state: list[Any]) -> None:
        """Go on with an average."""
        current = self._list_tensors()
        self._average = [average.to(tensor.device) for average, tensor in zip(state, current, strict=True)]

    def _list_tensors(self) -> list[Tensor]:
        parameters = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        return [*parameters, *(buffer for buffer in self._network.buffers() if buffer.is_floating_point())]
