"""Parts of a network between two cuts: run without knowing its class, by hooks on the modules at the cuts."""

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from orchestrator.errors import OrchestratorError


class _Reached(OrchestratorError):  # noqa: N818 - it ends a pass, and is no error
    """The pass has reached the module at which it is to end."""

    def __init__(self, value: object) -> None:
        super().__init__("the module at which the pass ends is reached")
        self.value = value


class Span(nn.Module):
    """What a network computes from one cut to another.

    A cut is a module whose input alone decides all that comes after it. A span that begins at one lets the network
    begin with a single black image, and puts the span's own input in the place of what that gave there.

    Args:
        network: The network; it is no submodule of the span.
        own: What the span computes with: the parameters and buffers of the span are theirs.
        start: Path of the module whose input the span takes; None: it takes images.
        stop: Path of the module whose input it gives; None: it gives logits.
        image_size: Pixels square of the network's images.

    Shape:
        A batch [n, ...] to a batch [n, ...].
    """

    def __init__(
        self,
        network: nn.Module,
        own: Iterable[nn.Module],
        *,
        start: str | None,
        stop: str | None,
        image_size: int,
    ) -> None:
        super().__init__()
        self.own = nn.ModuleList(own)
        self._network = (network,)  # a tuple, so that its parts are not registered under a second name
        self._start = start
        self._stop = stop
        self._image_size = image_size

    def forward(self, value: Tensor) -> Tensor:
        """Compute the span of a batch."""
        (network,) = self._network
        images = value
        if self._start is not None:
            images = torch.zeros(1, 3, self._image_size, self._image_size, device=value.device)
        result = run_between(network, images, self._start, value, self._stop)
        if not isinstance(result, Tensor):
            raise TypeError(f"what arrives at {self._stop or 'the end'} is a {type(result).__name__}, no Tensor")
        return result


def run_between(
    network: nn.Module, images: Tensor, start: str | None, value: Tensor | None, stop: str | None
) -> object:
    """Run a network with `value` as the input of the module `start`, and return the input of the module `stop`.

    Args:
        network: The network.
        images: What it begins with.
        start: Path of a module; None: nothing is put in.
        value: Its first input.
        stop: Path of a module; None: the network's output is returned.
    """

    def put_in(_: nn.Module, given: tuple[object, ...]) -> tuple[object, ...]:
        return (value, *given[1:])

    def end(_: nn.Module, given: tuple[object, ...]) -> None:
        raise _Reached(given[0] if given else None)

    with ExitStack() as hooks:
        if start is not None:
            hooks.callback(network.get_submodule(start).register_forward_pre_hook(put_in).remove)
        if stop is not None:
            hooks.callback(network.get_submodule(stop).register_forward_pre_hook(end).remove)
        try:
            result: object = network(images)
        except _Reached as reached:
            return reached.value
    if stop is not None:
        raise RuntimeError(f"the network never called its module {stop}")
    return result
