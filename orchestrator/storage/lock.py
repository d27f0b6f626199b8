"""One owner a sweep: a file lock that the system releases when its owner dies, however it dies."""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from orchestrator.errors import SetupError
from orchestrator.records.record import Record

_BEAT_S = 5.0
_TRIES, _PAUSE_S = 10, 0.03


class Owner(Record):
    """Who holds a lock."""

    pid: int
    host: str
    started: str
    """UTC, ISO 8601."""


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock at `path` while the context lasts.

    Raises:
        SetupError: Somebody else holds it; the message names the owner.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _take(file):
            file.seek(0)
            raise SetupError(
                f"this experiment is being swept already, by {_describe(file.read())} (lock {path})",
                hint="wait for it, stop it, or give this sweep another --root",
            )
        file.truncate(0)
        owner = Owner(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        file.write(owner.model_dump_json())
        file.flush()
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            file.truncate(0)


def _take(file: IO[str]) -> bool:
    """Take the lock; who merely looks (`read_owner`) has it for an instant, and is waited for."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_PAUSE_S)
    return False


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch the lock while its owner lives. The lock says who lives; the beat says so to people and other hosts."""
    while not ended.wait(_BEAT_S):
        with suppress(OSError):  # a full or lost disk shows itself elsewhere
            os.utime(path)


def read_owner(path: Path) -> Owner | None:
    """Say who holds the lock at `path`; None where nobody does. It shares the lock for an instant."""
    try:
        file = path.open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read()
            return Owner.model_validate_json(text) if text else None
        return None


def _describe(text: str) -> str:
    try:
        owner = Owner(**json.loads(text))
    except (ValueError, TypeError):
        return "another process"
    return f"process {owner.pid} on {owner.host} since {owner.started}"
