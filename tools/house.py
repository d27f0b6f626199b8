"""Count the rooms of a package, the arrows between them, and the circles: `make house`.

A room is a package or a module right below it, or the package's own `__init__.py`. An arrow leads from one room to
another where any module of the first imports any of the second, be it within a function or for types only.
"""

import sys
from collections.abc import Iterable, Mapping
from functools import cache

import grimp
import numpy as np
from scipy.sparse.csgraph import connected_components

Arrows = Mapping[str, frozenset[str]]


def read_imports(package: str) -> Arrows:
    """Map each module of `package` to the modules of it that it imports."""
    graph = grimp.build_graph(package.partition(".")[0], exclude_type_checking_imports=False, cache_dir=None)
    inside = {module for module in graph.modules if f"{module}.".startswith(f"{package}.")}
    return {module: frozenset(graph.find_modules_directly_imported_by(module) & inside) for module in inside}


def find_room(module: str, package: str) -> str:
    """Return the room of `package` that holds `module`."""
    return ".".join(module.split(".")[: package.count(".") + 2])


def gather_rooms(imports: Arrows, package: str) -> Arrows:
    """Map each room of `package` to the rooms that its modules import."""
    rooms: dict[str, frozenset[str]] = {}
    for module, imported in imports.items():
        room = find_room(module, package)
        others = {find_room(other, package) for other in imported} - {room}
        rooms[room] = rooms.get(room, frozenset()) | others
    return rooms


def find_circles(arrows: Arrows) -> list[list[str]]:
    """Return the strongly connected components of more than one name, each sorted."""
    names = sorted(arrows)
    leads = np.array([[other in arrows[name] for other in names] for name in names])
    count, labels = connected_components(leads, directed=True, connection="strong")
    components = [[names[at] for at in np.flatnonzero(labels == label)] for label in range(count)]
    return sorted(component for component in components if len(component) > 1)


def count_floors(arrows: Arrows) -> int:
    """Return the number of names on the longest way along the arrows, which must have no circle."""

    @cache
    def height(name: str) -> int:
        return 1 + max(map(height, arrows[name]), default=0)

    return max(map(height, arrows))


def describe_house(package: str) -> Iterable[str]:
    """Yield the table of `package`, line by line, and its circles."""
    imports = read_imports(package)
    rooms = gather_rooms(imports, package)
    circles = find_circles(rooms)
    circling = find_circles(imports)
    yield f"{'room of ' + package:32} {'modules':>8} {'imports':>8} {'imported by':>12}"
    for room in sorted(rooms):
        modules = sum(find_room(module, package) == room for module in imports)
        by = sum(room in others for others in rooms.values())
        yield f"{room.removeprefix(package + '.'):32} {modules:8} {len(rooms[room]):8} {by:12}"
    yield ""
    for label, number in (
        ("rooms", len(rooms)),
        ("arrows between them", sum(map(len, rooms.values()))),
        ("floors", "none" if circles else count_floors(rooms)),
        ("circles of rooms", len(circles)),
        ("modules", len(imports)),
        ("circles of modules", len(circling)),
    ):
        yield f"{label:32} {number:>8}"
    yield from (f"circle: {', '.join(circle)}" for circle in (*circles, *circling))


if __name__ == "__main__":
    print(*describe_house(*sys.argv[1:] or ["orchestrator"]), sep="\n")
