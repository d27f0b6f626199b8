"""When the tracker gets a new summary of the sweep: it takes long where there are many trials."""

import time
from collections.abc import Callable

from orchestrator.interfaces import Search, Summarise, Tracker

PAUSE_S = 5.0
"""Shortest time from the end of one update to the start of the next."""
_SHARE = 0.05
"""Share of the time that updates may take."""


class Updates:
    """Updates the sweep in its tracker, where something has changed: seldom, and at the end.

    Args:
        search: Knows the trials.
        tracker: Gets their summary.
        summarise: Builds it.
        clock: Seconds from any moment on.
    """

    def __init__(
        self, search: Search, tracker: Tracker, summarise: Summarise, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._search = search
        self._tracker = tracker
        self._summarise = summarise
        self._clock = clock
        self._changed = False
        self._next = clock()

    def note_change(self) -> None:
        """Note that a trial has ended."""
        self._changed = True

    def update_if_due(self) -> None:
        """Update the sweep, if something has changed and the last update is long enough ago."""
        began = self._clock()
        if not self._changed or began < self._next:
            return
        self._changed = False
        self._update(final=False)
        now = self._clock()
        self._next = now + max(PAUSE_S, (now - began) / _SHARE)

    def finish(self) -> None:
        """Update the sweep for the last time, with its pictures, whether anything has changed or not."""
        self._update(final=True)

    def _update(self, *, final: bool) -> None:
        self._tracker.update_sweep(self._summarise(self._search.trials(), final=final))
