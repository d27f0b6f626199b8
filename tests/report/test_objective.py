"""The front of another gain and cost, drawn, on the page and in the note."""

import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.report.note import write_note
from orchestrator.report.pictures.front import draw_front
from orchestrator.report.pictures.series import build_series
from orchestrator.report.plots import write_report
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import make_experiment
from tests.judged import make_scored_trials
from tests.report.sweeps import list_bars


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    return Sweep(Root.at(root), make_experiment("beans"), make_scored_trials(root))


@pytest.mark.parametrize(
    ("gain", "cost", "labels"),
    [
        ("macro_f1", "s_per_epoch", ("Seconds an epoch (logarithmic axis)", "Macro F1 of validation (%)")),
        ("val_loss", "peak_memory_mb", ("Peak memory (MiB) (logarithmic axis)", "Validation loss (nats)")),
    ],
)
def test_the_picture_is_of_what_was_asked_for(sweep, gain, cost, labels):
    judged = sweep.judged_by(gain, cost)
    objective = judged.objective
    page = draw_front(build_series(judged), "caption", -1, gain=objective.of_gain, cost=objective.of_cost)
    axes = page.panels[0]
    page.figure.draw_without_rendering()
    assert (axes.get_xlabel(), axes.get_ylabel()) == labels
    rows = judged.trial_rows()
    assert list_bars(axes) == {tuple((row[cost], row[f"{gain}_{end}"]) for end in ("low", "high")) for row in rows}
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
    assert points == {(row[cost], row[gain]) for row in rows}
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high]


def test_another_front_lies_beside_the_sweeps_own(sweep, tmp_path):
    own = write_report(sweep, tmp_path)
    before = {path: path.read_bytes() for path in own}
    other = write_report(sweep.judged_by("val_loss", "duration_s"), tmp_path)
    assert [path.name for path in other] == ["pareto_val_loss_duration_s.png", "pareto_val_loss_duration_s.html"]
    assert {path: path.read_bytes() for path in own} == before
    page = other[1].read_text()
    assert "<th>validation loss</th>" in page
    assert "<th>seconds a run</th>" in page
    assert "Seconds a run (logarithmic axis)" in page


def test_a_sweep_with_an_objective_reports_by_it(sweep, tmp_path):
    search = SearchConfig(objective=ObjectiveConfig(gain="macro_f1", cost="s_per_epoch"))
    judged = Sweep(sweep.root, make_experiment("beans", search=search), sweep.trials)
    assert write_report(judged, tmp_path)[0].name == "pareto.png"
    note = write_note(judged)
    assert "| macro F1 of validation | corrected | probability of the front | seconds an epoch |" in note
    assert "No other trial has both more macro F1 and fewer seconds an epoch." in note
    assert "Highest measured macro F1: " in note
    cells = next(line for line in note.splitlines() if line.startswith(f"| {judged.front[0].number} |")).split(" | ")
    row = judged.front_rows()[0]
    assert cells[2].startswith(f"{row['macro_f1']:.2%} ({row['macro_f1_low']:.1%} to {row['macro_f1_high']:.1%})")
    assert cells[5] == f"{row['s_per_epoch']:.4g}"
