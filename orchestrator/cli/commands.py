"""The `orchestrator` command: its parts, and the exit code of each error."""

import logging
import re
import sys
import threading
import traceback
from importlib.metadata import version
from types import TracebackType
from typing import Annotated, NoReturn

import typer

from orchestrator.cli import cache, config, data, doctor, exits, model, query, sweep, ui
from orchestrator.cli.output import print_note
from orchestrator.errors import ConfigError, NotFoundError, OrchestratorError, SetupError
from orchestrator.machine.streams import lost_output
from orchestrator.masking import list_secrets, mask_credentials, remember_address

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.DOTALL)
_EXIT_CODES: dict[type[OrchestratorError], int] = {
    ConfigError: exits.CONFIG,
    NotFoundError: exits.NOT_FOUND,
    SetupError: exits.SETUP,
}


class _MaskingFormatter(logging.Formatter):
    """Writes a message, and its traceback, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message."""
        return mask_credentials(super().format(record))


def mask_tracebacks() -> None:
    """Let the threads of this process show no credentials in the traceback of an error that nobody expected."""
    threading.excepthook = lambda lost: _show_masked(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _show_masked(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print a traceback without credentials."""
    text = "".join(traceback.format_exception(kind, error, trace))
    typer.echo(mask_credentials(text), err=True, nl=False)


def _hide_credentials(words: list[str]) -> None:
    """Mask the credentials of addresses on the command line from now on, and say who can read them all the same."""
    given = [word for word in words if "://" in word]
    addresses = [found[0] for word in given if (found := _ADDRESS.search(word))]
    for address in addresses:
        remember_address(address)
    if any(next(iter(filter(None, list_secrets(address))), None) for address in addresses):
        print_note(
            "warning: the command line holds credentials, which every user of this machine can read (ps); give them as "
            "'${env:NAME}', in single quotes, with the address in the environment variable NAME"
        )


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"orchestrator {version('freeze-orchestrator')}")
        raise typer.Exit


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
app.add_typer(model.app, name="model")


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which blocks of a pretrained network should I freeze? Sweep, compare, ask."""


def run() -> NoReturn:
    """Run the command line and exit with a code that says how it went."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written only makes it slower
    _hide_credentials(sys.argv[1:])
    try:
        _run()
    except SystemExit as end:
        lost = lost_output(sys.stdout)
        if lost is None or end.code not in {None, 0}:
            raise
        print_note(f"error: what was printed is incomplete: standard output: {lost.strerror}")
        print_note("hint: nothing else is lost; make room where it goes, and give the same command again")
        sys.exit(exits.SETUP)


def _run() -> NoReturn:
    try:
        app()
    except OrchestratorError as error:
        print_note(f"error: {error.message}")
        if error.hint:
            print_note(f"hint: {error.hint}")
        sys.exit(_EXIT_CODES.get(type(error), exits.UNEXPECTED))
    except KeyboardInterrupt:
        print_note("interrupted")
        sys.exit(exits.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - a fault of this program: shown whole, but for credentials
        _show_masked(type(error), error, error.__traceback__)
        sys.exit(exits.UNEXPECTED)
    sys.exit(0)
