"""Loaded by a fork server first: it has Linux wake the server when the process that started it is gone.

A server ends by itself once nobody is left whom it could serve, but not while it is halted; its children are killed
with it (`worker.settle`). Woken it is, not killed: the children that are not halted end theirs first.
It is the thread that counts, not the process: a server is started by one that lives on.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

MORTAL = "ORCHESTRATOR_FORK_SERVER"
"""Environment variable that only a fork server finds set."""
_PR_SET_PDEATHSIG = 1


def hear_of_parents_death(number: signal.Signals) -> None:
    """Have Linux send this process a signal when the thread that forked it ends."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


if os.environ.pop(MORTAL, None):
    hear_of_parents_death(signal.SIGCONT)
