"""Files of configuration for the tests, and the mistakes that are found in them."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.config import check_file
from orchestrator.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that places read `e.yaml:1:1`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str], str]:
    """Write `e.yaml` and return its name."""

    def write(text: str) -> str:
        (folder / "e.yaml").write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return "e.yaml"

    return write


@pytest.fixture
def mistakes(write: Callable[[str], str]) -> Callable[..., list[str]]:
    """List the mistakes of a file, without the line that counts them."""

    def mistakes(text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError, match=r"e\.yaml|--set") as caught:
            check_file(write(text), overrides)
        lines = caught.value.message.splitlines()
        if len(lines) > 1:
            assert lines.pop(0) == f"{len(lines)} mistakes"
        return lines

    return mistakes
