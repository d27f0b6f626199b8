"""The blocks of any network: found by its cuts, or given and checked. Run as a program, it answers another process."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from orchestrator.backbones import HEAD, Backbone
from orchestrator.discovery import Blocks, Granularity
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.training.network.architectures import build_empty, build_random, usual_size
from orchestrator.training.network.cuts import CutFinder, Unit, find_head
from orchestrator.training.network.grouping import attach_others, group_units, name_blocks
from orchestrator.training.network.tracing import Trace, first_called, trace_network

_CLASSES = 13
"""Outputs of the head while it is looked for: no other layer has as many."""
_BATCH = 4
"""Images whose statistics BatchNorm gets."""
_SMALL = 64
"""Pixels with which cuts are looked for first: what decides the logits does not depend on it."""
_STEP_FACTOR = 8
"""Bytes that a training step holds for each number that layers give, about: as measured for the ResNets."""


def find_blocks(name: str, granularity: Granularity = "stage", blocks: Blocks | None = None) -> dict[str, Any]:
    """Find the blocks of a network, or what there is to know of given ones, as the fields of a `Backbone`.

    Args:
        name: The network, as `model.backbone` takes it.
        granularity: `stage`: units that give maps of one size are a block; `unit`: each is one.
        blocks: Paths of the modules and parameters of each block; None: they are found.

    Raises:
        ConfigError: It is no network that is understood, or the blocks do not cover its parameters, each once.
        SetupError: A library is missing.
    """
    size = usual_size(name)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        network, finder = _open(name, size)
        head = _require_head(network, finder.trace, name)
        units = finder.list_units(head)
        trace = _trace_usual(name, size) or finder.trace
        head_begins = _begin_head(finder, head)
        if blocks is None:
            groups = [[unit.path for unit in group] for group in group_units(units, granularity, trace)]
            whole = attach_others(network, finder.trace, groups, head, head_begins)
            named = name_blocks(network, whole, finder.trace, head)
            modules: Mapping[str, Sequence[str]] = _arrange(network, finder.trace, named, head)
        else:
            given = _arrange(network, finder.trace, dict(blocks), head)
            whole = attach_others(network, finder.trace, list(given.values()), head, head_begins)
            modules = dict(zip(given, whole, strict=True))
        cuts = _find_cuts(finder, modules, head_begins, units)
    return {
        "name": name,
        "modules": {block: list(paths) for block, paths in modules.items()},
        "pool": [],
        "head": head,
        "cuts": cuts,
        "chained": False,
        "image_size": size,
        "step_bytes": max(100, round(_STEP_FACTOR * trace.elements / size**2)),
    }


def _open(name: str, usual: int) -> tuple[nn.Module, CutFinder]:
    """Build a network that takes small images, or those that it is made for."""
    reason: Exception | None = None
    for size in dict.fromkeys((min(_SMALL, usual), usual)):
        try:
            network = build_random(name, _CLASSES, size).eval()
            enliven(network, size)
            return network, CutFinder(network, size)
        except ConfigError:
            if size == usual:
                raise
        except Exception as error:  # noqa: BLE001 - a network raises whatever it likes
            reason = error
    raise ConfigError(
        f"model.backbone: {name} cannot take an image [n, 3, {usual}, {usual}]: {str(reason).splitlines()[0]}"
    ) from reason


def enliven(network: nn.Module, image_size: int) -> None:
    """Let the output of a network with random weights depend on its input, as that of a trained one does.

    Layers that begin at zero get values, and BatchNorm the statistics of a batch: without them what a deep network
    gives for any image is the same to the last bit.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.detach().any():
            module.reset_parameters()
    for norm in norms:
        norm.momentum = 1.0
    with suppress(ValueError, RuntimeError), torch.no_grad():
        network.train()(torch.randn(_BATCH, 3, image_size, image_size, generator=torch.Generator().manual_seed(1)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _require_head(network: nn.Module, trace: Trace, name: str) -> str:
    logits = trace.logits
    if logits is None or logits[1:] != (_CLASSES,):
        what = "no tensor" if logits is None else f"a tensor {list(logits)}"
        raise ConfigError(
            f"model.backbone: {name} built with num_classes={_CLASSES} gives {what} for 2 images, not [2, {_CLASSES}]",
            hint="the function must take num_classes, and its network must give a number for each class",
        )
    head = find_head(network, trace, _CLASSES)
    if head is None:
        raise ConfigError(
            f"model.backbone: {name} has no linear layer or convolution with an output for each class",
            hint="its head cannot be found: end the network in a torch.nn.Linear",
        )
    others = [
        path
        for path in trace.order
        if path != head
        and isinstance(module := network.get_submodule(path), nn.Linear)
        and module.out_features == _CLASSES
    ]
    if others:
        raise ConfigError(f"model.backbone: {name} has several heads: {', '.join([*others, head])}")
    return head


def _trace_usual(name: str, size: int) -> Trace | None:
    """Trace the network with images of the usual size, without values; None where it cannot run so."""
    try:
        network = build_empty(name, _CLASSES, size)
        return trace_network(network, torch.empty(1, 3, size, size, device="meta"))
    except Exception:  # noqa: BLE001 - what needs values is traced with the small images only
        return None


def _find_cuts(
    finder: CutFinder, modules: Mapping[str, Sequence[str]], head_begins: str, units: Sequence[Unit]
) -> dict[str, str]:
    """Find where blocks begin of which the input decides all that follows; the head begins behind the last block."""
    trace = finder.trace
    weighty = [first for unit in units if unit.parameters and (first := first_called(trace, unit.path))]
    begins = {HEAD: head_begins}
    for block, paths in list(modules.items())[1:]:
        inside = [each for each in weighty if any(f"{each}.".startswith(f"{path}.") for path in paths)]
        called = inside or [first for path in paths if (first := first_called(trace, path))]
        if called:
            begins[block] = min(called, key=trace.order.__getitem__)
    return {block: path for block, path in begins.items() if finder.is_cut(path)}


def _begin_head(finder: CutFinder, head: str) -> str:
    """Return the dropout before the head, if there is one: it belongs to the head's training, not to the last block."""
    network, trace = finder.network, finder.trace
    order = sorted(trace.order, key=trace.order.__getitem__)
    before = order[: trace.order[head]]
    begin = head
    for path in reversed(before):
        module = network.get_submodule(path)
        if next(module.parameters(), None) is not None and next(module.children(), None) is None:
            break
        if isinstance(module, _DropoutNd) and module.p:
            begin = path
    return begin


def _arrange(
    network: nn.Module, trace: Trace, blocks: Mapping[str, Sequence[str]], head: str
) -> dict[str, tuple[str, ...]]:
    """Bring given blocks into network order, and make sure that they hold each parameter but the head's once."""
    names = [name for name, _ in network.named_parameters() if not name.startswith(f"{head}.")]
    held = {*(path for path, _ in network.named_modules() if path), *names}
    problems = []
    owners: dict[str, list[str]] = {name: [] for name in names}
    for block, paths in blocks.items():
        problems += [f"{block}: the network has no {path}" for path in paths if path not in held]
        problems += [f"{block}: {path} holds the head" for path in paths if f"{head}.".startswith(f"{path}.")]
        for name in names:
            owners[name] += [block for path in paths if name == path or name.startswith(f"{path}.")]
    missing = [name for name, found in owners.items() if not found]
    twice = [f"{name} ({', '.join(found)})" for name, found in owners.items() if len(found) > 1]
    if missing:
        problems.append(f"no block has {', '.join(missing[:5])}{f' and {len(missing) - 5} more' * (len(missing) > 5)}")
    if twice:
        problems.append(f"held twice: {', '.join(twice[:5])}")
    if problems:
        raise ConfigError(
            f"model.blocks: {'; '.join(problems)}",
            hint="each parameter but the head's belongs to one block; `orchestrator model blocks` prints them",
        )
    places = {
        block: min((trace.order[first] for path in paths if (first := first_called(trace, path))), default=0)
        for block, paths in blocks.items()
    }
    return {block: tuple(blocks[block]) for block in sorted(blocks, key=places.__getitem__)}


def _answer(asked: str, answer: Path) -> None:
    name, granularity, given = json.loads(asked)
    blocks = None if given is None else tuple((block, tuple(paths)) for block, paths in given)
    try:
        found = find_blocks(name, granularity, blocks)
        Backbone(**found)
    except OrchestratorError as error:
        found = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    _answer(sys.argv[1], Path(sys.argv[2]))
