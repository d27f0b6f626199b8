"""Units of a network become named blocks."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, takewhile

import numpy as np
from torch import nn

from orchestrator.backbones import HEAD, POOL
from orchestrator.discovery import Granularity
from orchestrator.training.network.cuts import Unit
from orchestrator.training.network.tracing import Trace, first_called, resolution

Group = list[Unit]
_PARTS = 4
"""Blocks that the layers of a network of one resolution are divided into."""
_MOST = 9
"""Blocks of a network."""
_OF_PLAIN = 0.9
"""Share of the parameters at one resolution from which a network counts as one of equal layers."""
_OF_VECTORS = 0.05
"""Share of the parameters from which hidden linear layers behind the maps are a block of their own."""
_OF_BLOCK = 0.0015
"""Share of the parameters below which units join the block before."""
_OF_NAME = 0.25
"""Share of a block's parameters from which a row of modules lends it its name."""
_NUMBERED = re.compile(r"(.*?)(\d+)")


def group_units(units: Sequence[Unit], granularity: Granularity, trace: Trace) -> list[Group]:
    """Divide the units with parameters into blocks, in network order.

    Args:
        units: In network order.
        granularity: `stage`: units in a row that give maps of one size are a block; `unit`: each is one. What
            normalises belongs to what comes before it.
        trace: Of an image of the usual size.
    """
    pieces: list[Group] = []
    for unit in units:
        if unit.parameters and unit.is_norm and pieces:
            pieces[-1].append(unit)
        elif unit.parameters:
            pieces.append([unit])
    if granularity == "unit" or len(pieces) < 2:
        return pieces
    groups = _join_by_resolution(pieces, trace)
    total = sum(map(_count, units))
    main = max(groups, key=_weigh)
    if len(groups) <= 2 and _weigh(main) >= _OF_PLAIN * total:
        return _divide(pieces)
    groups = _join_small(groups, total)
    while len(groups) > _MOST:
        smallest = min(range(1, len(groups)), key=lambda place: _weigh(groups[place]))
        groups[smallest - 1] += groups.pop(smallest)
    return [[unit for piece in group for unit in piece] for group in groups]


def _count(unit: Unit) -> int:
    return unit.parameters


def _weigh(group: Iterable[Group]) -> int:
    return sum(unit.parameters for piece in group for unit in piece)


def _join_by_resolution(pieces: Sequence[Group], trace: Trace) -> list[list[Group]]:
    """Join pieces in a row of one resolution; what gives vectors has none, what gives no tensor that of before."""
    groups: list[list[Group]] = []
    before: object = ...
    for piece in pieces:
        shape = trace.shapes.get(piece[0].path)
        side = before if shape is None else resolution(shape)
        side = None if side == 1 else side
        if groups and (side == before or shape is None):
            groups[-1].append(piece)
        else:
            groups.append([piece])
        before = side
    total = _weigh([piece for group in groups for piece in group])
    if len(groups) > 1 and before is None and _weigh(groups[-1]) < _OF_VECTORS * total:
        vectors = groups.pop()
        groups[-1] += vectors
    return groups


def _join_small(groups: Sequence[list[Group]], total: int) -> list[list[Group]]:
    joined: list[list[Group]] = []
    for group in groups:
        if joined and _weigh(group) < _OF_BLOCK * total:
            joined[-1] += group
        else:
            joined.append(group)
    return joined


def _divide(pieces: Sequence[Group]) -> list[Group]:
    """Divide equal layers into parts: what comes before them is the stem, what comes after belongs to the last part."""
    sizes = Counter(_weigh([piece]) for piece in pieces)
    layer, count = sizes.most_common(1)[0]
    is_layer = [_weigh([piece]) == layer and count > 1 for piece in pieces]
    first = is_layer.index(True) if any(is_layer) else min(1, len(pieces) - 1)
    rest = pieces[first:]
    parts = np.array_split(np.arange(len(rest)), min(_PARTS, len(rest)))
    if count > 1:  # layers that differ a little, and what stands between them, go with the one before
        places = [place for place, given in enumerate(is_layer[first:]) if given]
        starts = [places[int(part[0])] for part in np.array_split(np.arange(len(places)), min(_PARTS, len(places)))]
        bounds = [*starts, len(rest)]
        parts = [np.arange(start, stop) for start, stop in pairwise(bounds)]
    stem = [list(pieces[:first])] if first else []
    return [[unit for piece in group for unit in piece] for group in stem] + [
        [unit for place in part for unit in rest[int(place)]] for part in parts
    ]


def attach_others(
    network: nn.Module, trace: Trace, blocks: Sequence[Sequence[str]], head: str, head_begins: str
) -> list[list[str]]:
    """Add to each block what has no unit: modules without parameters that it calls, and parameters that it uses first.

    Args:
        network: The network.
        trace: What it does.
        blocks: Paths of each block, in network order.
        head: Path of the head.
        head_begins: Path of the module from which on nothing belongs to a block.
    """
    begins = [min((trace.order[each] for path in paths if (each := first_called(trace, path))), default=0)
              for paths in blocks]  # fmt: skip
    begins[:1] = [-1]
    owned = {path for paths in blocks for path in paths} | {head}
    added = [list(paths) for paths in blocks]

    def is_owned(path: str) -> bool:
        parts = path.split(".")
        return any(".".join(parts[:count]) in owned for count in range(1, len(parts) + 1))

    def add(path: str, place: int) -> None:
        last = max(number for number, begin in enumerate(begins) if begin <= place)
        added[last].append(path)
        owned.add(path)

    for path, module in network.named_modules():
        place = trace.order.get(path, len(trace.order))
        inside = path and not is_owned(path) and place < trace.order[head_begins]
        if inside and next(module.parameters(), None) is None:
            add(path, place)
    for name, _ in network.named_parameters():
        if not is_owned(name):
            add(name, trace.used.get(name, len(trace.order)))
    return added


def name_blocks(
    network: nn.Module, blocks: Sequence[Sequence[str]], trace: Trace, head: str
) -> dict[str, tuple[str, ...]]:
    """Name blocks after their modules, and write a module in the place of all that it holds."""
    owner = {path: number for number, paths in enumerate(blocks) for path in paths} | {head: -1}
    sizes = {path: sum(each.numel() for each in module.parameters()) for path, module in network.named_modules()}
    named: dict[str, tuple[str, ...]] = {}
    for number, paths in enumerate(blocks):
        order = sorted(paths, key=lambda path: trace.order.get(path, len(trace.order)))
        whole = tuple(dict.fromkeys(_collapse(path, number, owner) for path in order))
        name = "stem" if number == 0 and len(blocks) > 1 else _name(whole, sizes)
        if name in named:  # the whole path tells them apart, or a number
            name = next(each for each in (whole[0], *(f"{name}_{n}" for n in range(2, 99))) if each not in named)
        named[f"{name}-block" if name in {HEAD, POOL} else name] = whole
    return named


def _collapse(path: str, number: int, owner: Mapping[str, int]) -> str:
    """Return the largest module above a path that holds nothing of another block."""
    parts = path.split(".")
    for count in range(1, len(parts)):
        above = ".".join(parts[:count])
        if all(block == number for each, block in owner.items() if each.startswith(f"{above}.")):
            return above
    return path


def _name(paths: Sequence[str], sizes: Mapping[str, int]) -> str:
    """Name a block: by the first row of modules that holds much of it, without what stands before a name."""
    rows: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        found = _NUMBERED.fullmatch(path.rpartition(".")[2])
        rows.setdefault((path.rpartition(".")[0], found[1] if found else path), []).append(path)
    whole = sum(sizes.get(path, 0) for path in paths)
    large = [row for row in rows.values() if sum(sizes.get(path, 0) for path in row) >= _OF_NAME * whole]
    row = large[0] if large else next(iter(rows.values()))
    letters = zip(*(path for path in paths if sizes.get(path)), strict=False)
    alike = "".join(found[0] for found in takewhile(lambda each: len(set(each)) == 1, letters))
    if len(row) == 1 and len(paths) > 1 and re.search(r"[A-Za-z_]\d+[a-z]?$", alike.rpartition(".")[2]):
        return _shorten(alike)
    name = _shorten(row[0])
    last = _NUMBERED.fullmatch(row[-1].rpartition(".")[2])
    return name if len(row) == 1 or last is None else f"{name}-{last[2]}"


def _shorten(path: str) -> str:
    """Leave out the modules before the last one whose name is more than a number."""
    parts = path.split(".")
    start = max((place for place, part in enumerate(parts) if not part.isdigit()), default=0)
    return ".".join(parts[start:])
