"""The forward and backward pass of a training step as CUDA graphs: two launches instead of some hundred."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from orchestrator.config.models import Precision
from orchestrator.training.device import autocast

_LOG = logging.getLogger("orchestrator")


class GraphedParts:
    """Parts of a network, one after the other, captured as graphs with the first batch that they get.

    Batches of another shape, such as the last one of an epoch, go through the parts as they are; so does every batch
    where the capture fails, which is said once. BatchNorm statistics do not move by the capture.

    Args:
        parts: The parts, on a CUDA device and in the mode in which they train.
        precision: Precision of the training.
    """

    def __init__(self, parts: Sequence[nn.Module], precision: Precision) -> None:
        self._parts = parts
        self._precision = precision
        self._graphs: Callable[..., object] | None = None
        self._shape: torch.Size | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """Give what the parts give for a batch [n, ...]. The next call may write over it."""
        if self._shape is None:
            self._shape = value.shape
            self._graphs = self._capture(value)
        if self._graphs is not None and value.shape == self._shape:
            result = self._graphs(value)
            assert isinstance(result, Tensor)  # noqa: S101 - the last part gives one
            return result
        for part in self._parts:
            value = part(value)
        return value

    def _capture(self, value: Tensor) -> Callable[..., object] | None:
        chain = nn.Sequential(*self._parts)
        buffers = [(buffer, buffer.clone()) for buffer in chain.buffers()]
        try:
            with autocast("cuda", self._precision, cached=False):
                graphs = torch.cuda.make_graphed_callables(chain, (torch.zeros_like(value),))
        except RuntimeError as error:
            _LOG.warning("training steps run without CUDA graphs, more slowly: %s", error)
            return None
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
        return graphs
