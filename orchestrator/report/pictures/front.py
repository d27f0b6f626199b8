"""`pareto.png`: the gain against the cost, the front marked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator import names
from orchestrator.report.pictures.canvas import (
    INK,
    PALE,
    QUIET,
    Page,
    build_point_key,
    compact,
    point_style,
    set_cost_axis,
    set_percent_axis,
)
from orchestrator.report.pictures.labels import PointLabel, place_labels
from orchestrator.report.pictures.series import Series, grey_level
from orchestrator.results import Recommendation
from orchestrator.results.costs import COSTS, CostAxis
from orchestrator.stats.gains import ACCURACY, Gain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEP: dict[str, Any] = {"color": INK, "linewidth": 1.2, "alpha": 0.55, "drawstyle": "steps-post"}
_KNEE: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 14, "markerfacecolor": "none", "linestyle": "none"}
_SUPPORTED = "D"


def draw_front(
    series: Sequence[Series],
    caption: str,
    knee: int,
    recommendation: Recommendation | None = None,
    *,
    gain: Gain = ACCURACY,
    cost: CostAxis = COSTS[names.TRAINABLE_PARAMS],
) -> Page:
    """Draw gain and cost of all trials.

    Args:
        series: All complete trials.
        caption: What is shown.
        knee: Number of the trial at the knee; marked where the front bends there and does not end.
        recommendation: The title; None where predictions are missing.
        gain: What the front seeks.
        cost: What it saves.
    """
    front = [each for each in series if each.on_front]
    others = [each for each in series if not each.on_front]
    bend = next((each for each in front[1:-1] if each.number == knee), None)
    entries = _list_entries(front, others, bend, gain, judged=recommendation is not None)
    handles, columns, rows = build_point_key(entries)
    page = Page(_title(front, bend, recommendation, gain, cost), caption, height=4.9, key_rows=rows)
    axes = page.panels[0]
    bars = _draw_points(axes, series)
    set_cost_axis(axes, [each.cost for each in series], cost.axis)
    if gain.is_share:
        set_percent_axis(axes)
    axes.set_ylabel(f"{gain.axis} ({'%' if gain.is_share else 'nats'})")
    axes.margins(y=0.13)
    steps = [(each.cost, each.gain) for each in front]
    end = (axes.get_xlim()[1], front[-1].gain)
    axes.plot(*zip(*steps, end, strict=True), **_STEP, zorder=2)
    if bend is not None:
        axes.plot(bend.cost, bend.gain, **_KNEE, zorder=5)
    page.add_key(handles, columns)
    axes.set_ylim(axes.get_ylim())
    named = [*sorted(front, key=lambda each: -each.cost), *(each for each in others if each.named)]
    place_labels(
        page,
        axes,
        [PointLabel(x=each.cost, y=each.gain, text=each.label, strong=each.on_front) for each in named],
        avoid=[(each.cost, each.gain) for each in series],
        paths=[_corners([*steps, end]), *bars],
    )
    return page


def _draw_points(axes: "Axes", series: Sequence[Series]) -> list[list[tuple[float, float]]]:
    """Draw each trial with its interval; returns the ends of the intervals."""
    bars = []
    for each in series:
        if each.gain_interval is not None:
            axes.vlines(each.cost, *each.gain_interval, color=QUIET if each.on_front else PALE, linewidth=1.0)
            bars.append([(each.cost, end) for end in each.gain_interval])
        axes.plot(each.cost, each.gain, **_point(each))
    return bars


def _list_entries(
    front: Sequence[Series], others: Sequence[Series], bend: Series | None, gain: Gain, *, judged: bool
) -> dict[str, dict[str, Any]]:
    """List the entries of the key: how points on the front and off it are drawn, and the step line."""
    entries = {"on the front": point_style(front[0]), f"{gain.best} {gain.words} within a budget": _STEP}
    if others:
        entries["off the front: another trial is better"] = point_style(others[0])
    if judged:
        entries["filled by the probability of being on the front"] = _shade(point_style(front[0]), 0.5)
        entries["on the supported front"] = {**point_style(front[0]), "marker": _SUPPORTED}
    if bend is not None:
        entries["knee: where the front bends"] = {**_KNEE, "markersize": 11}
    return entries


def _point(each: Series) -> dict[str, Any]:
    """Describe how a trial is drawn: on the front or off it, filled by how probable that is, in the supported shape."""
    style = point_style(each) if each.p_front is None else _shade(point_style(each), each.p_front)
    return {**style, "marker": _SUPPORTED} if each.supported else style


def _shade(style: dict[str, Any], probability: float) -> dict[str, Any]:
    """Fill a point by a probability."""
    level = grey_level(probability)
    edge = {"markeredgecolor": style["color"], "markeredgewidth": 1.3}
    return {**style, **edge, "markerfacecolor": (level, level, level)}


def _title(
    front: Sequence[Series], knee: Series | None, recommendation: Recommendation | None, gain: Gain, cost: CostAxis
) -> str:
    if recommendation is not None:
        return f"Recommended: {recommendation.sentence}"
    best = max(front, key=lambda each: gain.orient(each.gain))
    what = f"{gain.write(best.gain, 1)} with {compact(best.cost)} {cost.unit}"
    title = f"{best.name} has the {gain.best} measured {gain.words}: {what}"
    if knee is not None:
        title += f"; the front bends at {knee.name}, {gain.write(knee.gain, 1)} with {compact(knee.cost)}"
    return title


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Write a step line with its corners."""
    corners = [points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners
