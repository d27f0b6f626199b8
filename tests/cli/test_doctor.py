"""`orchestrator doctor`: a line a check on stdout, the sum on stderr, exit 0 or 5."""

import json
import sys
from types import SimpleNamespace

import pytest

from orchestrator.cli import main


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["orchestrator", "doctor", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


def test_a_line_a_check_and_code_0(ask):
    answer = ask()
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    (line,) = [line for line in lines if " configuration " in line]
    assert line.startswith("warn")
    assert line.endswith(" -> name the configuration with -c/--config")
    assert answer.err.startswith("0 failed, ")


def test_a_failed_check_ends_with_code_5(ask, tmp_path):
    (tmp_path / "optuna.db").write_text("no database" * 100)
    answer = ask("--root", str(tmp_path), "-f", "json")
    assert answer.code == 5
    found = {finding["check"]: finding for finding in json.loads(answer.out)}
    assert found["optuna"]["status"] == "fail"
    assert found["optuna"].keys() == {"check", "status", "message", "hint"}
    assert answer.err.startswith("1 failed, ")
