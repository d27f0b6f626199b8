"""The function that trains, named by a string so that only the process that trains imports it."""

import traceback
from collections.abc import Callable
from importlib import import_module

from orchestrator.errors import OrchestratorError, RunError
from orchestrator.interfaces import EpochSink
from orchestrator.records import RunOutcome, RunSpec, Workplace

RunFunction = Callable[[RunSpec, Workplace, EpochSink], RunOutcome]


def load_function(target: str) -> RunFunction:
    """Import `package.module:function`."""
    module, _, name = target.partition(":")
    function: RunFunction = getattr(import_module(module), name)
    return function


def as_run_error(error: BaseException) -> RunError:
    """Wrap what a run raised: the message says what, the hint is the advice of our own errors, else the traceback."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, OrchestratorError):
        return RunError(error.message, hint=error.hint)
    text = "".join(traceback.format_exception(error)).strip()
    return RunError(f"{type(error).__name__}: {error}", hint=text)
