"""Draws what the benchmark measured: `python -m benchmarks.chart build/benchmark.json docs/performance.png`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.competitors import NAMES

_COLOURS = {"A": "#b0b0b0", "B": "#7a7a7a", "C": "#1f77b4"}
_STEP_COLOUR, _BOUND_COLOUR = "#9ecae1", "#d62728"
_BAR_INCHES, _WIDTH_INCHES = 0.42, 9.0


def draw(workloads: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the seconds of each sweep, a panel a workload, with the bound that the machine's arithmetic sets.

    Args:
        workloads: As in the benchmark's JSON.
        path: Where the PNG goes.
    """
    bars = [_list_bars(workload) for workload in workloads]
    heights = [len(each) + 2 for each in bars]
    figure = Figure(figsize=(_WIDTH_INCHES, _BAR_INCHES * sum(heights)), layout="constrained")
    panels = figure.subplots(len(workloads), 1, height_ratios=heights, squeeze=False)
    for panel, workload, rows in zip(panels[:, 0], workloads, bars, strict=True):
        _draw_panel(panel, workload, rows)
    figure.savefig(path, dpi=120)


def _list_bars(workload: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """List label, seconds and colour of each bar, from top to bottom."""
    scores = workload["scores"]
    bars = [(f"{name}  {NAMES[name]}", scores[name]["seconds"], _COLOURS[name]) for name in scores]
    steps = [
        step for step in workload["waterfall"] if step["score"] is not None and step["overrides"]
    ]  # A and B have none
    return bars + [(step["name"], step["score"]["seconds"], _STEP_COLOUR) for step in steps]


def _draw_panel(panel: Axes, workload: Mapping[str, Any], bars: Sequence[tuple[str, float, str]]) -> None:
    labels, seconds, colours = zip(*bars, strict=True)
    drawn = panel.barh(range(len(bars)), seconds, color=colours)
    panel.bar_label(drawn, [f" {value:,.0f} s" for value in seconds])
    bound = workload["bound"]["seconds"]
    panel.axvline(bound, color=_BOUND_COLOUR, linestyle="--", linewidth=1, label=f"arithmetic alone: {bound:,.0f} s")
    panel.set_yticks(range(len(bars)), labels)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.15 * max(*seconds, bound))
    panel.spines[["top", "right"]].set_visible(False)
    about = workload["workload"]
    panel.set_title(
        f"{about['name']}: frozen sets: {len(about['frozen'])}, epochs: {about['epochs']}, {about['image_size']} px",
        loc="left",
    )
    panel.legend(frameon=False, loc="lower right")


def main() -> None:
    """Read the files of results, and draw their workloads into the last file that is named."""
    *sources, target = map(Path, sys.argv[1:])
    draw([each for source in sources for each in json.loads(source.read_text())["workloads"]], target)


if __name__ == "__main__":
    main()
