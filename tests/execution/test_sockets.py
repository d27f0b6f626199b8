"""Folders for sockets, chosen in processes of their own: `multiprocessing` keeps its choice."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import SetupError
from orchestrator.execution import sockets
from orchestrator.execution.sockets import settle_socket_folder

START = """
import multiprocessing, tempfile
from orchestrator.execution.child import start_method
before = tempfile.gettempdir()
context = start_method("json")
receiver, sender = context.Pipe(duplex=False)
process = context.Process(target=print, args=("started",))
process.start()
process.join()
print(multiprocessing.util.get_temp_dir())
assert tempfile.gettempdir() == before
"""


def start(folder: str) -> list[str]:
    environment = {**os.environ, "TMPDIR": folder, "XDG_RUNTIME_DIR": ""}
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("length", [40, 75, 76, 200])
def test_a_process_starts_wherever_temporary_files_are(length):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:  # pytest's own folder may be too long
        folder = Path(base) / ("x" * (length - len(base) - 1))
        folder.mkdir()
        started, place = start(str(folder))
        assert started == "started"
        # 107 bytes for a socket's path, 32 of them for what is added to the folder
        assert place.startswith(f"{folder}/pymp-") == (length <= 75)
        assert not Path(place).exists()


def test_a_folder_that_is_missing_or_empty_is_not_used():
    assert start("/no/such/folder")[0] == "started"
    assert start("")[0] == "started"


def test_without_a_short_folder_the_length_is_named(monkeypatch, tmp_path):
    # what an earlier test has started may have settled the folder of this process
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    monkeypatch.delitem(config, "tempdir", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'x' * 95}")
    monkeypatch.setattr(sockets, "_OTHERS", ("/no/such/folder",))
    long = tmp_path / ("y" * 99)
    long.mkdir()
    monkeypatch.chdir(long)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(SetupError, match="would have 132 bytes, and the system takes 107") as caught:
        settle_socket_folder()
    assert str(caught.value.hint) == "set TMPDIR to a folder whose path has at most 75 bytes"


def test_without_any_folder_for_temporary_files_tmpdir_is_named(monkeypatch):
    def refuse():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    with pytest.raises(SetupError, match="no folder for temporary files that can be written") as caught:
        settle_socket_folder()
    assert "TMPDIR" in str(caught.value.hint)
