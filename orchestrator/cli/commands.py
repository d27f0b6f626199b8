"""The `orchestrator` command: its parts, and the exit code of each error."""

import logging
import sys
from typing import NoReturn

import typer

from orchestrator.cli import cache, config, data, doctor, query, sweep, ui
from orchestrator.cli.output import print_note
from orchestrator.errors import ConfigError, NotFoundError, OrchestratorError, SetupError
from orchestrator.streams import lost_output

EXIT_UNEXPECTED = 1
EXIT_CONFIG = 2
EXIT_NOT_FOUND = 3
EXIT_FAILED_TRIALS = 4
EXIT_SETUP = 5
EXIT_INTERRUPTED = 130

_EXIT_CODES: dict[type[OrchestratorError], int] = {
    ConfigError: EXIT_CONFIG,
    NotFoundError: EXIT_NOT_FOUND,
    SetupError: EXIT_SETUP,
}

app = typer.Typer(
    name="orchestrator",
    help="Which blocks of a pretrained network should I freeze? Sweep, compare, ask.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
sweep.register(app)
query.register(app)
ui.register(app)
doctor.register(app)
app.add_typer(cache.app, name="cache")
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")


def run() -> NoReturn:
    """Run the command line and exit with a code that says how it went."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written only makes it slower
    try:
        _run()
    except SystemExit as end:
        lost = lost_output(sys.stdout)
        if lost is None or end.code not in {None, 0}:
            raise
        print_note(f"error: what was printed is incomplete: standard output: {lost.strerror}")
        print_note("hint: nothing else is lost; make room where it goes, and give the same command again")
        sys.exit(EXIT_SETUP)


def _run() -> NoReturn:
    try:
        app()
    except OrchestratorError as error:
        print_note(f"error: {error.message}")
        if error.hint:
            print_note(f"hint: {error.hint}")
        sys.exit(_EXIT_CODES.get(type(error), EXIT_UNEXPECTED))
    except KeyboardInterrupt:
        print_note("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
