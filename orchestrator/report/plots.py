"""The pictures and the page of a sweep, as files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.report.canvas import Page, accept_missing_glyphs
from orchestrator.report.comparisons import draw_convergence, draw_test, draw_time
from orchestrator.report.curves import draw_accuracies, draw_losses, draw_overfitting
from orchestrator.report.effects import draw_effects
from orchestrator.report.front import draw_front
from orchestrator.report.html import write_page
from orchestrator.report.series import Series, build_series, describe_sweep, describe_trials
from orchestrator.results import Sweep

PICTURES: dict[str, Callable[[Sequence[Series], str], Page]] = {
    "accuracies.png": draw_accuracies,
    "loss_progress.png": draw_losses,
    "overfitting_analysis.png": draw_overfitting,
    "convergence_analysis.png": draw_convergence,
    "params_vs_time.png": draw_time,
    "test_results.png": draw_test,
}
"""The pictures of the published study, under its file names."""
EFFECTS = "block_effects.png"


def write_report(sweep: Sweep, folder: Path) -> list[Path]:
    """Write `pareto.png`, `pareto.html` and the pictures of the published study; returns their paths.

    `block_effects.png` comes besides, where two trials differ in one block alone; else one of before is removed.
    Files of an earlier report are replaced. Trials that are not complete are left out, and the captions say so.

    Raises:
        NotFoundError: No trial is complete; nothing is written.
    """
    series = build_series(sweep)
    caption = describe_sweep(sweep, series)
    folder.mkdir(parents=True, exist_ok=True)
    with accept_missing_glyphs():
        shown = describe_sweep(sweep, series, intervals=True)
        recommendation = None if sweep.judgement is None else sweep.recommend()
        front = draw_front(series, shown, sweep.knee().number, recommendation).save(folder / "pareto.png")
        pictures = [draw(series, caption).save(folder / name) for name, draw in PICTURES.items()]
        if sweep.effects.compared:
            pictures.append(draw_effects(sweep.effects, describe_trials(sweep)).save(folder / EFFECTS))
        else:
            (folder / EFFECTS).unlink(missing_ok=True)
    return [front, write_page(sweep, series, folder / "pareto.html"), *pictures]
