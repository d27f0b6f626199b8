"""The command line: the only place that prints and the only one that knows exit codes."""

import gc
from typing import NoReturn

from orchestrator.cli.exits import leave

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
    """Be the `orchestrator` command: as `main`, but without a tidy end."""
    try:
        gc.set_threshold(_COLLECT_EVERY)
        from orchestrator.cli.commands import mask_tracebacks

        mask_tracebacks()
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        leave(end.code)


__all__ = ["main", "script"]
