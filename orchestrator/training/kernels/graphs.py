"""The forward and backward pass of a training step as CUDA graphs: two launches instead of some hundred."""

import functools
import inspect
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from orchestrator.config.models import Precision
from orchestrator.training.device import autocast

_LOG = logging.getLogger("orchestrator")
_CAPTURE_MODE = "thread_local"
"""A thread that pins batches beside the capture allocates as it likes; the default mode would end the capture then."""


class GraphedParts:
    """Parts of a network, one after the other, captured as graphs with the first batch that they get.

    Batches of another shape, such as the last one of an epoch, go through the parts as they are; so does every batch
    where the capture fails, which is noted once. BatchNorm statistics do not move by the capture.

    Args:
        parts: The parts, on a CUDA device and in the mode in which they train.
        precision: Precision of the training.
    """

    def __init__(self, parts: Sequence[nn.Module], precision: Precision) -> None:
        self._parts = parts
        self._precision = precision
        self._graphs: Callable[..., object] | None = None
        self._shape: torch.Size | None = None
        self._notes: list[str] = []

    def __call__(self, value: Tensor) -> Tensor:
        """Return what the parts give for a batch [n, ...]. The next call may write over it."""
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

    def take_notes(self) -> tuple[str, ...]:
        """Return what the user should hear, a sentence each, once."""
        notes = tuple(self._notes)
        self._notes.clear()
        return notes

    def _capture(self, value: Tensor) -> Callable[..., object] | None:
        chain = nn.Sequential(*self._parts)
        buffers = [(buffer, buffer.clone()) for buffer in chain.buffers()]
        try:
            with autocast(value.device.type, self._precision, cached=False):
                graphs = _make_graphs(chain, torch.zeros_like(value))
        except Exception as error:  # noqa: BLE001 - whatever a driver or torch raises, the steps can do without
            reason = str(error).strip().splitlines() or [type(error).__name__]
            note = f"training steps run without CUDA graphs, more slowly: {reason[0]}"
            _LOG.warning("%s", note)
            self._notes.append(note)
            return None
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
        return graphs


def _make_graphs(chain: nn.Module, sample: Tensor) -> Callable[..., object]:
    make = torch.cuda.make_graphed_callables
    if "capture_error_mode" in inspect.signature(make).parameters:
        graphs: Callable[..., object] = make(chain, (sample,), capture_error_mode=_CAPTURE_MODE)
        return graphs
    graph = torch.cuda.graph  # before torch 2.14 its contexts alone know the mode
    try:
        torch.cuda.graph = functools.partial(graph, capture_error_mode=_CAPTURE_MODE)  # type: ignore[misc, assignment]
        graphs = make(chain, (sample,))
    finally:
        torch.cuda.graph = graph  # type: ignore[misc]
    return graphs
