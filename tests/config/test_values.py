"""Values that YAML reads otherwise than people, and the short forms of a search."""

import re

import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.config.resolve import resolve_experiment
from orchestrator.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("010", "010 is 8 in YAML 1.1 (base 8) and 10 elsewhere: write 8, 10 or, as text, '010'"),
        ("-0_17", "-0_17 is -15 in YAML 1.1 (base 8) and -17 elsewhere: write -15, -17 or, as text, '-0_17'"),
        ("1:30", "1:30 is 90 in YAML 1.1 (base 60): write 90 or, as text, '1:30'"),
        ("1:30:00", "1:30:00 is 5400 in YAML 1.1 (base 60): write 5400 or, as text, '1:30:00'"),
        ("1:30.5", "1:30.5 is 90.5 in YAML 1.1 (base 60): write 90.5 or, as text, '1:30.5'"),
        ("0x" + "F" * 9000, f"is a number of 9,002 characters (0x{'F' * 55}...)"),
        ("9" * 5000, f"is a number of 5,000 characters ({'9' * 57}...)"),
        ("0x_", "cannot be read as int (0x_)"),
        ("!!bool q", "cannot be read as bool (q)"),
        ("!!timestamp x", "cannot be read as timestamp (x)"),
        ("!!int x", "cannot be read as int (x)"),
        ("2024-02-31", "day is out of range for month (2024-02-31)"),
        (r'"a\0b"', "has the character U+0000, which no value may have"),
        (r'"\e[31m"', "has the character U+001B, which no value may have"),
        (r'"\ud800"', "has the character U+D800, which no value may have"),
        ("0xFF", "must be text, and 0xFF is a number in YAML: put it in quotes, '0xFF'"),
        ("1_000", "must be text, and 1_000 is a number in YAML: put it in quotes, '1_000'"),
        ("1.10", "must be text, and 1.10 is a number in YAML: put it in quotes, '1.10'"),
        (".inf", "must be text, and .inf is a number in YAML: put it in quotes, '.inf'"),
        ("no", "must be text, and no is true or false in YAML: put it in quotes, 'no'"),
        ("On", "must be text, and On is true or false in YAML: put it in quotes, 'On'"),
        ("2024-01-01", "must be text, and 2024-01-01 is a date in YAML: put it in quotes, '2024-01-01'"),
    ],
)
def test_a_value_that_yaml_reads_otherwise_gets_one_line_that_says_what_to_write(mistakes, write, value, says):
    text = "experiments:\n  a:\n    data: {source: synthetic}\n    description: VALUE\n"
    assert mistakes(text.replace("VALUE", value)) == [f"e.yaml:4:18: experiments.a.description: {says}"]
    for quoted in re.findall(r"'[^']*'$", says):  # the hint leads on
        path = write(text.replace("VALUE", quoted))
        assert resolve_experiment("a", path).experiment.description == quoted.strip("'")


@pytest.mark.parametrize("value", ["010", "1:30"])
def test_a_number_with_two_readings_is_refused_on_the_command_line_too(write, value):
    path = write("experiments:\n  a:\n    data: {source: synthetic}\n")
    with pytest.raises(ConfigError, match=rf"^--set trainer\.max_epochs={value}: .* YAML 1\.1"):
        resolve_experiment("a", path, [f"trainer.max_epochs={value}"])
    with pytest.raises(ConfigError, match=r"must be text, and no is true or false in YAML: put it in quotes, 'no'"):
        resolve_experiment("a", path, ["data.revision=no"])


@pytest.mark.parametrize("value", ["0xFF", "1_000", "1.0e+2", "1e2", "0b11", "'08'"])
def test_a_number_with_one_reading_is_taken(write, value):
    path = write(f"experiments:\n  a:\n    data: {{source: synthetic}}\n    trainer: {{max_epochs: {value}}}\n")
    expected = {"0xFF": 255, "1_000": 1000, "1.0e+2": 100, "1e2": 100, "0b11": 3, "'08'": 8}[value]
    assert resolve_experiment("a", path).experiment.trainer.max_epochs == expected


def test_lists_and_ranges_of_a_search_have_short_forms(write):
    short = "{lr: [1e-4, 3.0e-3], weight_decay: {low: 1e-5, high: 1, log: true}, optimizer: [adam, sgd], n_trials: 9}"
    long = (
        "{lr: {choices: [1e-4, 3e-3]}, weight_decay: {range: {low: 1e-5, high: 1, log: true}}, "
        "optimizer: {choices: [adam, sgd]}, n_trials: 9}"
    )
    text = "experiments: {a: {data: {source: synthetic}, search: SEARCH}}\n"
    first, second = (
        resolve_experiment("a", write(text.replace("SEARCH", search))).experiment for search in (short, long)
    )
    assert first == second
    assert first.search.lr.choices == (1e-4, 3e-3)
    assert (first.search.weight_decay.range.low, first.search.weight_decay.range.log) == (1e-5, True)
    assert SearchConfig(lr=[1e-4]) == SearchConfig(lr={"choices": [1e-4]})
    assert resolve_experiment(
        "a", write(text.replace("SEARCH", "{}")), ["search.lr=[0.1]"]
    ).experiment.search.lr.choices


def test_choices_that_are_said_later_take_the_place_of_a_range(write):
    path = write("""
        experiments:
          a: {data: {source: synthetic}, search: {lr: {low: 1e-4, high: 1}, n_trials: 3}}
          b: {extends: a, search: {lr: [0.1]}}
          c: {extends: b, search: {lr: {low: 0.2, high: 0.3}}}
          d: {extends: a, search: {lr: {low: 1e-3}}}
    """)
    found = {name: resolve_experiment(name, path).experiment.search.lr for name in "abcd"}
    assert found["b"].choices == (0.1,)
    assert found["b"].range is None
    assert (found["c"].choices, found["c"].range.low) == (None, 0.2)
    assert (found["d"].range.low, found["d"].range.high) == (1e-3, 1)  # a range that is refined keeps its other end
