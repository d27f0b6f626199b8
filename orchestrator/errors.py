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

    Example:
        >>> from orchestrator import OrchestratorError, load_sweep
        >>> try:
        ...     load_sweep("beans")
        ... except OrchestratorError as error:
        ...     print(f"{type(error).__name__}; {error.hint}")
        NotFoundError; start one with `orchestrator sweep beans`
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
    """The configuration or the command line is wrong. One error may report many mistakes, a line each.

    Example:
        >>> from orchestrator import ConfigError, load_experiment
        >>> try:
        ...     load_experiment("demo", overrides=["trainer.max_epochs=0"])
        ... except ConfigError as error:
        ...     print(error.message)
        --set trainer.max_epochs=0: trainer.max_epochs: must be greater than or equal to 1 (0)
    """


class NotFoundError(OrchestratorError):
    """What was asked for does not exist: no such sweep, no trial within the budget.

    Example:
        >>> from orchestrator import NotFoundError, load_sweep
        >>> try:
        ...     load_sweep("demo").best(max_trainable_params=1000)
        ... except NotFoundError as error:
        ...     print(error.message.split(";")[0])
        no complete trial of 'demo' has at most 1,000 trainable parameters
    """


class SetupError(OrchestratorError):
    """The environment lacks something (device, disk, download, an extra); nothing has run.

    Example:
        >>> from orchestrator import SetupError
        >>> raise SetupError("the disk of mlruns has 12 MB left", hint="free some, or give another --root")
        Traceback (most recent call last):
            ...
        orchestrator.errors.SetupError: the disk of mlruns has 12 MB left
    """


class RunError(OrchestratorError):
    """One run is lost; the sweep goes on without it.

    Args:
        message: What is wrong.
        hint: What to do about it, or the traceback.
        cause: Kind of the loss.

    Example:
        >>> from orchestrator import RunError
        >>> RunError("the worker died", cause="died").may_pass
        True
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
    """The sweep was stopped; what finished is kept.

    Example:
        >>> from orchestrator import SweepError
        >>> raise SweepError("stopped after 3 lost runs", hint="mend the cause and give the same command again")
        Traceback (most recent call last):
            ...
        orchestrator.errors.SweepError: stopped after 3 lost runs
    """
