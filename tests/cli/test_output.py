"""What is printed is read back with another reader: `json`, `csv`, or the eye's own columns."""

import csv
import io
import json
import math
import sys

import pytest
from rich.cells import cell_len

from orchestrator.cli.output import (
    Format,
    format_cell,
    format_markdown,
    print_note,
    print_record,
    print_rows,
)

ROWS = [
    {
        "trial": 0,
        "frozen": "none",
        "val_acc": 0.96240601,
        "trainable_params": 11_178_051,
        "pareto": True,
        "seed": [0, 1],
        "error": None,
    },
    {
        "trial": 1,
        "frozen": "+".join(["stem", "layer1", "layer2", "layer3", "layer4"]),
        "val_acc": math.nan,
        "trainable_params": 1_539,
        "pareto": False,
        "seed": [0],
        "error": "out of memory | on\nthe GPU",
        "extra": math.inf,
    },
]
COLUMNS = ("trial", "frozen", "val_acc", "trainable_params", "pareto", "checkpoint")


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_json_gives_every_key_and_null_for_what_is_not_finite(capsys):
    print_rows(ROWS, COLUMNS, Format.json)
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert rows[0] == ROWS[0]
    assert rows[1] == {**ROWS[1], "val_acc": None, "extra": None}


def test_csv_gives_every_key_of_any_row(capsys):
    print_rows(ROWS, COLUMNS, Format.csv)
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(first) == [*ROWS[0], "extra"]
    assert first["val_acc"] == "0.96240601"
    assert (first["trainable_params"], first["pareto"], second["pareto"]) == ("11178051", "true", "false")
    assert (second["val_acc"], first["error"], first["extra"]) == ("", "", "")
    assert second["error"] == "out of memory | on\nthe GPU"
    assert json.loads(first["seed"]) == [0, 1]


def test_csv_of_nothing_has_a_header(capsys):
    print_rows([], COLUMNS, Format.csv)
    assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(("form", "expected"), [(Format.json, "[]\n"), (Format.table, None), (Format.md, None)])
def test_nothing_is_still_a_table(capsys, form, expected):
    print_rows([], COLUMNS, form)
    out = capsys.readouterr().out
    assert out == expected if expected else "frozen" in out


def test_a_piped_table_is_neither_folded_nor_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_rows(ROWS, COLUMNS, Format.table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # header, rule, two rows
    assert "stem+layer1+layer2+layer3+layer4" in lines[3]
    assert lines[0].split() == ["trial", "front", "frozen", "val_acc", "trainable_params"]  # nobody has checkpoint
    assert lines[2].split() == ["0", "*", "none", "0.9624", "11,178,051"]
    assert lines[3].split() == ["1", "stem+layer1+layer2+layer3+layer4", "1,539"]
    assert not any(line != line.rstrip() or "\x1b" in line for line in lines)


@pytest.fixture
def show(monkeypatch):
    """Print `ROWS` on a terminal of so many columns; gives what is on it."""

    def on_terminal(width: int) -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("LINES", "25")  # without it a dumb terminal has 80 columns
        print_rows(ROWS, COLUMNS, Format.table)
        return terminal.getvalue()

    return on_terminal


@pytest.fixture
def show_rows(monkeypatch, capfd):
    """Print rows on a terminal of so many columns; gives what is on it, and what was said besides."""

    def on_terminal(rows, columns, width: int) -> tuple[str, str]:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        for name, value in {"COLUMNS": str(width), "TERM": "dumb", "LINES": "25"}.items():
            monkeypatch.setenv(name, value)
        print_rows(rows, columns, Format.table)
        return terminal.getvalue(), capfd.readouterr().err

    return on_terminal


def test_a_narrow_terminal_folds_and_cuts_nothing(show):
    text = show(51)
    assert "…" not in text
    assert "11,178,051" in text  # numbers are not folded either
    assert "0.9624" in text
    assert all(len(line) <= 51 for line in text.splitlines())


# trial 5, front 5, frozen 12 at the least, val_acc 7, trainable_params 10 in two lines, and 3 between two of them
@pytest.mark.parametrize(("width", "shown"), [(200, 5), (51, 5), (50, 4), (38, 4), (37, 3), (28, 3), (27, 2), (8, 1)])
def test_a_narrow_terminal_shows_the_first_columns_and_names_the_others(show, capfd, width, shown):
    head = " ".join(line for line in show(width).splitlines()[:2] if "─" not in line)
    known = ["trial", "front", "frozen", "val_acc", "trainable_params"]
    assert [name for name in known if name.split("_", 2)[0] in head] == known[:shown]
    said = capfd.readouterr().err.partition("*")[0]
    assert [name for name in known if name in said.split("(")[0]] == known[shown:]


def test_folded_frozen_sets_break_between_blocks(show):
    shown = [line[16:].split()[0] for line in show(54).splitlines()[-3:]]
    assert shown == ["stem+layer1+", "layer2+layer3+", "layer4"]  # 12 cells, and the 3 that were left over


SEARCHED = [
    {
        "trial": number,
        "frozen": "stem+layer1+layer2",
        "lr": rate,
        "trainable_params": 10_494_979,
        "val_acc": 0.94123,
        "pareto": number == 1,
        "supported": True,
        "state": "complete",
        "val_acc_corrected": 0.93456,
        "test_acc": 0.92345,
    }
    for number, rate in enumerate((0.001, 0.003))
]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            80,
            [
                "                                          trainable_                       val_acc_",
                "trial   front   frozen                 lr       params   val_acc   state      corrected",
            ],
        ),
        (60, ["trial   front   frozen               lr       params   val_acc"]),
    ],
)
def test_in_80_and_60_columns_what_varies_the_mark_and_the_accuracy_are_there(show_rows, width, lines):
    columns = [key for key in SEARCHED[0] if key not in {"pareto", "supported"}]
    text, said = show_rows(SEARCHED, [*columns[:5], "pareto", "supported", *columns[5:]], width)
    assert all(len(line) <= width for line in text.splitlines())
    rows = [line.split() for line in text.splitlines() if line.lstrip()[:1] in {"0", "1"}]
    assert [row[:2] for row in rows] == [["0", "s"], ["1", "*s"]]
    for row, rate in zip(rows, ("0.001", "0.003"), strict=True):
        assert {rate, "0.9412", "10,494,979"} <= set(row)
    assert ("test_acc" in said) == ("0.9235" not in text)
    assert "* on the Pareto front, s on the supported front" in said


def test_a_cjk_name_takes_two_cells_a_letter(show_rows):
    rows = [{"name": "豆の葉の実験でとても長い名前のもの", "val_acc": 0.5}, {"name": "beans", "val_acc": 0.75}]
    text, _ = show_rows(rows, ("name", "val_acc"), 30)
    lines = [line.rstrip() for line in text.splitlines()]
    assert {cell_len(line) for line in lines if line.endswith(("0.5000", "0.7500"))} == {30}
    assert "".join(line.split()[0] for line in lines[2:-1]) == rows[0]["name"]
    wide, _ = show_rows(rows, ("name", "val_acc"), 60)
    assert {cell_len(line.rstrip()) for line in wide.splitlines()[2:]} == {34 + 3 + 7}


def test_sentences_on_a_terminal_break_between_words_and_commands_do_not(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "24")
    path = "/a/path/that/is/longer/than/the/terminal"
    print_note(
        f"freezing stem+layer1 trains few parameters, see {path}.\nNext:\n  orchestrator best beans --rule point"
    )
    assert terminal.getvalue().splitlines() == [
        "freezing stem+layer1",
        "trains few parameters,",
        "see",
        f"{path}.",
        "Next:",
        "  orchestrator best beans --rule point",
    ]


def test_a_long_value_of_a_record_is_wrapped_beside_its_key(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    print_record({"basis": "the highest val_acc on the supported front", "trial": 4}, Format.table)
    assert terminal.getvalue().splitlines() == [
        "basis  the highest val_acc on the",
        "       supported front",
        "trial  4",
    ]


def test_what_rounds_to_zero_has_no_sign():
    assert format_cell("val_acc_effect", -1e-17) == "0.0000"
    assert format_cell("val_acc_effect", -0.00006) == "-0.0001"


def test_markdown_escapes_the_bar_and_aligns_numbers():
    lines = format_markdown(ROWS, ("trial", "frozen", "error")).splitlines()
    assert lines[0] == "| trial | frozen | error |"
    assert lines[1] == "| ---: | --- | --- |"
    assert lines[3].endswith(r"| out of memory \| on the GPU |")


def test_a_record_is_one_json_object(capsys):
    print_record(ROWS[0], Format.json)
    assert json.loads(capsys.readouterr().out) == ROWS[0]


def test_a_record_has_a_line_a_value(capsys):
    print_record({"frozen": "none", "trainable_params": 1_539, "error": None}, Format.table)
    assert capsys.readouterr().out.splitlines() == [
        "frozen            none",
        "trainable_params  1,539",
    ]


def test_a_record_as_csv_and_markdown(capsys):
    print_record({"frozen": "none", "val_acc": 0.5}, Format.csv)
    print_record({"frozen": "none", "val_acc": 0.5}, Format.md)
    assert capsys.readouterr().out.splitlines() == [
        "frozen,val_acc",
        "none,0.5",
        "| key | value |",
        "| --- | --- |",
        "| frozen | none |",
        "| val_acc | 0.5000 |",
    ]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("val_acc", 0.5, "0.5000"),
        ("lr", 1e-4, "0.0001"),
        ("duration_s", 61.04, "61.0"),
        ("trainable_params", 3_000_000, "3,000,000"),
        ("trial", 3_000, "3000"),
        ("val_acc", None, ""),
        ("val_acc", math.nan, ""),
        ("pareto", True, "yes"),
        ("seeds", (0, 1), "[0, 1]"),
    ],
)
def test_cells(key, value, text):
    assert format_cell(key, value) == text


DIGITS = {
    4: {
        *("val_acc", "val_acc_low", "val_acc_high", "val_acc_corrected", "test_acc_low", "test_acc_high", "test_drop"),
        *("difference", "low", "high", "train_acc", "test_acc", "highest_measured_val_acc", "gap_train_val"),
        *("val_acc_effect", "val_acc_effect_low", "val_acc_effect_high"),
        *("interaction", "interaction_low", "interaction_high", "val_loss", "train_loss", "test_loss"),
    },
    3: {
        *("p_front", "logme", "grad_share_frozen", "p_value", "p_value_adjusted"),
        *("gflops_forward_per_image", "gflops_train_per_image", "gflops_train_per_image_effect"),
    },
    2: {"trainable_pct", "s_per_epoch", "ped_anova"},
    1: {
        *("duration_s", "duration_s_effect", "duration_s_effect_low", "duration_s_effect_high"),
        *("peak_memory_mb", "images_per_s"),
    },
}
"""Decimal places by column, as written down before they came from the table of quantities."""
PLAIN = {"lr", "weight_decay", "standard_error", "n_seeds", "best_epoch", "epochs_run", "hypervolume"}


def test_numbers_have_their_digits():
    thirds = {digits: f"{1 / 3:.{digits}f}" for digits in DIGITS}
    assert {n: {key for key in keys if format_cell(key, 1 / 3) == thirds[n]} for n, keys in DIGITS.items()} == DIGITS
    assert {key for key in PLAIN if format_cell(key, 1 / 3) == "0.333333"} == PLAIN
    counted = {*PLAIN, "trainable_params", "total_params", "trainable_params_effect", "n_trials", "trial"}
    grouped = {key for key in counted if format_cell(key, 1234) == "1,234"}
    assert grouped == {"trainable_params", "total_params", "trainable_params_effect"}


def test_notes_go_to_stderr(capsys):
    print_note("nothing yet")
    assert capsys.readouterr() == ("", "nothing yet\n")
