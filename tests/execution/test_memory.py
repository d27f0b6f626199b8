"""What a worker does with freed memory, against the resident set that the system reports."""

import platform
import subprocess
import sys

import pytest

from orchestrator.execution.child import KEEP_FREED_MEMORY, in_environment
from orchestrator.execution.processes import ProcessExecutor
from tests.execution.targets import HERE, read
from tests.execution.watching import TIMEOUT_S, submit

BLOCK_MB = 256
CODE = f"""
import numpy as np
import psutil

before = psutil.Process().memory_info().rss
block = np.ones({BLOCK_MB} * 2**20, dtype=np.uint8)
del block
print(round((psutil.Process().memory_info().rss - before) / 2**20))
"""


def held_mb() -> int:
    """MiB that a process still holds after it freed a block."""
    return int(subprocess.check_output([sys.executable, "-c", CODE], text=True, timeout=60))


GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="MALLOC_... is glibc's")


@GLIBC
def test_a_process_that_is_told_to_keeps_what_it_freed_and_others_give_it_back():
    with in_environment(KEEP_FREED_MEMORY):
        assert held_mb() > 0.9 * BLOCK_MB
    assert held_mb() < 0.1 * BLOCK_MB


@GLIBC
def test_a_worker_is_told_to(tmp_path):
    with ProcessExecutor(f"{HERE}:free_a_block") as executor:
        held = read(submit(executor, tmp_path).result(TIMEOUT_S))["held_mb"]
    assert held > 0.9 * BLOCK_MB
