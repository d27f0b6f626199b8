"""Points of death: `module:Class.method:before:2` kills the process before that method's second call."""

import os
import signal
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any


def lay(variable: str) -> None:
    """Lay the point that an environment variable names, if it does; it kills once, as the file `FAULT_ONCE` says."""
    said = os.environ.get(variable)
    if not said:
        return
    module, path, when, count = said.split(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    function = getattr(owner, name)
    if not hasattr(function, "deadly"):
        setattr(owner, name, _deadly(function, when, int(count)))


def _deadly(function: Callable[..., Any], when: str, count: int) -> Callable[..., Any]:
    calls = 0

    @wraps(function)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        due = calls == count
        if due and when == "before":
            _die()
        value = function(*args, **kwargs)
        if due:
            _die()
        return value

    deadly.deadly = True  # type: ignore[attr-defined]
    return deadly


def _die() -> None:
    once = Path(os.environ["FAULT_ONCE"])
    try:
        once.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
