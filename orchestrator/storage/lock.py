"""One owner a sweep: a file lock that the system releases when its owner dies, however it dies."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import Timeout

from orchestrator.errors import SetupError
from orchestrator.records.record import Record
from orchestrator.storage.flock import build_lock, lock_open

_BEAT_S = 5.0
_LOOK_S = 0.3
"""Seconds that the lock is tried for: who merely looks (`read_owner`) has it for an instant."""


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
    with ExitStack() as held:
        try:
            held.enter_context(build_lock(path, _LOOK_S))
        except Timeout:
            raise SetupError(
                f"this experiment is being swept already, by {_describe(path.read_text())} (lock {path})",
                hint="wait for it, stop it, or give this sweep another --root",
            ) from None
        owner = Owner(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        path.write_text(owner.model_dump_json())
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            with suppress(OSError):  # the root went meanwhile, or is read-only by now
                os.truncate(path, 0)


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch the lock while its owner lives. The lock says who lives; the beat says so to people and other hosts."""
    while not ended.wait(_BEAT_S):
        with suppress(OSError):  # a full or lost disk shows itself elsewhere
            os.utime(path)


def read_owner(path: Path) -> Owner | None:
    """Return who holds the lock at `path`; None where nobody does. It shares the lock for an instant."""
    try:
        file = path.open()
    except FileNotFoundError:
        return None
    with file:
        text = "" if lock_open(file, shared=True) else file.read()
    return Owner.model_validate_json(text) if text else None


def _describe(text: str) -> str:
    try:
        owner = Owner(**json.loads(text))
    except (ValueError, TypeError):
        return "another process"
    return f"process {owner.pid} on {owner.host} since {owner.started}"
