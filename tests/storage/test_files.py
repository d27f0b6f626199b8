"""Files that are written whole or not at all."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.storage.files import digest_path, is_whole, write_atomically, write_checked


def test_a_file_and_its_digest_are_what_was_written(tmp_path):
    write_checked(tmp_path / "a", lambda file: file.write(b"content"))
    assert (tmp_path / "a").read_bytes() == b"content"
    assert digest_path(tmp_path / "a").read_text() == hashlib.sha256(b"content").hexdigest()
    assert is_whole(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.sha256"]


@pytest.mark.parametrize("damage", [b"", b"conten", b"Content", b"content!"])
def test_any_change_of_the_content_is_noticed(tmp_path, damage):
    write_checked(tmp_path / "a", lambda file: file.write(b"content"))
    (tmp_path / "a").write_bytes(damage)
    assert not is_whole(tmp_path / "a")


def test_a_file_without_digest_and_a_digest_without_file_are_not_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    write_checked(tmp_path / "b", lambda file: file.write(b"content"))
    (tmp_path / "b").unlink()
    assert not is_whole(tmp_path / "a")
    assert not is_whole(tmp_path / "b")


def test_what_raises_in_the_middle_leaves_the_old_content_and_no_litter(tmp_path):
    write_atomically(tmp_path / "a", "old")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_checked(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


WRITER = """
import sys
from pathlib import Path
from orchestrator.storage.files import write_checked
folder = Path(sys.argv[1])
for number in range(100_000):
    write_checked(folder / f"{number:06d}", lambda file: file.write(b"%06d" % number * 20_000))
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_files_only(tmp_path):
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.01 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".sha256"]
        assert files
        assert all(is_whole(path) for path in files)
