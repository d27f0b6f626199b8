"""The ends of the command line: its exit codes, and a way out that is quick."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

UNEXPECTED = 1
CONFIG = 2
NOT_FOUND = 3
FAILED_TRIALS = 4
SETUP = 5
INTERRUPTED = 130


def leave(code: int) -> NoReturn:
    """End this process without taking all of its objects apart, which lasts seconds; what is registered runs."""
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter does at its end; there is no public name for it
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
