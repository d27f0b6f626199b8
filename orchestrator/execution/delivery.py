"""How whoever submits runs hears of them: in its own thread, while it waits."""

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from orchestrator.records.runs import RunOutcome

_POLL_S = 0.2
"""Seconds that one wait for a future takes at most."""


class Deliveries:
    """What has happened to runs and was not told yet. Anybody may put; one thread waits."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, tell: Callable[[], None]) -> None:
        """Have `tell` called by whoever waits, after what was put before."""
        self._waiting.put(tell)

    def wait(self, timeout_s: float) -> None:
        """Call what was put first; where there is nothing, wait for it, at most `timeout_s`."""
        with suppress(queue.Empty):
            tell = self._waiting.get(timeout=timeout_s)
            tell()

    def finish(self) -> None:
        """Call all that is left."""
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()()


class RunFuture(Future[RunOutcome]):
    """A future whose executor works on while somebody asks for the outcome.

    Args:
        wait: `Executor.wait` of the executor that completes it.
    """

    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__()
        self._wait = wait

    def result(self, timeout: float | None = None) -> RunOutcome:
        """Return the outcome; see `Future.result`."""
        self._settle(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception; see `Future.exception`."""
        self._settle(timeout)
        return super().exception(0)

    def _settle(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.done() and (deadline is None or time.monotonic() < deadline):
            self._wait(_POLL_S)
