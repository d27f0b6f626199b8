"""Functions to be called in a process of their own; the last argument hears what they say."""

import os
import signal
import time
from multiprocessing.util import Finalize
from pathlib import Path

from orchestrator.errors import SetupError


def add(one: int, other: int, say) -> int:
    for number in (one, other):
        say(f"adding {number}")
    return one + other


def name_processes(say) -> tuple[int, int]:
    return os.getpid(), os.getppid()


def refuse(say):
    raise SetupError("no data", hint="connect once")


def divide(say) -> float:
    return 1 / 0


class StrangeError(Exception):
    """Cannot be made again from its words alone, as some of libraries."""

    def __init__(self, number: int, *, response: object) -> None:
        super().__init__(f"strange: {number}")


def be_strange(say):
    raise StrangeError(7, response=None)


def die(say):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder: Path, say):
    (folder / "pid.tmp").write_text(str(os.getpid()))
    (folder / "pid.tmp").rename(folder / "pid")
    time.sleep(600)


def answer_and_end(file: Path, say):
    """Take half a second to end after the answer, and say so in a file."""

    def end():
        time.sleep(0.5)
        file.touch()

    Finalize(None, end, exitpriority=0)
