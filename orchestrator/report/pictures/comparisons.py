"""Pictures that compare trials by a number each: convergence, time, test accuracy."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from orchestrator.lettering import plain
from orchestrator.records.runs import RunResult
from orchestrator.report.pictures.canvas import (
    INK,
    PALE,
    QUIET,
    Page,
    build_mark_key,
    duration,
    mark_style,
    percent,
    point_style,
    set_params_axis,
)
from orchestrator.report.pictures.series import CONVERGED, Series, epochs_to_converge, seconds_to_converge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MEASURED = "Times are as measured: what else the machine did is in them, so that small differences mean nothing."
MAX_ROWS = 60
"""Trials that a picture with a row for each shows at the most."""


def draw_convergence(series: Sequence[Series], caption: str) -> Page:
    """Draw epochs and seconds until a trial has 95 % of its own highest validation accuracy, a row a trial."""
    share = percent(CONVERGED, 0)
    counts = [epochs_to_converge(result) for each in series for result in each.results]
    few, many = min(counts), max(counts)
    span = f"{few} to {many} epochs" if few < many else f"{many} {'epoch' if many == 1 else 'epochs'}"
    title = f"These trials took {span} to {share} of their own highest validation accuracy"
    rows, note = _choose_rows(series)
    page = Page(
        title,
        f"Seconds of the epochs alone, without loading. {_MEASURED} {note}{caption}",
        height=_height(rows),
        panels=2,
    )
    left, right = page.panels
    for axes, value, label in (
        (left, epochs_to_converge, f"Epochs to {share} of its own highest accuracy"),
        (right, seconds_to_converge, f"Seconds to {share} of its own highest accuracy"),
    ):
        _draw_bars(axes, rows, value)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name_rows(left, rows)
    _name_rows(right, rows, labels=False)
    return page


def draw_time(series: Sequence[Series], caption: str) -> Page:
    """Draw seconds an epoch and seconds of the whole run against trainable parameters."""
    seconds = [each.spread(lambda result: result.s_per_epoch).mean for each in series]
    fast, slow = duration(min(seconds)), duration(max(seconds))
    title = f"An epoch took {fast if fast == slow else f'{fast} to {slow}'}"
    handles, columns, key_rows = build_mark_key(series)
    page = Page(title, f"{_MEASURED} {caption}", panels=2, key_rows=key_rows)
    page.add_key(handles, columns)
    for axes, value, label in (
        (page.panels[0], lambda result: result.s_per_epoch, "Seconds an epoch (median)"),
        (page.panels[1], lambda result: result.duration_s, "Seconds of the whole run, loading included"),
    ):
        _draw_against_params(axes, series, value, label)
    return page


def draw_test(series: Sequence[Series], caption: str) -> Page:
    """Draw the test accuracy of the trials on the front with its interval, a row a trial.

    The others are not shown: a test split that is looked at for each of them would choose in the end.
    """
    tested = [each for each in series if each.on_front and min(result.n_test for result in each.results) > 0]
    rows, note = _choose_rows(tested)
    images = max((result.n_test for each in tested for result in each.results), default=0)
    page = Page(
        _test_title(tested, images),
        f"Trials on the front. Bars: 95 % intervals for {images} test images"
        f"{_say_seeds(tested)}; hollow: validation accuracy of the "
        f"same checkpoint. {note}{caption}",
        height=_height(rows),
    )
    axes = page.panels[0]
    for row, each in enumerate(rows):
        if each.test_interval is not None:
            axes.hlines(row, *each.test_interval, color=INK, linewidth=2.4, zorder=3)
        for result in each.results if len(each.results) > 1 else ():
            axes.plot(result.test_acc, row, "|", color=INK, markersize=9, zorder=4)
        axes.plot(_test_accuracy(each), row, "o", color=INK, markersize=6.5, zorder=5)
        validation: dict[str, Any] = {"markerfacecolor": "white", "markersize": 5, "markeredgewidth": 1.2, "zorder": 4}
        axes.plot(each.val_acc, row, "D", color=INK, **validation)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}")
    axes.set_xlabel("Accuracy (%)")
    _name_rows(axes, rows)
    return page


def _draw_bars(axes: "Axes", rows: Sequence[Series], value: Callable[[RunResult], float]) -> None:
    for row, each in enumerate(rows):
        spread = each.spread(value)
        colour = INK if each.on_front else PALE
        axes.hlines(row, 0, spread.mean, color=colour, linewidth=2 if each.on_front else 1.4, zorder=3)
        axes.plot(spread.mean, row, **point_style(each))
        if spread.high > spread.low:
            axes.plot([spread.low, spread.high], [row, row], "|-", color=QUIET, linewidth=0.8, markersize=7, zorder=6)
        text = f"{spread.mean:.3g}"
        axes.annotate(
            text,
            (spread.high, row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK if each.on_front else QUIET,
        )
    axes.margins(x=0.12)


def _draw_against_params(
    axes: "Axes", series: Sequence[Series], value: Callable[[RunResult], float], label: str
) -> None:
    highest = 0.0
    for each in series:
        spread = each.spread(value)
        style = mark_style(each)
        axes.vlines(each.params, spread.low, spread.high, color=style["color"], linewidth=1.2)
        axes.plot(each.params, spread.mean, **style)
        highest = max(highest, spread.high)
    set_params_axis(axes, series)
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.1 * highest or 1)


def _choose_rows(series: Sequence[Series]) -> tuple[list[Series], str]:
    """Keep what fits a picture: the front and the most accurate others; and say so."""
    if len(series) <= MAX_ROWS:
        return list(series), ""
    chosen = sorted(series, key=lambda each: (not each.on_front, -each.val_acc))[:MAX_ROWS]
    return [
        each for each in series if each in chosen
    ], f"{MAX_ROWS} of {len(series)} trials: the front, and the highest measured of the others. "


def _height(rows: Sequence[Series]) -> float:
    return 1.1 + 0.25 * max(len(rows), 4)


def _name_rows(axes: "Axes", rows: Sequence[Series], *, labels: bool = True) -> None:
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [plain(each.label) if labels else "" for each in rows], fontsize=8.5)
    axes.grid(visible=False, axis="y")
    if not labels:
        return
    axes.set_ylabel("Trial, by rising parameters" if len(rows) > 8 else "Trial")
    for tick, each in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(INK if each.on_front else QUIET)
        tick.set_fontweight("bold" if each.on_front else "normal")


def _test_accuracy(each: Series) -> float:
    return each.spread(lambda result: result.test_acc).mean


def _say_seeds(series: Sequence[Series]) -> str:
    return " and other runs" if any(len(each.results) > 1 for each in series) else ""


def _test_title(series: Sequence[Series], images: int) -> str:
    if not series:
        return "No trial on the front has test images"
    highest = max(series, key=lambda each: (each.val_acc, -each.params))
    drop = 100 * (highest.val_acc - _test_accuracy(highest))
    against = f"{abs(drop):.1f} points {'less' if drop >= 0 else 'more'} than in validation"
    title = (
        f"{highest.name}, the highest measured in validation, is right on {percent(_test_accuracy(highest))} of "
        f"{images} test images, {against}"
    )
    if highest.test_interval is None:
        return title
    low, high = highest.test_interval
    return f"{title}; the 95 % interval goes from {percent(low)} to {percent(high)}"
