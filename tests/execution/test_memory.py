"""What a worker does with freed memory, against the resident set that the system reports."""

import platform
import subprocess
import sys

import pytest

from orchestrator.execution.processes import ProcessExecutor
from tests.execution.targets import HERE, read
from tests.execution.watching import TIMEOUT_S, submit

BLOCK_MB = 256
CODE = f"""
import sys
import numpy as np
import psutil
from orchestrator.execution.worker import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
before = psutil.Process().memory_info().rss
block = np.ones({BLOCK_MB} * 2**20, dtype=np.uint8)
del block
print(round((psutil.Process().memory_info().rss - before) / 2**20))
"""


def held_mb(word: str) -> int:
    """MiB that a process still holds after it freed a block."""
    done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


@GLIBC
def test_a_process_that_is_told_to_keeps_what_it_freed_and_others_give_it_back():
    assert held_mb("keep") > 0.9 * BLOCK_MB
    assert held_mb("give back") < 0.1 * BLOCK_MB


@GLIBC
def test_a_worker_is_told_to(tmp_path):
    with ProcessExecutor(f"{HERE}:free_a_block") as executor:
        held = read(submit(executor, tmp_path).result(TIMEOUT_S))["held_mb"]
    assert held > 0.9 * BLOCK_MB
