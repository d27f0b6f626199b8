"""`orchestrator cache info|clear` beside a cache of two entries, one of them in use."""

import csv
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.cli import main
from orchestrator.storage.cache import Cache

LIMIT = 3 * 2**30
ROWS = np.zeros((2, 2**20), np.uint8)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", LIMIT)


def keep(cache: Cache, kind: str) -> np.ndarray:
    return cache.open(
        kind, "a1", shape=ROWS.shape, dtype="|u1", of=f"some {kind}", build=lambda write: write(0, ROWS)
    ).array


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run `orchestrator cache ...`; gives exit code, stdout and stderr."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["orchestrator", "cache", *words, "--root", str(tmp_path)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


def test_info_has_a_row_an_entry_and_the_total_beside_the_limit(ask, cache, tmp_path):
    held = keep(cache, "activations")
    keep(cache, "images")
    answer = ask("info")
    assert answer.code == 0
    header, _, first, second = answer.out.splitlines()
    assert header.split() == ["kind", "of", "size_mb", "used", "state"]
    assert first.split()[:4] == ["activations", "some", "activations", "2"]
    assert first.endswith("in use")
    assert second.endswith("ready")
    # 2 MiB each, and some bytes
    assert answer.err == f"{tmp_path}/cache: 2 entries, 4.0 MiB of at most 3.00 GiB\n"
    del held


def test_info_gives_programs_every_value(ask, cache):
    keep(cache, "images")
    found = json.loads(ask("info", "-f", "json").out)
    (entry,) = found["entries"]
    assert found["max_bytes"] == LIMIT
    assert found["bytes"] == entry["bytes"] >= 2**21
    assert (entry["kind"], entry["key"], entry["of"], entry["state"]) == ("images", "a1", "some images", "ready")
    (row,) = csv.DictReader(io.StringIO(ask("info", "-f", "csv").out))
    assert row.keys() == entry.keys()
    assert ask("info", "-f", "md").out.startswith("| kind | of | size_mb | used | state |\n")


def test_no_cache_is_no_error_and_nothing_is_created(ask, tmp_path):
    assert json.loads(ask("info", "-f", "json").out)["entries"] == []
    assert ask("info").err == f"{tmp_path}/cache: 0 entries, 0.0 MiB\n"
    assert ask("clear").err == "0 entries removed, 0.0 MiB\n"
    assert list(tmp_path.iterdir()) == []


def test_clear_spares_what_is_in_use_and_other_kinds(ask, cache):
    held = keep(cache, "images")
    keep(cache, "activations")
    answer = ask("clear", "--kind", "images")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "0 entries removed, 0.0 MiB\n1 entry left, which a running sweep uses\n"
    assert ask("clear").err == "1 entry removed, 2.0 MiB\n1 entry left, which a running sweep uses\n"
    del held
    assert ask("clear").err == "1 entry removed, 2.0 MiB\n"


def test_a_damaged_entry_is_shown_as_one(ask, cache):
    keep(cache, "images")
    (entry,) = cache.entries()
    entry.path.write_bytes(b"something else")
    assert ask("info").out.splitlines()[-1].endswith("damaged")
