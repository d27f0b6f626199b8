"""Loaded by a fork server last: once it has forked for the first time, it loads what `LATER` names.

So its first process, which prepares a sweep, does not wait for what runs need besides; that is loaded beside it.
"""

import os
from contextlib import suppress
from importlib import import_module

LATER = "ORCHESTRATOR_LOADS_LATER"
"""Environment variable: the module."""


def _load() -> None:
    module = os.environ.pop(LATER, None)
    if module is not None:
        with suppress(Exception):  # whoever is forked for it meets the same, and says so
            import_module(module)


def _forget() -> None:
    os.environ.pop(LATER, None)


if LATER in os.environ:
    os.register_at_fork(after_in_parent=_load, after_in_child=_forget)
