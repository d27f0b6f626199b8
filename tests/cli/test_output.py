"""What is printed is read back with another reader: `json`, `csv`, or the eye's own columns."""

import csv
import io
import json
import math
import sys

import pytest

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
    assert lines[0].split() == ["trial", "frozen", "val_acc", "trainable_params", "pareto"]  # nobody has checkpoint
    assert lines[2].split() == ["0", "none", "0.9624", "11,178,051", "yes"]
    assert lines[3].split() == ["1", "stem+layer1+layer2+layer3+layer4", "1,539", "no"]
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


def test_a_narrow_terminal_folds_and_cuts_nothing(show):
    text = show(50)
    assert "…" not in text
    assert "11,178,051" in text  # numbers are not folded either
    assert "trial" in text
    assert "frozen" in text
    assert all(len(line) <= 50 for line in text.splitlines())


# trial 5, frozen 12 at the least, val_acc 7, trainable_params 16, pareto 6, and 3 between two of them
@pytest.mark.parametrize(("width", "shown"), [(200, 5), (58, 5), (57, 4), (49, 4), (48, 3), (10, 1)])
def test_a_narrow_terminal_shows_the_first_columns_and_names_the_others(show, capfd, width, shown):
    head, *rest = show(width).splitlines()
    assert head.split() == ["trial", "frozen", "val_acc", "trainable_params", "pareto"][:shown]
    assert shown == 1 or "".join(line[8:].split()[0] for line in rest[-3:] if line[8:].strip()).endswith("layer4")
    said = capfd.readouterr().err
    assert [name for name in COLUMNS[:5] if name in said] == list(COLUMNS[shown:5])


def test_folded_frozen_sets_break_between_blocks(show):
    shown = [line[8:].split()[0] for line in show(52).splitlines()[-3:]]
    assert shown == ["stem+layer1+", "layer2+layer3+", "layer4"]  # 12 characters, and the 3 that were left over


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


def test_notes_go_to_stderr(capsys):
    print_note("nothing yet")
    assert capsys.readouterr() == ("", "nothing yet\n")
