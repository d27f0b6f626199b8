"""`pareto.html`: the front to point at, in one file that needs no network."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import names
from orchestrator.report.pictures.canvas import INK, PALE
from orchestrator.report.pictures.series import Series, describe_sweep, grey_level
from orchestrator.results import BlockEffects, Row, Sweep
from orchestrator.results.block_sentences import build_table, explain_effects
from orchestrator.results.objective import Objective

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; color: #1a1a1a; max-width: 1100px; margin: 1.5rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; margin: 1rem 0 0.2rem; }}
p {{ color: #5a5a5a; margin: 0 0 0.5rem; }}
table {{ border-collapse: collapse; font-size: 0.9rem; }}
th, td {{ text-align: right; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #e6e6e6; }}
th:first-child, td:first-child {{ text-align: left; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{caption}</p>
{recommended}{plot}
{key}<h1>The front</h1>
<table>
<tr><th>trial</th><th>{gain}</th><th>corrected</th><th>probability of the front</th>
<th>supported</th><th>{cost}</th><th>test accuracy</th></tr>
{rows}
</table>
{blocks}
</body>
</html>
"""
_BLOCKS = """<h1>What freezing a block changes</h1>
<p>{said}</p>
<table>
{rows}
</table>
"""
_ROW = (
    "<tr><td>{label}</td><td>{gain}</td><td>{corrected}</td><td>{p_front}</td><td>{supported}</td>"
    "<td>{cost}</td><td>{test_acc}</td></tr>"
)
_KEY = "<p>Filled by the probability of being on the front; diamonds are the supported front.</p>\n"
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[2]}<br>%{customdata[3]}<br>%{customdata[1]}<extra></extra>"


def write_page(sweep: Sweep, series: Sequence[Series], path: Path) -> Path:
    """Write the interactive front. Text that a user wrote is escaped."""
    front = [each for each in series if each.on_front]
    rows = {row[names.TRIAL]: row for row in sweep.front_rows()}
    page = _PAGE.format(
        title=html.escape(f"Pareto front of {sweep.experiment.name}"),
        caption=html.escape(describe_sweep(sweep, series, intervals=True)),
        recommended=_say_recommendation(sweep),
        plot=_plot(series, front, sweep.objective),
        gain=html.escape(sweep.objective.of_gain.head),
        cost=html.escape(sweep.objective.of_cost.head),
        key="" if sweep.judgement is None else _KEY,
        rows="\n".join(_say_row(each, rows[each.number], sweep.objective) for each in front),
        blocks=_table_of_blocks(sweep.effects),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _table_of_blocks(effects: BlockEffects) -> str:
    """Write what freezing each block changes; empty where no two trials differ in one block alone."""
    if not effects.compared:
        return ""
    head, *rows = build_table(effects)
    return _BLOCKS.format(
        said=html.escape(explain_effects(effects)),
        rows="\n".join([_table_row("th", head), *(_table_row("td", cells) for cells in rows)]),
    )


def _table_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _plot(series: Sequence[Series], front: Sequence[Series], objective: Objective) -> str:
    import plotly.graph_objects as go  # a second

    gain = objective.of_gain
    unit = "" if gain.is_share else " (nats)"
    others = [each for each in series if not each.on_front]
    figure = go.Figure()
    if others:
        pale = {"color": _shades(others), "size": 10, "line": {"color": "#8e8e8e", "width": 1.5}}
        figure.add_trace(go.Scatter(name="off the front", mode="markers", marker=pale, **_points(others, objective)))
    line = {"shape": "hv", "color": "#1a1a1a", "width": 1.5}
    marker = {
        "color": _shades(front),
        "size": 12,
        "line": {"color": "#1a1a1a", "width": 1.5},
        "symbol": ["diamond" if each.supported else "circle" for each in front],
    }
    figure.add_trace(
        go.Scatter(name="front", mode="lines+markers", line=line, marker=marker, **_points(front, objective))
    )
    figure.update_layout(
        template="plotly_white",
        height=560,
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        legend={"orientation": "h", "y": 1.06},
        xaxis={"type": "log", "title": {"text": f"{objective.of_cost.axis} (logarithmic axis)"}, "dtick": 1},
        yaxis={"tickformat": ".0%" if gain.is_share else "", "title": {"text": f"{gain.axis}{unit}"}},
        hoverlabel={"align": "left"},
    )
    text: str = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    return text


def _shades(series: Sequence[Series]) -> list[str]:
    """Return the fill of each point: white where it is surely not on the front, dark where it surely is."""
    known = [float(each.on_front) if each.p_front is None else each.p_front for each in series]
    levels = [round(255 * grey_level(probability)) for probability in known]
    return [f"rgb({level}, {level}, {level})" for level in levels]


def _points(series: Sequence[Series], objective: Objective) -> dict[str, Any]:
    """Return the points of a trace. Plotly reads tags in hover texts: escaped, so that they show as they are."""
    return {
        "x": [each.cost for each in series],
        "y": [each.gain for each in series],
        "error_y": {
            "type": "data",
            "array": [each.gain_interval[1] - each.gain if each.gain_interval else 0.0 for each in series],
            "arrayminus": [each.gain - each.gain_interval[0] if each.gain_interval else 0.0 for each in series],
            "color": INK if all(each.on_front for each in series) else PALE,
            "thickness": 1.2,
            "width": 0,
        },
        "customdata": [
            [
                html.escape(each.label),
                html.escape(", ".join(run.name for run in each.runs)),
                f"{objective.of_gain.head} {objective.of_gain.write(each.gain)}",
                f"{objective.of_cost.write(each.cost)} {_unit(objective)}",
            ]
            for each in series
        ],
        "hovertemplate": _HOVER,
    }


def _say_recommendation(sweep: Sweep) -> str:
    if sweep.judgement is None:
        return ""
    return f"<p>Recommended: {html.escape(sweep.recommend().text)}.</p>\n"


def _unit(objective: Objective) -> str:
    unit = objective.of_cost.unit
    return f"trainable {unit}" if objective.config.cost == names.TRAINABLE_PARAMS else unit


def _say_row(each: Series, row: Row, objective: Objective) -> str:
    gain = objective.of_gain
    low, high, corrected = (row[f"{gain.key}_{end}"] for end in names.GAIN_ENDS)
    interval = ""
    if isinstance(low, float) and isinstance(high, float):
        interval = f" ({gain.write(low, 1)} to {gain.write(high, 1)})"
    return _ROW.format(
        label=html.escape(each.label),
        gain=gain.write(each.gain) + interval,
        corrected=gain.write(corrected) if isinstance(corrected, float) else "",
        p_front="" if each.p_front is None else f"{each.p_front:.2f}",
        supported="yes" if each.supported else "",
        cost=objective.of_cost.write(each.cost),
        test_acc=_share(row, names.TEST_ACC) + _interval(row, names.TEST_ACC_LOW, names.TEST_ACC_HIGH),
    )


def _share(row: Row, key: str, digits: int = 2) -> str:
    value = row[key]
    return f"{value:.{digits}%}" if isinstance(value, float) else ""


def _interval(row: Row, low: str, high: str) -> str:
    return "" if row[low] is None else f" ({_share(row, low, 1)} to {_share(row, high, 1)})"
