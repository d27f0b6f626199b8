"""`block_effects.png`: what freezing each block changes."""

from typing import TYPE_CHECKING, Any

from orchestrator.lettering import plain
from orchestrator.report.pictures.canvas import INK, PALE, QUIET, Page, build_point_key
from orchestrator.results import BlockEffects
from orchestrator.results.block_sentences import say_effects
from orchestrator.stats.effects import BlockEffect, Estimate, find_supported_effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 7, "markeredgewidth": 1.3}
_DIAMOND: dict[str, Any] = {
    "marker": "D",
    "linestyle": "none",
    "markersize": 4.5,
    "color": QUIET,
    "markerfacecolor": "white",
    "markeredgewidth": 1.1,
}
_BAR: dict[str, Any] = {"height": 0.5, "color": "#3f8fd2", "zorder": 3}


def draw_effects(effects: BlockEffects, caption: str) -> Page:
    """Draw what freezing each block changes, a row a block: accuracy, GFLOPs and seconds.

    Args:
        effects: At least one block has a pair of trials.
        caption: What is shown of the sweep.
    """
    entries = _key_entries(effects)
    handles, columns, rows = build_point_key(entries) if entries else ([], 0, 0)
    timed = any(effect.duration_s for effect in effects.blocks)
    page = Page(
        say_effects(effects),
        _caption(effects, caption),
        height=1.3 + 0.4 * len(effects.blocks),
        panels=3 if timed else 2,
        key_rows=rows,
    )
    if entries:
        page.add_key(handles, columns)
    left, middle = page.panels[:2]
    _draw_accuracy(left, effects)
    left.set_xlabel("Change of validation accuracy (points)")
    middle.set_xlabel("GFLOPs saved a training image")
    for row, effect in enumerate(effects.blocks):
        _draw_gflops(middle, row, effect)
    if timed:
        page.panels[2].set_xlabel("Seconds saved a run")
        for row, effect in enumerate(effects.blocks):
            _draw_seconds(page.panels[2], row, effect)
    for axes in page.panels:
        axes.axvline(0, color=INK, linewidth=0.9, zorder=2)
        axes.set_ylim(len(effects.blocks) - 0.4, -0.6)
        axes.set_yticks(range(len(effects.blocks)), [""] * len(effects.blocks))
        axes.grid(visible=False, axis="y")
    _name_rows(left, effects)
    return page


def _key_entries(effects: BlockEffects) -> dict[str, dict[str, Any]]:
    """Name what the left panel draws; a single kind of point needs no key."""
    supported = find_supported_effects(effects.blocks)
    entries = {}
    if supported:
        entries["effect that holds (Holm)"] = {**_DOT, "color": INK}
    if len(supported) < len(effects.compared):
        name = "effect that does not" if supported else "effect"
        if not supported and effects.of_freezing:
            name = "effect of freezing the block"
        entries[name] = {**_DOT, "color": QUIET, "markerfacecolor": "white"}
    if any(effect.interaction for effect in effects.blocks):
        entries["interaction with the next block"] = _DIAMOND
    return entries if len(entries) > 1 else {}


def _draw_accuracy(axes: "Axes", effects: BlockEffects) -> None:
    supported = find_supported_effects(effects.blocks)
    for row, effect in enumerate(effects.blocks):
        if effect.accuracy is not None:
            strong = effect in supported
            style = {**_DOT, "color": INK if strong else QUIET, **({} if strong else {"markerfacecolor": "white"})}
            _draw_estimate(axes, row, effect.accuracy, style, linewidth=2.4 if strong else 1.6)
        if effect.interaction is not None:
            _draw_estimate(axes, row + 0.5, effect.interaction, _DIAMOND, linewidth=0.9)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def _draw_estimate(axes: "Axes", row: float, estimate: Estimate, style: dict[str, Any], linewidth: float) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.hlines(row, 100 * estimate.low, 100 * estimate.high, color=style["color"], linewidth=linewidth, zorder=3)
    axes.plot(100 * estimate.mean, row, **style, zorder=4)


def _draw_gflops(axes: "Axes", row: int, effect: BlockEffect) -> None:
    if effect.gflops_train is None:
        _write(axes, row, 0.0, "no pair")
        return
    saved = -effect.gflops_train
    axes.barh(row, saved, **_BAR)
    _write(axes, row, max(saved, 0.0), f"{saved + 0.0:.3g}")
    axes.margins(x=0.16)


def _draw_seconds(axes: "Axes", row: int, effect: BlockEffect) -> None:
    """Draw the seconds saved with their interval; what is not told from 0 is pale."""
    found = effect.duration_s
    if found is None:
        _write(axes, row, 0.0, "not stated" if effect.n_pairs else "no pair")
        return
    axes.barh(row, -found.mean, **_BAR if found.is_told_from_zero else {**_BAR, "color": PALE})
    axes.plot([-found.high, -found.low], [row, row], "|-", color=INK, linewidth=0.8, markersize=7, zorder=4)
    _write(axes, row, max(-found.low, 0.0), f"{-found.mean + 0.0:.3g}")
    axes.margins(x=0.16)


def _write(axes: "Axes", row: int, x: float, text: str) -> None:
    offset: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points"}
    axes.annotate(text, (x, row), **offset, va="center", fontsize=8, color=INK)


def _name_rows(axes: "Axes", effects: BlockEffects) -> None:
    plus = "+ " if effects.nested and effects.of_freezing else ""
    labels = [f"{plus if row else ''}{plain(effects.label(each))}" for row, each in enumerate(effects.blocks)]
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    if effects.of_freezing:
        axes.set_ylabel("Also frozen" if effects.nested else "Frozen block")
    supported = find_supported_effects(effects.blocks)
    for tick, effect in zip(axes.get_yticklabels(), effects.blocks, strict=True):
        tick.set_color(INK if effect in supported else QUIET if effect.n_pairs else PALE)
        tick.set_fontweight("bold" if effect in supported else "normal")


def _caption(effects: BlockEffects, caption: str) -> str:
    pairs = sorted({effect.n_pairs for effect in effects.compared})
    count = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    mean = "a pair" if pairs == [1] else f"mean of {count} pairs"
    before = ", all blocks before it being frozen" if effects.nested else ""
    what = "Frozen minus training" if effects.of_freezing else "Change by what the block does instead"
    parts = [f"{what}, {mean} of trials that differ in the block alone{before}"]
    seeds = [
        effect.accuracy.n_seeds for effect in effects.compared if effect.accuracy and effect.accuracy.low is not None
    ]
    if seeds:
        over = "images and seeds" if min(seeds) > 1 else "images, not over seeds"
        parts.append(f"bars: 95 % intervals over validation {over}, each by itself")
    if any(effect.interaction for effect in effects.blocks):
        parts.append("interaction: both frozen, beyond the sum of the two effects")
    timed = [effect.duration_s for effect in effects.compared if effect.duration_s is not None]
    if timed:
        over = "pairs" if min(each.n_pairs for each in timed) > 1 else "seeds of the pair"
        parts.append(
            f"thin bars: 95 % intervals over {over}, of runs that had the machine alike; pale: not told from 0"
        )
    else:
        parts.append("no seconds: too few runs had the machine alike to say how far a difference can be believed")
    return "; ".join([*parts, caption])
