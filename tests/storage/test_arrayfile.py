"""Arrays in files: what was written comes back, and whatever else is there does not pass for it."""

import resource

import numpy as np
import pytest

from orchestrator.errors import CacheError
from orchestrator.storage.arrayfile import ArrayLabel, Writer, map_array, matches_digest, read_label

ROWS = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
LABEL = ArrayLabel(kind="images", key="k", of="four rows", shape=ROWS.shape, dtype="<f4")


def write(path, rows=ROWS, label=LABEL, extra=None):
    with path.open("w+b") as file:
        writer = Writer(file, label)
        for index in reversed(range(len(rows))):
            writer.write(index, rows[index : index + 1])
        return writer.seal(extra or {})


def read(path):
    """The array, or None where the file is not whole."""
    with path.open("rb") as file:
        label = read_label(file)
        return map_array(file, label) if label is not None and matches_digest(file) else None


def test_an_array_comes_back_to_the_last_bit_with_what_is_told_besides(tmp_path):
    label = write(tmp_path / "a", extra={"broken": {"3": "it is empty"}})
    with (tmp_path / "a").open("rb") as file:
        assert read_label(file) == label
    assert label.extra == {"broken": {"3": "it is empty"}}
    array = read(tmp_path / "a")
    assert array.dtype == ROWS.dtype
    assert np.array_equal(array, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_each_flipped_bit_and_each_length_is_noticed(tmp_path):
    path = tmp_path / "a"
    write(path)
    whole = path.read_bytes()
    assert len(whole) > ROWS.nbytes
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert read(path) is None, place
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read(path) is None, length
    path.write_bytes(whole + b"\0")
    assert read(path) is None


@pytest.mark.parametrize("content", [b"", b"foreign", bytes(10_000), b"\x93NUMPY" * 100])
def test_a_foreign_file_is_no_array(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert read(tmp_path / "a") is None


@pytest.mark.parametrize(
    ("start", "rows"),
    [(0, ROWS[:, :2]), (0, ROWS.astype(np.float64)), (4, ROWS[:1]), (-1, ROWS[:1]), (2, ROWS[:3])],
    ids=["shape", "type", "behind", "before", "over the end"],
)
def test_what_is_no_part_of_the_array_is_refused(tmp_path, start, rows):
    with (tmp_path / "a").open("w+b") as file, pytest.raises(ValueError, match="are no part of"):
        Writer(file, LABEL).write(start, rows)


def test_an_array_that_lacks_rows_is_not_sealed(tmp_path):
    with pytest.raises(ValueError, match="3 of 4 rows were written"):
        write(tmp_path / "a", ROWS[:3])
    assert read(tmp_path / "a") is None


def test_rows_that_are_not_contiguous_are_written_as_they_look(tmp_path):
    turned = np.asfortranarray(ROWS)[::-1]
    with (tmp_path / "a").open("w+b") as file:
        writer = Writer(file, LABEL)
        writer.write(0, turned)
        writer.seal({})
    assert np.array_equal(read(tmp_path / "a"), ROWS[::-1])


def test_a_disk_that_takes_no_more_says_so(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "a").open("w+b") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (48, hard))  # two rows of six floats
        try:
            writer = Writer(file, LABEL)
            writer.write(0, ROWS[:2])
            with pytest.raises(CacheError, match=r"^four rows: the cache cannot keep it: File too large$"):
                writer.write(2, ROWS[2:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
