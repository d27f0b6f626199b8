"""The pictures and the page of a sweep, as files."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from orchestrator.errors import SetupError
from orchestrator.lettering import lettering
from orchestrator.report.html import write_page
from orchestrator.report.pictures.canvas import Page
from orchestrator.report.pictures.comparisons import draw_convergence, draw_test, draw_time
from orchestrator.report.pictures.curves import draw_accuracies, draw_losses, draw_overfitting
from orchestrator.report.pictures.effects import draw_effects
from orchestrator.report.pictures.front import draw_front
from orchestrator.report.pictures.series import Series, build_series, describe_sweep, describe_trials
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
_LOG = logging.getLogger("orchestrator")
_ROOM = "free some space there, or let it be written; then `orchestrator report NAME` draws the pictures"


def write_report(sweep: Sweep, folder: Path) -> list[Path]:
    """Write `pareto.png`, `pareto.html` and the pictures of the published study; returns their paths.

    `block_effects.png` comes besides, where two trials differ in one block alone. Files of an earlier report are
    replaced or removed. Trials that are not complete are left out, and the captions say so. A picture that cannot be
    drawn keeps nobody from the others: a warning names it, and it is not among the paths.

    Of a sweep that is judged by another gain or cost than its experiment says (`Sweep.judged_by`), the front alone is
    drawn, as `pareto_GAIN_COST.png` and `.html` beside the others.

    Raises:
        NotFoundError: No trial is complete; nothing is written.
        SetupError: The folder cannot be made or written.
    """
    series = build_series(sweep)
    caption = describe_sweep(sweep, series)
    _make_folder(folder)
    if sweep.objective.config != sweep.experiment.search.objective:
        return _write_front(
            sweep, series, folder, f"pareto_{sweep.objective.config.gain}_{sweep.objective.config.cost}"
        )
    drawings: dict[str, Callable[[], Page]] = {
        **{name: partial(draw, series, caption) for name, draw in PICTURES.items()},
    }
    if sweep.effects.compared:
        drawings[EFFECTS] = lambda: draw_effects(sweep.effects, describe_trials(sweep))
    else:
        (folder / EFFECTS).unlink(missing_ok=True)
    front = _write_front(sweep, series, folder, "pareto")
    pictures = [_draw(draw, folder / name) for name, draw in drawings.items()]
    return [*front, *(path for path in pictures if path is not None)]


def _write_front(sweep: Sweep, series: Sequence[Series], folder: Path, name: str) -> list[Path]:
    picture = _draw(lambda: _draw_front(sweep, series), folder / f"{name}.png")
    page = write_page(sweep, series, folder / f"{name}.html")
    return [page] if picture is None else [picture, page]


def _draw_front(sweep: Sweep, series: Sequence[Series]) -> Page:
    recommendation = None if sweep.judgement is None else sweep.recommend()
    caption, objective = describe_sweep(sweep, series, intervals=True), sweep.objective
    return draw_front(
        series, caption, sweep.knee().number, recommendation, gain=objective.of_gain, cost=objective.of_cost
    )


def _draw(draw: Callable[[], Page], path: Path) -> Path | None:
    """Draw a picture and write it; None, after a warning, where that fails."""
    try:
        with lettering():
            return draw().save(path)
    except OSError as error:  # of the disk: the next one would fail as well
        raise SetupError(f"cannot write {path}: {error.strerror or error}", hint=_ROOM) from error
    except Exception as error:  # noqa: BLE001 - whatever a drawing library makes of a user's text and numbers
        path.unlink(missing_ok=True)  # one of an earlier report would show other trials
        _LOG.warning("%s cannot be drawn: %s: %s", path.name, type(error).__name__, str(error).partition("\n")[0])
        return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make {folder}: {error.strerror}", hint=_ROOM) from error
