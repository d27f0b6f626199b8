"""Labels beside points: placed where they cover nothing, with a thin leader where they had to move away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orchestrator.lettering import plain
from orchestrator.report.pictures.canvas import INK, PALE, QUIET, Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
Pixels = npt.NDArray[np.float64]
"""One point, or a row a point."""

_DIRECTIONS = tuple((math.cos(turn), math.sin(turn)) for turn in (math.tau * i / 24 for i in range(24)))
_DISTANCES = (6.0, 11.0, 18.0, 28.0, 42.0, 58.0, 78.0, 100.0, 125.0, 155.0)
"""Points (1/72 inch) from the anchor to the nearest edge of the label."""
_LEADER_FROM = 15.0
"""Points of distance from which a label needs a leader."""
_MAX_LINE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PointLabel:
    """A text for a point of the axes, in data coordinates."""

    x: float
    y: float
    text: str
    strong: bool = True


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: "_Box", margin: float = 0.0) -> float:
        """Area in common, once this one has grown by a margin."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0) + 2 * margin
        height = min(self.y1, other.y1) - max(self.y0, other.y0) + 2 * margin
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, area: "_Box") -> float:
        """Pixels that stick out of an area, summed over its sides."""
        sides = (area.x0 - self.x0, area.y0 - self.y0, self.x1 - area.x1, self.y1 - area.y1)
        return sum(max(side, 0.0) for side in sides)

    def distance(self, points: Pixels) -> Pixels:
        """Distance of each point; 0 inside."""
        low, high = np.array([self.x0, self.y0]), np.array([self.x1, self.y1])
        return np.asarray(np.hypot(*np.maximum(0.0, np.maximum(low - points, points - high)).T))

    def count(self, points: Pixels, margin: float = 0.0) -> int:
        """Count the points inside, or at most `margin` outside."""
        return int((self.distance(points) <= margin).sum())

    def nearest(self, point: Pixels) -> Pixels:
        """Point of the box that is nearest."""
        return np.clip(point, [self.x0, self.y0], [self.x1, self.y1])


def wrap_key(text: str) -> str:
    """Break a long label after a `+` or at a space."""
    lines = [""]
    for part in text.replace("+", "+\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > _MAX_LINE:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


class _Field:
    """What is on the axes already, in pixels, and what a further label would cost there."""

    def __init__(self, axes: "Axes", avoid: Sequence[Point], paths: Sequence[Sequence[Point]], scale: float) -> None:
        self.area = _Box(*axes.get_window_extent().extents)
        self.points = _to_pixels(axes, avoid)
        self.lines = np.concatenate([_sample(_to_pixels(axes, path)) for path in paths] or [np.empty((0, 2))])
        self.scale = scale
        self.boxes: list[_Box] = []
        self.leaders: list[Pixels] = []

    def place(self, anchor: Pixels, width: float, height: float) -> tuple[_Box, bool]:
        """Find the cheapest place for a label, and say whether it needs a leader. The place is taken then."""
        candidates = [
            (self._cost(box, anchor, distance, turn), box, distance)
            for distance in _DISTANCES
            for turn in _DIRECTIONS
            for box in [_box_at(anchor, turn, distance * self.scale, width, height)]
        ]
        _, box, distance = min(candidates, key=lambda candidate: candidate[0])
        self.boxes.append(box)
        if distance >= _LEADER_FROM:
            self.leaders.append(_leader(anchor, box))
        return box, distance >= _LEADER_FROM

    def _cost(self, box: _Box, anchor: Pixels, distance: float, turn: tuple[float, float]) -> float:
        others = self.points[np.abs(self.points - anchor).max(axis=1) > 1]
        cost = distance / 8 + 40 * box.outside(self.area) + 0.6 * box.count(self.lines)
        cost += 30 * box.count(self.points, margin=4 * self.scale)
        cost += sum(20 + overlap for other in self.boxes if (overlap := box.overlap(other, margin=self.scale)) > 0)
        cost += sum(10 * box.count(line) for line in self.leaders)
        cost += 0.0 if max(map(abs, turn)) > 0.9 else 0.3  # straight beside or above reads best
        if distance < _LEADER_FROM:  # nobody could tell whose label it is where another point is nearer
            return cost + 15 * bool(len(others) and box.distance(others).min() < 1.3 * box.distance(anchor[None])[0])
        leader = _leader(anchor, box)
        cost += sum(10 * other.count(leader) for other in self.boxes)
        cost += self._hidden(leader)
        return cost + sum(3.0 for point in others if np.hypot(*(leader - point).T).min() < 4 * self.scale)

    def _hidden(self, leader: Pixels) -> int:
        """Count the places of a leader, the anchor's aside, where a line runs so near that nobody sees it."""
        if not len(self.lines):
            return 0
        apart = np.hypot(*(leader[1:, None, :] - self.lines[None, :, :]).transpose(2, 0, 1))
        return int((apart.min(axis=1) < 3 * self.scale).sum())


def place_labels(
    page: Page,
    axes: "Axes",
    labels: Sequence[PointLabel],
    *,
    avoid: Sequence[Point],
    paths: Sequence[Sequence[Point]] = (),
) -> None:
    """Write labels beside their points, each at the place that covers least. The axes' limits must be final.

    Args:
        page: Page of the axes.
        axes: Where to write.
        labels: In order of importance: the first have the first choice.
        avoid: Points to leave free, in data coordinates; those of the labels too.
        paths: Lines to leave free where possible, each as its corners in data coordinates.
    """
    page.figure.draw_without_rendering()
    scale = page.figure.dpi / 72
    field = _Field(axes, avoid, paths, scale)
    for label in labels:
        style = _style(label)
        text = plain(wrap_key(label.text))
        anchor = _to_pixels(axes, [(label.x, label.y)])[0]
        box, leader = field.place(anchor, *_measure(axes, text, style))
        centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        _annotate(axes, label, text, (centre - anchor) / scale, {"ha": "center", "va": "center", "zorder": 7, **style})
        if leader:
            arrow = {"arrowstyle": "-", "linewidth": 0.8, "color": QUIET if label.strong else PALE, "shrinkB": 3}
            end = (box.nearest(anchor) - anchor) / scale
            _annotate(axes, label, "", end, {"arrowprops": arrow, "zorder": 6})


def _annotate(axes: "Axes", label: PointLabel, text: str, offset: Pixels, style: dict[str, Any]) -> None:
    """Write at an offset in points, so that it holds at any resolution."""
    where = (float(offset[0]), float(offset[1]))
    note = axes.annotate(text, (label.x, label.y), xytext=where, textcoords="offset points", **style)
    note.set_in_layout(False)


def _style(label: PointLabel) -> dict[str, Any]:
    return {
        "fontsize": 8.5 if label.strong else 8,
        "fontweight": "bold" if label.strong else "normal",
        "color": INK if label.strong else QUIET,
        "linespacing": 1.05,
    }


def _measure(axes: "Axes", text: str, style: dict[str, Any]) -> tuple[float, float]:
    probe = axes.text(0, 0, text, **style)
    extent = probe.get_window_extent()
    probe.remove()
    return extent.width, extent.height


def _box_at(anchor: Pixels, direction: tuple[float, float], distance: float, width: float, height: float) -> _Box:
    """Put a box beside the anchor: its nearest edge or corner lies at the distance, in the direction."""
    x = anchor[0] + direction[0] * distance + _slide(direction[0]) * width / 2
    y = anchor[1] + direction[1] * distance + _slide(direction[1]) * height / 2
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _slide(component: float) -> float:
    return max(-1.0, min(1.0, component / 0.7))


def _leader(anchor: Pixels, box: _Box) -> Pixels:
    return _sample(np.array([anchor, box.nearest(anchor)]))


def _to_pixels(axes: "Axes", points: Sequence[Point]) -> Pixels:
    return np.asarray(axes.transData.transform(np.asarray(points, dtype=float).reshape(-1, 2)), dtype=float)


def _sample(path: Pixels, step: float = 6.0) -> Pixels:
    """Write a line as points about `step` pixels apart."""
    pieces = [np.linspace(start, end, max(2, int(np.hypot(*(end - start)) / step))) for start, end in pairwise(path)]
    return np.concatenate(pieces) if pieces else path
