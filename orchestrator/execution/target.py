"""The function that trains or prepares, named by a string so that only the process that runs it imports it."""

import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from orchestrator.errors import OrchestratorError, RunError


def module_of(target: str) -> str:
    """Name the module of `package.module:function`."""
    return target.partition(":")[0]


def load_function(target: str) -> Callable[..., Any]:
    """Import `package.module:function`."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def as_run_error(error: BaseException) -> RunError:
    """Wrap what a run raised: the message says what, the hint is the advice of our own errors, else the traceback."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, OrchestratorError):
        return RunError(error.message, hint=error.hint)
    text = "".join(traceback.format_exception(error)).strip()
    return RunError(f"{type(error).__name__}: {error}", hint=text)
