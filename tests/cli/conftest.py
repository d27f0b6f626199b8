"""The command line, called as the shell calls it."""

import signal
import sys
from types import SimpleNamespace

import pytest

from orchestrator.cli import main


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `orchestrator` with words; returns exit code, stdout and stderr. Signal handlers are put back at the end."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
