"""`pareto.png`: validation accuracy against trainable parameters, the front marked."""

from collections.abc import Sequence
from typing import Any

from orchestrator.report.pictures.canvas import (
    INK,
    PALE,
    QUIET,
    Page,
    build_point_key,
    compact,
    percent,
    point_style,
    set_params_axis,
    set_percent_axis,
)
from orchestrator.report.pictures.labels import PointLabel, place_labels
from orchestrator.report.pictures.series import Series, grey_level
from orchestrator.results import Recommendation

_STEP: dict[str, Any] = {"color": INK, "linewidth": 1.2, "alpha": 0.55, "drawstyle": "steps-post"}
_KNEE: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 14, "markerfacecolor": "none", "linestyle": "none"}
_SUPPORTED = "D"


def draw_front(series: Sequence[Series], caption: str, knee: int, recommendation: Recommendation | None = None) -> Page:
    """Draw the two objectives of all trials.

    Args:
        series: All complete trials.
        caption: What is shown.
        knee: Number of the trial at the knee; marked where the front bends there and does not end.
        recommendation: The title; None where predictions are missing.
    """
    front = [each for each in series if each.on_front]
    others = [each for each in series if not each.on_front]
    bend = next((each for each in front[1:-1] if each.number == knee), None)
    entries = {"on the front": point_style(front[0]), "highest accuracy within a budget": _STEP}
    if others:
        entries["off the front: another trial is better"] = point_style(others[0])
    if recommendation is not None:
        entries["filled by the probability of being on the front"] = _shade(point_style(front[0]), 0.5)
        entries["on the supported front"] = {**point_style(front[0]), "marker": _SUPPORTED}
    if bend is not None:
        entries["knee: where the front bends"] = {**_KNEE, "markersize": 11}
    handles, columns, rows = build_point_key(entries)
    page = Page(_title(front, bend, recommendation), caption, height=4.9, key_rows=rows)
    axes = page.panels[0]
    bars = []
    for each in series:
        if each.interval is not None:
            axes.vlines(each.params, *each.interval, color=QUIET if each.on_front else PALE, linewidth=1.0)
            bars.append([(each.params, end) for end in each.interval])
        axes.plot(each.params, each.val_acc, **_point(each))
    set_params_axis(axes, series)
    set_percent_axis(axes)
    axes.set_ylabel("Validation accuracy (%)")
    axes.margins(y=0.13)
    steps = [(each.params, each.val_acc) for each in front]
    end = (axes.get_xlim()[1], front[-1].val_acc)
    axes.plot(*zip(*steps, end, strict=True), **_STEP, zorder=2)
    if bend is not None:
        axes.plot(bend.params, bend.val_acc, **_KNEE, zorder=5)
    page.add_key(handles, columns)
    axes.set_ylim(axes.get_ylim())
    named = [*sorted(front, key=lambda each: -each.params), *(each for each in others if each.named)]
    place_labels(
        page,
        axes,
        [PointLabel(x=each.params, y=each.val_acc, text=each.label, strong=each.on_front) for each in named],
        avoid=[(each.params, each.val_acc) for each in series],
        paths=[_corners([*steps, end]), *bars],
    )
    return page


def _point(each: Series) -> dict[str, Any]:
    """Describe how a trial is drawn: on the front or off it, filled by how probable that is, in the supported shape."""
    style = point_style(each) if each.p_front is None else _shade(point_style(each), each.p_front)
    return {**style, "marker": _SUPPORTED} if each.supported else style


def _shade(style: dict[str, Any], probability: float) -> dict[str, Any]:
    """Fill a point by a probability."""
    level = grey_level(probability)
    edge = {"markeredgecolor": style["color"], "markeredgewidth": 1.3}
    return {**style, **edge, "markerfacecolor": (level, level, level)}


def _title(front: Sequence[Series], knee: Series | None, recommendation: Recommendation | None) -> str:
    if recommendation is not None:
        return f"Recommended: {recommendation.sentence}"
    highest = max(front, key=lambda each: each.val_acc)
    what = f"{percent(highest.val_acc)} with {compact(highest.params)} trainable parameters"
    title = f"{highest.name} has the highest measured accuracy: {what}"
    if knee is not None:
        title += f"; the front bends at {knee.name}, {percent(knee.val_acc)} with {compact(knee.params)}"
    return title


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Write a step line with its corners."""
    corners = [points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners
