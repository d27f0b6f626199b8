"""What a network does with an image: which modules it calls, in which order, and what they give."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Trace:
    """A forward pass.

    Attributes:
        order: Place of the first call of each module, by path, from 0; what was not called is not there.
        calls: Times that each was called.
        shapes: What each gave last, where that is one tensor.
        used: Place of the module call after which a parameter was first used by torch, by name.
        logits: Shape of the output; None where it is no tensor.
        elements: Numbers that modules without children gave.
    """

    order: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    logits: Shape | None = None
    elements: int = 0


class _Uses(TorchFunctionMode):
    """Notes when each tensor is first given to a function of torch."""

    def __init__(self, names: dict[int, str], trace: Trace) -> None:
        super().__init__()
        self._names = names
        self._trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in _list_tensors((args, kwargs)):
            name = self._names.get(id(each))
            if name is not None:
                self._trace.used.setdefault(name, len(self._trace.order) - 1)
        return func(*args, **(kwargs or {}))


def _list_tensors(tree: object) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from _list_tensors(each)
    elif isinstance(tree, dict):
        yield from _list_tensors(list(tree.values()))


def trace_network(network: nn.Module, images: Tensor) -> Trace:
    """Run a network in eval mode, without gradients, and note what it does."""
    trace = Trace()
    names = {id(tensor): name for name, tensor in network.named_parameters()}
    with _noting(network, trace), torch.no_grad(), _Uses(names, trace):
        output = network.eval()(images)
    if isinstance(output, Tensor):
        trace.logits = tuple(output.shape)
    return trace


@contextmanager
def _noting(network: nn.Module, trace: Trace) -> Iterator[None]:
    def note(path: str, leaf: bool) -> tuple[Any, Any]:  # noqa: FBT001
        def enter(_: nn.Module, __: object) -> None:
            trace.order.setdefault(path, len(trace.order))
            trace.calls[path] = trace.calls.get(path, 0) + 1

        def leave(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                trace.shapes[path] = tuple(output.shape)
                trace.elements += output.numel() if leaf else 0

        return enter, leave

    hooks = []
    for path, module in network.named_modules():
        enter, leave = note(path, next(module.children(), None) is None)
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def spatial_axes(shape: Shape) -> tuple[int, ...]:
    """Return the axes of a batch that are places in the image: of maps (NCHW, NHWC) and of tokens; none of vectors."""
    if len(shape) == 4:
        return (1, 2) if shape[1] == shape[2] != shape[3] else (2, 3)
    return (1,) if len(shape) == 3 else ()


def resolution(shape: Shape | None) -> int | None:
    """Return how many places along a side a batch has; None: it has none."""
    axes = () if shape is None else spatial_axes(shape)
    if shape is None or not axes:
        return None
    side = shape[axes[0]]
    return math.isqrt(side) if len(axes) == 1 else side


def first_called(trace: Trace, path: str) -> str | None:
    """Return the module that is called first of those at or below a path; None: none is."""
    below = [each for each in trace.order if each == path or each.startswith(f"{path}.")]
    return min(below, key=trace.order.__getitem__, default=None)
