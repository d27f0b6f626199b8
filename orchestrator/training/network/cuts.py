"""Cuts and units of a network, found by what it does: no class is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.training.network.spans import run_between
from orchestrator.training.network.tracing import Trace, first_called, trace_network

_BATCH = 2
_ROW_LEAVES = 3
"""Modules without children that a class holds, of which two make their parent a row."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a network that is not cut further.

    Attributes:
        path: Of its module.
        parameters: Numbers that it holds; 0: it has nothing to train.
        is_norm: It holds vectors only, as a normalisation does.
    """

    path: str
    parameters: int
    is_norm: bool


class CutFinder:
    """Says of the modules of a network whether their input alone decides its logits.

    An image of NaN goes through the network, and the module is given the input that it had from two real images: it is
    a cut where the logits are equal to the last bit. The image of NaN is a single one, as in a `Span`.

    Args:
        network: In eval mode, on the CPU, with values.
        image_size: Pixels square.

    Attributes:
        network: It.
        trace: What it does with two images.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        self.network = network
        self._images = torch.randn(_BATCH, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        self._poison = torch.full((1, 3, image_size, image_size), torch.nan)
        self.trace = trace_network(network, self._images)
        with torch.no_grad():
            self._logits = network(self._images)

    def is_cut(self, path: str) -> bool:
        """Return whether the input of a module, one tensor, decides the logits, to the last bit."""
        if self.trace.calls.get(path) != 1 or not isinstance(self._logits, Tensor):
            return False
        try:
            with torch.no_grad():
                value = run_between(self.network, self._images, None, None, path)
                if not isinstance(value, Tensor):
                    return False
                logits = run_between(self.network, self._poison, path, value, None)
        except Exception:  # noqa: BLE001 - what does not fit one image raises whatever it likes
            return False
        return isinstance(logits, Tensor) and torch.equal(logits, self._logits)

    def list_units(self, head: str) -> list[Unit]:
        """List the units before the head, in the order in which they are called; those never called are left out."""
        units = self._descend("", self.network, head)
        found = {unit: self.trace.order[first] for unit in units if (first := first_called(self.trace, unit.path))}
        return sorted(found, key=found.__getitem__)

    def _descend(self, path: str, module: nn.Module, head: str) -> Iterator[Unit]:
        if path == head:
            return
        holds_head = not path or head.startswith(f"{path}.")
        if holds_head or (_is_row(module) and not _begins_with_norm(module) and self._is_chain(path, module)):
            for name, child in module.named_children():
                yield from self._descend(f"{path}.{name}" if path else name, child, head)
            return
        yield Unit(path, sum(each.numel() for each in module.parameters()), _is_norm(module))

    def _is_chain(self, path: str, module: nn.Module) -> bool:
        """Return whether all children with parameters, but one at the most, are cuts."""
        children = [name for name, child in module.named_children() if next(child.parameters(), None) is not None]
        others = 0
        for name in children:
            others += not self._is_passed(f"{path}.{name}", module.get_submodule(name))
            if others > 1:
                return False
        return bool(children)

    def _is_passed(self, path: str, module: nn.Module) -> bool:
        """Return whether a module, or the first that is called of a list that is none, is a cut."""
        if path in self.trace.order or not isinstance(module, nn.ModuleList):
            return self.is_cut(path)
        inner = first_called(self.trace, path)
        return inner is not None and self.is_cut(inner)


def find_head(network: nn.Module, trace: Trace, num_classes: int) -> str | None:
    """Return the path of the last linear layer or convolution that gives a number for each class; None: none does."""
    found = None
    for path in trace.order:
        module = network.get_submodule(path)
        outputs = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
        if isinstance(module, nn.Linear | nn.Conv2d) and outputs == num_classes:
            found = path
    return found


def _is_norm(module: nn.Module) -> bool:
    sizes = [parameter.ndim for parameter in module.parameters()]
    return bool(sizes) and max(sizes) < 2


def _begins_with_norm(module: nn.Module) -> bool:
    """Return whether a row normalises what a layer of its own takes: they are one unit, such as a downsampling."""
    first = next((child for child in module.children() if next(child.parameters(), None) is not None), None)
    return isinstance(module, nn.Sequential) and first is not None and _is_norm(first)


def _is_row(module: nn.Module) -> bool:
    """Return whether a module looks like one that calls its children one after the other."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    kinds: dict[type[nn.Module], int] = {}
    for child in module.children():
        for each in child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else [child]:
            leaves = sum(1 for part in each.modules() if next(part.children(), None) is None)
            if leaves >= _ROW_LEAVES and not isinstance(each, nn.Sequential):  # a convolution and what follows it
                kinds[type(each)] = kinds.get(type(each), 0) + 1
    return any(count > 1 for count in kinds.values())
