"""The cache: one maker, no damage that passes, no more than the limit, and nothing taken from under a reader."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import CacheError
from orchestrator.records.place import CachePlace
from orchestrator.storage import cache as cache_module
from orchestrator.storage.arrayfile import Writer
from orchestrator.storage.cache import Cache, CacheEntry

ROWS = np.arange(3000, dtype=np.uint8).reshape(10, 300)
SIZE = 3400
"""Bytes of an entry at the most: 3000 of data, and label and digest."""
TIMEOUT_S = 60


@pytest.fixture
def words():
    return []


@pytest.fixture
def cache(tmp_path, words):
    return Cache(tmp_path / "cache", 10 * SIZE, words.append)


def build(write):
    write(0, ROWS)


def never(write):
    raise AssertionError("it is there already")


def open_entry(cache: Cache, key: str = "a", build=build, kind: str = "images") -> CacheEntry:
    return cache.open(kind, key, shape=ROWS.shape, dtype="|u1", of=f"rows {key}", build=build)


def forget() -> None:
    """Be a process that has not read any file yet."""
    cache_module._verified.clear()


def path_of(cache: Cache, key: str = "a") -> Path:
    (entry,) = [entry for entry in cache.entries() if entry.key == key]
    return entry.path


def keys(cache: Cache) -> list[str]:
    return [entry.key for entry in cache.entries()]


def states(cache: Cache) -> dict[str, str]:
    return {entry.key: entry.state for entry in cache.entries()}


# Making and finding


def test_what_was_made_once_is_found_again_also_by_another_process(cache, words):
    made = open_entry(cache, build=lambda write: (write(0, ROWS), {"broken": {"1": "why"}})[1])
    assert made.built
    assert np.array_equal(made.array, ROWS)
    forget()
    found = open_entry(cache, build=never)
    assert not found.built
    assert found.extra == made.extra == {"broken": {"1": "why"}}
    assert np.array_equal(found.array, ROWS)
    assert not found.array.flags.writeable
    assert words == []
    assert [path.name for path in path_of(cache).parent.iterdir()] == ["a.array"]


def test_another_kind_or_key_is_another_entry(cache):
    open_entry(cache)
    for kind, key in (("images", "b"), ("activations", "a")):
        assert open_entry(cache, key, kind=kind).built
    assert [(entry.kind, entry.key, entry.of) for entry in cache.entries()] == [
        ("activations", "a", "rows a"),
        ("images", "a", "rows a"),
        ("images", "b", "rows b"),
    ]


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", ".a", "a.b"])
def test_a_name_that_is_no_plain_word_is_refused(cache, tmp_path, name):
    for kind, key in ((name, "a"), ("images", name)):
        with pytest.raises(ValueError, match="are to be letters"):
            open_entry(cache, key, kind=kind)
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_fails_leaves_nothing(cache):
    def fail(write):
        write(0, ROWS[:5])
        raise KeyError("no such image")

    with pytest.raises(KeyError, match="no such image"):
        open_entry(cache, build=fail)
    with pytest.raises(ValueError, match="5 of 10 rows were written"):
        open_entry(cache, build=lambda write: write(0, ROWS[:5]))
    assert cache.entries() == []
    assert open_entry(cache).built


# Several processes

OPEN = """
import logging, sys, time
from pathlib import Path
import numpy as np
from orchestrator.storage.cache import Cache
folder, log, pause_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
rows = np.arange(3000, dtype=np.uint8).reshape(10, 300)
def build(write):
    with log.open("a") as file:
        file.write("built\\n")
    for index in range(10):
        write(index, rows[index : index + 1])
        time.sleep(pause_s / 10)
logging.basicConfig(level=logging.INFO, format="%(message)s")
entry = Cache(folder, 34_000).open("images", "a", shape=rows.shape, dtype="|u1", of="rows a", build=build)
assert np.array_equal(entry.array, rows)
print("opened", entry.built, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Open the entry in a process of its own, which holds it until its stdin is closed."""
    started = []

    def begin(pause_s: float = 0.0) -> subprocess.Popen:
        words = [sys.executable, "-c", OPEN, str(tmp_path / "cache"), str(tmp_path / "log"), str(pause_s)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(words, text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def wait_until(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_several_processes_one_makes_it_and_the_others_wait(tmp_path, start):
    processes = [start(pause_s=3.0) for _ in range(3)]
    # none ends before all have it: who waits for the maker does not wait until it needs the array no more
    assert sorted(process.stdout.readline() for process in processes) == [
        "opened False\n",
        "opened False\n",
        "opened True\n",
    ]
    assert (tmp_path / "log").read_text() == "built\n"
    assert [path.name for path in (tmp_path / "cache" / "images").iterdir()] == ["a.array"]


def test_a_maker_that_is_killed_leaves_nothing_that_misleads(tmp_path, cache, start):
    killed = start(pause_s=60.0)
    wait_until(lambda: (tmp_path / "log").exists())
    waiting = start()
    assert states(cache) == {"a": "being made"}
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=TIMEOUT_S)
    out, err = waiting.communicate(timeout=TIMEOUT_S)
    assert out == "opened True\n", err
    assert (tmp_path / "log").read_text() == "built\nbuilt\n"
    forget()
    assert np.array_equal(open_entry(cache, build=never).array, ROWS)


def test_what_a_killed_maker_left_is_cleared_by_the_next_one(tmp_path, cache, start):
    killed = start(pause_s=60.0)
    wait_until(lambda: (tmp_path / "log").exists())
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=TIMEOUT_S)
    assert states(cache) == {"a": "left over"}
    open_entry(cache, "b")
    assert states(cache) == {"b": "ready"}


def test_an_entry_that_another_process_maps_stays(cache, start):
    holder = start()
    assert holder.stdout.readline() == "opened True\n"
    assert states(cache) == {"a": "in use"}
    gone, kept = cache.clear()
    assert (gone, [entry.key for entry in kept]) == ([], ["a"])
    holder.communicate(timeout=TIMEOUT_S)
    assert states(cache) == {"a": "ready"}
    gone, kept = cache.clear()
    assert ([entry.key for entry in gone], kept) == (["a"], [])


# Damage


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": flip_a_bit,
    "cut off": lambda path: os.truncate(path, 2000),
    "empty": lambda path: os.truncate(path, 0),
    "foreign": lambda path: path.write_bytes(b"something else"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_made_good_with_a_word(cache, words, damage):
    open_entry(cache)
    path = path_of(cache)
    DAMAGE[damage](path)
    forget()
    again = open_entry(cache)
    assert again.built
    assert np.array_equal(again.array, ROWS)
    assert words == [f"rows a: what the cache kept is damaged, and made again: {path}"]
    forget()
    assert not open_entry(cache, build=never).built


@pytest.mark.parametrize("change", [{"shape": (10, 30)}, {"dtype": "<i1"}])
def test_an_entry_that_is_not_what_was_asked_for_is_made_again(cache, words, change):
    open_entry(cache)
    asked = {"shape": ROWS.shape, "dtype": "|u1"} | change
    rows = np.zeros(asked["shape"], asked["dtype"])
    assert cache.open("images", "a", of="others", build=lambda write: write(0, rows), **asked).built
    assert len(words) == 1


def test_an_entry_under_another_name_is_not_mistaken(cache, words):
    open_entry(cache)
    path = path_of(cache)
    shutil.copy(path, path.with_name("b.array"))
    assert states(cache) == {"a": "ready", "b": "damaged"}
    assert open_entry(cache, "b").built
    assert len(words) == 1


# The limit


def test_the_entry_that_was_not_used_for_longest_goes_first(tmp_path):
    cache = Cache(tmp_path, 3 * SIZE)
    for key in "abc":
        open_entry(cache, key)
    for age, key in enumerate("abc"):
        os.utime(path_of(cache, key), (0, age))
    open_entry(cache, "a", never)  # now b is the oldest
    open_entry(cache, "d")
    assert keys(cache) == ["a", "c", "d"]
    assert sum(entry.size for entry in cache.entries()) <= 3 * SIZE
    assert cache.read_limit() == 3 * SIZE


def test_an_entry_in_use_stays_although_it_is_the_oldest(tmp_path):
    cache = Cache(tmp_path, 2 * SIZE)
    view = open_entry(cache, "a").array[2:4]  # a view is enough
    open_entry(cache, "b")
    os.utime(path_of(cache, "a"), (0, 0))
    open_entry(cache, "c")
    assert states(cache) == {"a": "in use", "c": "ready"}
    del view
    os.utime(path_of(cache, "a"), (0, 0))
    open_entry(cache, "d")
    assert keys(cache) == ["c", "d"]


def test_nothing_goes_for_what_finds_no_room_all_the_same(tmp_path):
    cache = Cache(tmp_path, 3 * SIZE)
    held = [open_entry(cache, "a"), open_entry(cache, "b")]
    open_entry(cache, "c")
    big = np.zeros((10, 700), np.uint8)  # needs two places, and one can be had
    with pytest.raises(CacheError, match=r"^too big: the cache cannot keep it: .* other runs use what is there$"):
        cache.open("images", "d", shape=big.shape, dtype="|u1", of="too big", build=lambda write: write(0, big))
    assert keys(cache) == ["a", "b", "c"]
    del held


def test_what_is_larger_than_the_limit_is_refused_before_it_is_made(tmp_path):
    cache = Cache.at(CachePlace(folder=str(tmp_path), max_gb=1000 / 2**30, images=True))
    with pytest.raises(CacheError, match=r"^rows a: the cache cannot keep it: it has .* GiB, and cache\.max_gb is"):
        open_entry(cache, build=never)
    assert cache.entries() == []


def test_what_is_no_file_of_the_cache_is_left_alone(tmp_path):
    cache = Cache(tmp_path, SIZE)
    (tmp_path / "images").mkdir()
    for name in ("note.txt", "a b.array"):
        (tmp_path / "images" / name).write_bytes(bytes(10 * SIZE))
    open_entry(cache, "a")
    assert [entry.key for entry in cache.clear()[0]] == ["a"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a b.array", "note.txt"]


def test_clearing_a_kind_leaves_the_others(cache):
    open_entry(cache)
    open_entry(cache, kind="activations")
    gone, _ = cache.clear("images")
    assert [entry.kind for entry in gone] == ["images"]
    assert [entry.kind for entry in cache.entries()] == ["activations"]
    assert cache.clear("nothing-is-called-so") == ([], [])


# Disks that fail


def refuse(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_last_gigabyte_of_a_disk_is_left_to_others(cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40 - 2**30, 2**30))
    with pytest.raises(CacheError, match=r"and the disk has 0 for it$"):
        open_entry(cache, build=never)


def test_a_disk_that_is_full_at_once_refuses_before_anything_is_made(cache, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(CacheError, match=r"^rows a: the cache cannot keep it: No space left on device$"):
        open_entry(cache, build=never)
    assert cache.entries() == []


@pytest.mark.parametrize("step", ["write", "seal"])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(cache, monkeypatch, step):
    monkeypatch.setattr(*{"write": (os, "pwrite", refuse), "seal": (Writer, "seal", refuse)}[step])
    with pytest.raises(CacheError, match="No space left on device"):
        open_entry(cache)
    assert cache.entries() == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_that_reserves_nothing_keeps_it_all_the_same(cache, monkeypatch, number):
    def reserve(*arguments):
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    assert np.array_equal(open_entry(cache).array, ROWS)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot keep it: .*: /.*/file/images/a.array$"):
        open_entry(Cache(tmp_path / "file", 10 * SIZE))
    assert Cache(tmp_path / "file").entries() == []
    assert Cache(tmp_path / "nothing").read_limit() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the super-user")
def test_a_read_only_folder_still_gives_what_it_has(cache, tmp_path):
    open_entry(cache)
    folders = [tmp_path / "cache" / "images", tmp_path / "cache"]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert not open_entry(cache, build=never).built
        with pytest.raises(CacheError, match="Permission denied"):
            open_entry(cache, "b")
        with pytest.raises(CacheError, match="cannot be removed"):
            cache.clear()
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_by_itself_it_speaks_to_the_log(tmp_path, caplog):
    cache = Cache(tmp_path, SIZE)
    open_entry(cache)
    flip_a_bit(path_of(cache))
    forget()
    with caplog.at_level(logging.WARNING, "orchestrator"):
        open_entry(cache)
    assert "is damaged, and made again" in caplog.text
