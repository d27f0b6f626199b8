"""Pictures over epochs: accuracies, losses, and the gap between training and validation."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.report.pictures.canvas import (
    INK,
    QUIET,
    Page,
    build_line_key,
    compact,
    line_style,
    mark_style,
    percent,
    set_epoch_axis,
    set_params_axis,
    set_percent_axis,
)
from orchestrator.report.pictures.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Value = Callable[[EpochMetrics], float]
_MARKS = 6
"""Markers along a line, about."""


def draw_accuracies(series: Sequence[Series], caption: str) -> Page:
    """Draw training and validation accuracy by epoch, one line a trial."""
    highest = max(series, key=lambda each: (each.val_acc, -each.params))
    epoch = highest.spread(lambda result: result.best_epoch_number).mean
    handles, columns, rows = build_line_key(series)
    page = Page(
        f"{highest.name} has the highest measured validation accuracy: {percent(highest.val_acc)} at its best "
        f"checkpoint (epoch {epoch:.3g})",
        caption,
        panels=2,
        key_rows=rows,
    )
    _draw_pair(page, series, "accuracy (%)", lambda epoch: epoch.train_acc, lambda epoch: epoch.val_acc)
    for axes in page.panels:
        set_percent_axis(axes)
    page.add_key(handles, columns)
    return page


def draw_losses(series: Sequence[Series], caption: str) -> Page:
    """Draw training and validation loss by epoch, one line a trial."""
    lowest = min(series, key=lambda each: each.spread(lambda result: _lowest_epoch(result).val_loss).mean)
    loss = lowest.spread(lambda result: _lowest_epoch(result).val_loss).mean
    epoch = lowest.spread(lambda result: _lowest_epoch(result).number).mean
    handles, columns, rows = build_line_key(series)
    page = Page(
        f"{lowest.name} reaches the lowest validation loss: {loss:.3g} (epoch {epoch:.3g})",
        caption,
        panels=2,
        key_rows=rows,
    )
    _draw_pair(page, series, "loss (cross-entropy, nats)", lambda epoch: epoch.train_loss, lambda epoch: epoch.val_loss)
    page.add_key(handles, columns)
    return page


def draw_overfitting(series: Sequence[Series], caption: str) -> Page:
    """Draw the gap between training and validation accuracy: by epoch, and at the end against the parameters."""
    handles, columns, rows = build_line_key(series)
    page = Page(
        _overfitting_title(series),
        f"Gap: training minus validation accuracy, in percentage points. {caption}",
        panels=2,
        key_rows=rows,
    )
    curve, final = page.panels
    for each in series:
        _draw_curve(curve, each, _gap)
    set_epoch_axis(curve)
    curve.set_ylabel("Gap (percentage points)")
    for each in series:
        _draw_final_gap(final, each)
    set_params_axis(final, series)
    final.set_ylabel("Gap (percentage points)")
    final.set_title("Marker: after the last epoch; bar: at the best checkpoint", fontsize=9, color=QUIET, loc="left")
    curve.set_title("By epoch", fontsize=9, color=QUIET, loc="left")
    for axes in page.panels:
        axes.axhline(0, color=QUIET, linewidth=1, zorder=1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}")
    page.add_key(handles, columns)
    return page


def _draw_pair(page: Page, series: Sequence[Series], quantity: str, train: Value, validation: Value) -> None:
    """Draw a quantity on the training images at the left and on the validation images at the right, on one scale."""
    left, right = page.panels
    right.sharey(left)
    for axes, value, split in ((left, train, "Training"), (right, validation, "Validation")):
        for each in series:
            _draw_curve(axes, each, value)
        set_epoch_axis(axes)
        axes.set_ylabel(f"{split} {quantity}")
        axes.set_title(split, fontsize=11, color=INK, loc="left")


def _draw_curve(axes: "Axes", each: Series, value: Value) -> None:
    """Draw a curve, with a band where there are several seeds. Markers of different lines stand apart."""
    curve = each.curve(value)
    style = line_style(each)
    epochs = range(1, len(curve) + 1)
    gap = max(1, round(len(curve) / _MARKS))
    if len(curve) == 1:
        style["marker"] = style.get("marker", ".")
    axes.plot(epochs, [point.mean for point in curve], markevery=(each.rank % gap, gap), **style)
    if len(each.results) > 1 and each.on_front:
        low, high = [point.low for point in curve], [point.high for point in curve]
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.12, linewidth=0, zorder=1)


def _draw_final_gap(axes: "Axes", each: Series) -> None:
    style = mark_style(each)
    last, best = _last_gap(each), _best_gap(each)
    axes.plot([each.params, each.params], [best, last], color=style["color"], linewidth=1, zorder=style["zorder"])
    axes.plot(each.params, best, marker="_", markersize=9, markeredgewidth=1.6, color=style["color"], zorder=3)
    axes.plot(each.params, last, **style)


def _overfitting_title(series: Sequence[Series]) -> str:
    known = [each for each in series if math.isfinite(_last_gap(each))]
    if not known:
        return "No trial has a finite gap between training and validation accuracy"
    worst = max(known, key=_last_gap)
    gap = 100 * _last_gap(worst)
    if gap <= 0:
        return "No trial overfits: none is better on its training images than in validation after the last epoch"
    return (
        f"{worst.name} overfits most: {gap:.1f} points better on its training images than in validation after its "
        f"last epoch, with {compact(worst.params)} trainable parameters"
    )


def _gap(epoch: EpochMetrics) -> float:
    return epoch.train_acc - epoch.val_acc


def _last_gap(each: Series) -> float:
    return each.spread(lambda result: _gap(result.history[-1]) if result.history else math.nan).mean


def _best_gap(each: Series) -> float:
    return each.spread(lambda result: result.gap_train_val).mean


def _lowest_epoch(result: RunResult) -> EpochMetrics:
    """Find the epoch with the lowest validation loss: the one that was kept, unless another quantity was monitored."""
    return min(result.history, key=lambda epoch: epoch.val_loss)
