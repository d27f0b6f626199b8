"""`orchestrator config`: what goes to stdout, what to stderr, and the exit codes."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.config import json_schema, load_experiment, to_yaml

SHIPPED = Path(__file__).parents[2] / "experiments.yaml"


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run `orchestrator config ...` beside the configuration that ships; returns exit code, stdout and stderr."""
    shutil.copy(SHIPPED, tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["orchestrator", "config", *words])
        with pytest.raises(SystemExit, match=r"^\d$") as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=int(str(end.value.code)), out=out, err=err)

    return run


def test_show_prints_the_experiment_as_yaml(ask):
    answer = ask("show", "beans", "-s", "trainer.max_epochs=3")
    assert (answer.code, answer.err) == (0, "")
    shown = yaml.safe_load(answer.out)
    assert shown == yaml.safe_load(to_yaml(load_experiment("beans", SHIPPED, ["trainer.max_epochs=3"])))
    assert (shown["name"], shown["trainer"]["max_epochs"], shown["data"]["batch_size"]) == ("beans", 3, 16)


def test_show_with_origins_has_a_line_a_value(ask):
    answer = ask("show", "beans-all", "--origin", "-s", "trainer.max_epochs=3")
    assert (answer.code, answer.err) == (0, "")
    lines = [line.split("  # ") for line in answer.out.splitlines()]
    said = {value.split(": ", 1)[0]: (value.split(": ", 1)[1].strip(), origin) for value, origin in lines}
    numbers = {line.strip(): number for number, line in enumerate(SHIPPED.read_text().splitlines(), start=1)}
    mode = next(number for line, number in numbers.items() if line.startswith("mode: subset"))
    assert said["search.mode"] == ('"subset"', f"experiments.yaml:{mode}")
    assert said["trainer.lr"] == ("0.0001", f"experiments.yaml:{numbers['lr: 1.0e-4']}")
    assert said["trainer.deterministic"] == ("true", f"experiments.yaml:{numbers['deterministic: true']}")
    assert said["trainer.max_epochs"] == ("3", "--set")
    assert said["data.revision"] == ("null", "default")
    assert len({len(value) for value, _ in lines}) == 1  # in one column
    assert len(said) == len(lines)


def test_check_names_the_experiments_on_stderr(ask):
    answer = ask("check")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "experiments.yaml: 4 experiments are valid: beans, beans-all, demo-source, demo\n"


def test_check_of_one_experiment(ask, tmp_path):
    (tmp_path / "one.yaml").write_text("experiments: {a: {data: {source: synthetic}}}\n")
    assert ask("check", "-c", "one.yaml").err == "one.yaml: 1 experiment is valid: a\n"


def test_check_names_all_mistakes_at_once(ask, tmp_path):
    (tmp_path / "bad.yaml").write_text("experiments:\n  a:\n    data: {source: 5}\n    trainr: {}\n")
    answer = ask("check", "--config", "bad.yaml", "-s", "search.mode=lst")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "error: 3 mistakes",
        "bad.yaml:3:20: experiments.a.data.source: must be text, and 5 is a number in YAML: put it in quotes, '5'",
        "--set search.mode=lst: search.mode: must be one of prefix, subset, list; did you mean 'list'? ('lst')",
        "bad.yaml:4:5: experiments.a.trainr: unknown key; did you mean 'trainer'?",
        "hint: `orchestrator config schema` prints every key, type and range",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("show", "bean"),
            "error: experiments.yaml: experiments: there is no experiment 'bean'; did you mean 'beans'?",
        ),
        (("show", "beans", "-c", "none.yaml"), "error: none.yaml: no such file"),
        (("check", "-c", "."), "error: .: is a directory, not a file"),
        (("show", "demo", "-s", "trainer"), "error: --set trainer: must look like key.path=value"),
        (
            ("check", "-s", "trainer.lr=0", "-c", "experiments.yaml"),
            "error: --set trainer.lr=0: trainer.lr: must be greater than 0 (0)",
        ),
    ],
)
def test_a_mistake_ends_with_code_2_and_one_line(ask, words, line):
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[0] == line


@pytest.mark.parametrize("words", [("show",), ("check", "extra"), ("nothing",), ("check", "--nothing")])
def test_a_wrong_command_line_ends_with_code_2(ask, words):
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err


def test_schema_prints_what_lies_in_the_repository(ask):
    answer = ask("schema")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == json_schema()
    assert answer.out == (SHIPPED.parent / "experiments.schema.json").read_text()


@pytest.mark.parametrize("words", [(), ("--origin",)])
def test_show_masks_credentials(words, ask):
    answer = ask("show", "beans", "-s", "tracking.mlflow_uri=https://anna:geheim@example.org/mlflow", *words)
    assert "https://***@example.org/mlflow" in answer.out
    assert "geheim" not in answer.out


def test_what_is_not_on_this_machine_is_named_and_is_no_mistake_of_the_file(command, tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(
        "experiments:\n  a: {data: {source: ./gone}}\n  b: {data: {source: synthetic}, model: {weights: gone.pth}}\n"
    )
    done = command("config", "check", "-c", str(path))
    assert done.code == 0
    assert "a, on this machine: data.source: ./gone does not exist" in done.err
    assert "b, on this machine: model.weights: no such file: gone.pth" in done.err
    assert "2 experiments are valid: a, b" in done.err
