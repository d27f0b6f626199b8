"""The command line: the only place that prints and the only one that knows exit codes."""

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

_COLLECT_EVERY = 50_000
"""Objects more than before at which Python looks for garbage; 700 is its own choice."""


def main() -> NoReturn:
    """Run the command line and exit with a code that says how it went."""
    from orchestrator.machine.environment import claim_environment
    from orchestrator.machine.streams import protect_streams

    protect_streams()
    claim_environment()
    gc.set_threshold(_COLLECT_EVERY)  # loading libraries makes a million objects, none of them garbage
    from orchestrator.cli.commands import run

    run()


def script() -> NoReturn:
    """Be the `orchestrator` command: as `main`, and end without taking all those objects apart, which lasts seconds."""
    try:
        gc.set_threshold(_COLLECT_EVERY)
        from orchestrator.cli.commands import mask_tracebacks

        mask_tracebacks()
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter does at its end; there is no public name for it
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(end.code)


__all__ = ["main", "script"]
