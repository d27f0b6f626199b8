"""The exceptions of this package.

    OrchestratorError
    ├── ConfigError     the configuration or the command line is wrong (exit 2)
    ├── NotFoundError   what was asked for does not exist (exit 3)
    ├── SetupError      the environment lacks something; nothing has run (exit 5)
    ├── RunError        this run is lost, the sweep goes on (exit 4 at its end)
    │   └── RunStoppedError  this run was stopped on request and continues from its checkpoint
    ├── CacheError      the cache cannot keep something; whoever asked does without (no exit)
    └── SweepError      the sweep was stopped; what finished is kept (exit 1)

The message says what is wrong, where, and the value received; the hint says what to do.
"""

from typing import Literal

RunCause = Literal["error", "data", "diverged", "out_of_memory", "died", "timeout"]
"""Why a run was lost: an exception of its own, images that cannot be read, a loss that is not finite, a full GPU, a
worker that died, or one that took too long."""

_MAY_PASS: frozenset[RunCause] = frozenset({"out_of_memory", "died", "timeout"})


class OrchestratorError(Exception):
    """Base of every exception that this package raises on purpose.

    Args:
        message: What is wrong, where, and the value received.
        hint: What to do about it, or None where nothing sensible can be said.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the hint, so that an error keeps it on its way out of a worker process."""
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[OrchestratorError], message: str, hint: str | None) -> OrchestratorError:
    return cls(message, hint=hint)


class ConfigError(OrchestratorError):
    """The configuration or the command line is wrong. One error may report many mistakes, a line each."""


class NotFoundError(OrchestratorError):
    """What was asked for does not exist: no such sweep, no trial within the budget."""


class SetupError(OrchestratorError):
    """The environment lacks something (device, disk, download, an extra); nothing has run."""


class RunError(OrchestratorError):
    """One run is lost; the sweep goes on without it.

    Args:
        message: What is wrong.
        hint: What to do about it, or the traceback.
        cause: Kind of the loss.
    """

    def __init__(self, message: str, *, hint: str | None = None, cause: RunCause = "error") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with hint and cause."""
        return (_rebuild_run_error, (type(self), self.message, self.hint, self.cause))

    @property
    def may_pass(self) -> bool:
        """Whether the same run may succeed when it is tried again."""
        return self.cause in _MAY_PASS


def _rebuild_run_error(cls: type[RunError], message: str, hint: str | None, cause: RunCause) -> RunError:
    return cls(message, hint=hint, cause=cause)


class RunStoppedError(RunError):
    """The run was stopped on request. It is no failure: the next sweep continues it from its last checkpoint."""


class CacheError(OrchestratorError):
    """The cache cannot keep something: it is too large, the disk full, the folder read-only. It is had without."""


class SweepError(OrchestratorError):
    """The sweep was stopped; what finished is kept."""
