"""A look into the cache that makes nothing."""

import numpy as np

from orchestrator.storage import cache as cache_module
from orchestrator.storage.cache import Cache

ROWS = np.arange(3000, dtype=np.uint8).reshape(10, 300)


def test_who_only_looks_finds_what_is_there_whole_and_makes_nothing(tmp_path):
    words = []
    cache = Cache(tmp_path / "cache", None, words.append)

    def find(**other):
        return cache.find("images", "a", **{"shape": ROWS.shape, "dtype": "|u1"} | other)

    assert find() is None
    assert not (tmp_path / "cache").exists()
    made = cache.open("images", "a", shape=ROWS.shape, dtype="|u1", of="rows", build=lambda write: write(0, ROWS))
    found = find()
    assert found is not None
    assert np.array_equal(found.array, ROWS)
    assert find(dtype="|i1") is None  # another array
    del made, found
    cache_module._verified.clear()  # as a process that has not read the file yet
    (path,) = (entry.path for entry in cache.entries())
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert find() is None
    assert words == []  # whoever makes it again says so
