"""The note, read as text and, for what users wrote, as the markup that must not come of it."""

import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.report.note import code, escape, write_note
from orchestrator.report.pictures.series import build_series, describe_sweep
from orchestrator.report.searches import CHEAT_SHEET
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import make_experiment, make_trial, make_trials


def test_what_was_merely_put_off_has_not_failed(tmp_path):
    trials = [
        *make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)),
        make_trial(6, "layer4", error="interrupted", state="put_off"),
    ]
    sweep = Sweep(Root.at(tmp_path), make_experiment("beans"), trials)
    assert "Failed trials" not in write_note(sweep)
    assert sweep.summary_metrics()["n_failed"] == 0
    assert "not shown" not in describe_sweep(sweep, build_series(sweep))


def test_note_has_front_best_failures_and_searches(tmp_path):
    trials = [
        *make_trials((0.95, 0.94, 0.96, 0.90, 0.85, 0.60)),
        make_trial(6, "layer4", error="out of | memory\nat x"),
    ]
    note = write_note(Sweep(Root.at(tmp_path), make_experiment("beans", description="Leaves."), trials))
    assert note.startswith("# Sweep beans\n\nLeaves.\n")
    rows = [line for line in note.splitlines() if line.startswith("| 2 |")]
    assert rows == [
        "| 2 | `stem+layer1` | 96.00% (88.6% to 99.1%) |  |  | 11,020,547 (98.59 %) | 94.00% | 8 |"
    ]  # 2.0 + 2.1 + 2.2 + 1.5 s
    assert "- Highest measured accuracy: `stem+layer1` (trial 2), 96.00% with 11,020,547 parameters" in note
    assert r"| 6 | `layer4` | out of \| memory at x |" in note
    assert "6 complete, 1 failed" in note
    for example in CHEAT_SHEET:
        assert example.query in note


def test_note_before_anything_is_complete(tmp_path):
    note = write_note(Sweep(Root.at(tmp_path), make_experiment(), [make_trial(0, error="boom")]))
    assert "No trial is complete yet." in note
    assert "| 0 | `stem` | boom |" in note


def test_every_row_of_a_table_has_as_many_cells(tmp_path):
    trials = [*make_trials(), make_trial(6, error="a | b || c")]
    note = write_note(Sweep(Root.at(tmp_path), make_experiment(), trials))
    for block in note.split("\n\n"):
        lines = [line.replace(r"\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[a](javascript:x)", r"\[a\]\(javascript:x\)"),
        ("# *a* _b_ `c` |", r"\# \*a\* \_b\_ \`c\` \|"),
        ("two\nlines", "two lines"),
    ],
)
def test_escape(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "`a`"),
        ("metrics.`val/acc` > 1", "``metrics.`val/acc` > 1``"),
        ("`a`", "`` `a` ``"),
        ("a | b", r"`a \| b`"),
    ],
)
def test_code(text, shown):
    assert code(text) == shown


def test_a_race_is_described_and_what_it_dropped_is_no_failure(tmp_path):
    dropped = make_trial(6, "layer4", error="pruned after 3 epochs").model_copy(update={"state": "pruned"})
    race = make_experiment(search=SearchConfig(strategy="race"))
    note = write_note(Sweep(Root.at(tmp_path), race, [*make_trials(), dropped]))
    assert "- Raced: after 3, 9 epochs trials were dropped that end on the front with a probability below 0.02" in note
    assert "6 complete, 1 pruned" in note
    assert "## Pruned trials\n\n| trial | frozen | reason |\n| --- | --- | --- |\n| 6 | `layer4` |" in note
    assert "Failed" not in note


def test_a_note_says_what_blocks_do_that_are_not_frozen(tmp_path):
    trials = [make_trial(0, "stem+layer1:norm+layer2:norm+layer3:norm+layer4:norm")]
    for tunings, said in ((("full", "norm"), "- Blocks that are not frozen: `full`, `norm`\n"), (("full",), "")):
        experiment = make_experiment("beans", search=SearchConfig(tunings=tunings))
        note = write_note(Sweep(Root.at(tmp_path), experiment, trials))
        assert said in note
        assert ("Blocks that are not frozen" in note) == bool(said)
        assert "| `stem+layer1:norm+layer2:norm+layer3:norm+layer4:norm` |" in note
