"""The common looks of the pictures: page, title, caption, key of the trials, and how a trial is drawn.

A trial can be told from another without colour: those on the front are dark and thick with markers and dashes of
their own, the others are pale and thin. No global state of matplotlib is used.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from orchestrator.lettering import plain
from orchestrator.report.pictures.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH: Final = 10.0
"""Inches; all pictures are equally wide."""
INK, QUIET, PALE = "#1a1a1a", "#5a5a5a", "#b4b4b4"

_DPI = 150
_WIDE = 2.5
"""Highest over lowest cost from which at least one of 1, 2, 5 and their decades lies between."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (7, 2, 1.5, 2)))
"""Nine markers and four dashes have no common factor: 36 pairs before one returns."""
_HUES = ("#0b1d51", "#c2571a", "#00594f", "#b05fc4", "#6b1a1a", "#3f8fd2", "#5b7a1e")
"""Dark and less dark in turn, so that neighbours differ in grey too; seven, to have no factor in common either."""
_PALE_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
_PALE_GREYS = ("#b4b4b4", "#8e8e8e", "#c4c4c4", "#a2a2a2")


class Page:
    """A figure with a title that says what is found, a caption that says what is shown, and panels side by side."""

    def __init__(self, title: str, caption: str, *, height: float = 4.6, panels: int = 1, key_rows: int = 0) -> None:
        """Lay the page out.

        Args:
            title: A sentence; wrapped.
            caption: What is shown and what is left out; wrapped.
            height: Of the panels, in inches; title, caption and key come besides.
            panels: Axes side by side.
            key_rows: Rows to keep free for the key.
        """
        head, foot = textwrap.wrap(title, 84), textwrap.wrap(caption, 148)
        above, key_top = 0.24 + 0.26 * len(head), 0.12 + 0.19 * len(foot) + 0.205 * key_rows
        below = key_top + (0.08 if key_rows else 0.0)
        total = above + height + below
        self.figure = Figure(figsize=(WIDTH, total), dpi=_DPI, layout="constrained", facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        engine = self.figure.get_layout_engine()
        if engine is not None:
            engine.set(rect=(0, below / total, 1, height / total), wspace=0.04)  # type: ignore[call-arg]
        self.panels: list[Axes] = list(self.figure.subplots(1, panels, squeeze=False)[0])
        self._key_top = key_top / total
        style: dict[str, Any] = {"ha": "left", "color": INK, "in_layout": False}
        self._add_lines(head, 1 - 0.14 / total, va="top", fontsize=13.5, fontweight="bold", **style)
        self._add_lines(foot, 0.08 / total, va="bottom", fontsize=9, **style | {"color": QUIET})
        for axes in self.panels:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(visible=True, color="#e6e6e6", linewidth=0.7)
            axes.set_axisbelow(True)

    def add_key(self, handles: Sequence[Line2D], columns: int) -> None:
        """Write the key between panels and caption."""
        self.figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(0.005, self._key_top),
            ncols=columns,
            frameon=False,
            fontsize=9,
            handlelength=3.2,
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.35,
            columnspacing=1.6,
        ).set_in_layout(False)

    def save(self, path: Path) -> Path:
        """Write the picture as PNG."""
        self.figure.savefig(path, format="png", metadata={"Software": None})
        return path

    def _add_lines(self, lines: Sequence[str], y: float, **style: Any) -> None:
        self.figure.text(0.008, y, plain("\n".join(lines)), linespacing=1.25, **style)


def percent(share: float, digits: int = 1) -> str:
    """Write a share in [0, 1] for a sentence: `96.2 %`."""
    return f"{100 * share:.{digits}f} %"


def compact(number: float) -> str:
    """Write a number of parameters shortly: `1.5k`, `11.2M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """Write a duration for a sentence: `0.04 s`, `0.4 s`, `42 s`, `12 min`."""
    if seconds < 0.1:
        return f"{seconds:.1g} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def set_params_axis(axes: "Axes", series: Sequence[Series]) -> None:
    """Make the x axis one of trainable parameters."""
    set_cost_axis(axes, [each.params for each in series], "Trainable parameters")


def set_cost_axis(axes: "Axes", costs: Sequence[float], title: str) -> None:
    """Make the x axis one of costs: logarithmic, with room at both ends."""
    low, high = min(costs), max(costs)
    axes.set_xscale("log")
    room = max(1.35 if high / low > _WIDE else (high / low) ** 0.5, (high / low) ** 0.06, 1.02)
    axes.set_xlim(low / room, high * room)
    if high / low > _WIDE:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_xlabel(f"{title} (logarithmic axis)")


def set_percent_axis(axes: "Axes") -> None:
    """Write the y axis, a share in [0, 1], in percent."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}")


def set_epoch_axis(axes: "Axes") -> None:
    """Make the x axis one of epochs."""
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def line_style(each: Series) -> dict[str, Any]:
    """Describe how the line of a trial is drawn. On the front dark and thick, else pale and thin."""
    if each.on_front:
        return {
            "linestyle": _DASHES[each.rank % len(_DASHES)],
            "linewidth": 2.0,
            **mark_style(each),
        }
    style: dict[str, Any] = {
        "color": _PALE_GREYS[each.rank % len(_PALE_GREYS)],
        "linestyle": _PALE_DASHES[each.rank % len(_PALE_DASHES)],
        "linewidth": 1.0,
        "zorder": 2,
    }
    return {**style, **mark_style(each), "markersize": 4.5} if each.named else style


def mark_style(each: Series) -> dict[str, Any]:
    """Describe how the point of a trial is drawn where the key names it: filled on the front, else hollow."""
    if each.on_front:
        return {
            "color": _HUES[each.rank % len(_HUES)],
            "marker": _MARKERS[each.rank % len(_MARKERS)],
            "markersize": 6,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "zorder": 4,
        }
    return {
        "color": _PALE_GREYS[each.rank % len(_PALE_GREYS)],
        "marker": _MARKERS[each.rank % len(_MARKERS)] if each.named else ".",
        "markersize": 6,
        "markerfacecolor": "white",
        "zorder": 3,
    }


def point_style(each: Series) -> dict[str, Any]:
    """Describe how the point of a trial is drawn where a label or a row names it: filled on the front, else hollow."""
    style: dict[str, Any] = {"marker": "o", "linestyle": "none"}
    if each.on_front:
        return {**style, "color": INK, "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.7, "zorder": 5}
    return {**style, "color": PALE, "markersize": 6, "markerfacecolor": "white", "markeredgewidth": 1.3, "zorder": 3}


def build_line_key(series: Sequence[Series]) -> tuple[list[Line2D], int, int]:
    """Build the key of the lines: handles, columns, rows. Many trials off the front share one entry."""
    return _build_key(series, line_style, {"color": PALE, "linewidth": 1.0})


def build_mark_key(series: Sequence[Series]) -> tuple[list[Line2D], int, int]:
    """Build the key of the points, likewise."""
    return _build_key(series, lambda each: {**mark_style(each), "linestyle": "none"}, None)


def _build_key(
    series: Sequence[Series], style: Callable[[Series], dict[str, Any]], rest: dict[str, Any] | None
) -> tuple[list[Line2D], int, int]:
    named = sorted((each for each in series if each.named), key=lambda each: not each.on_front)
    entries = [(each.label, style(each)) for each in named]
    unnamed = [each for each in series if not each.named]
    if unnamed:
        entries.append((f"{len(unnamed)} trials off the front", rest or style(unnamed[0])))
    return [_handle(how, label) for label, how in entries], *_arrange([label for label, _ in entries])


def build_point_key(entries: Mapping[str, Mapping[str, Any]]) -> tuple[list[Line2D], int, int]:
    """Build a key of styles by name: handles, columns, rows."""
    handles = [_handle(style, name) for name, style in entries.items()]
    return handles, *_arrange(list(entries))


def _handle(style: Mapping[str, Any], label: str) -> Line2D:
    return Line2D([], [], label=plain(label), **style)


def _arrange(labels: Sequence[str]) -> tuple[int, int]:
    """Choose as many columns as fit the page: columns, rows. A letter takes about 0.075 inches, a handle 0.75."""
    width = 0.75 + 0.075 * max(map(len, labels), default=0)
    columns = max(1, min(len(labels), int((WIDTH - 0.2) / width)))
    return columns, -(-len(labels) // columns)
