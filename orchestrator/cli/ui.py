"""`orchestrator ui`: show the MLflow UI and TensorBoard until Ctrl-C."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.cli.options import RootOption
from orchestrator.cli.output import print_note
from orchestrator.machine.addresses import LOOPBACK, MLFLOW_PORT, TENSORBOARD_PORT
from orchestrator.machine.hosts import LOOPBACKS
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from orchestrator.viewer.servers import Viewer
    from orchestrator.viewer.views import WebPage

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(rich_help_panel="Ask")(ui)


def ui(
    root: RootOption = Path(DEFAULT_ROOT),
    host: Annotated[str, typer.Option(help="Address to listen on. Neither server asks for a password.")] = LOOPBACK,
    mlflow_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the MLflow UI; the next free one if it is busy.")
    ] = MLFLOW_PORT,
    tensorboard_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of TensorBoard, likewise.")
    ] = TENSORBOARD_PORT,
    mlflow_uri: Annotated[
        str | None,
        typer.Option(help="Tracking store of sweeps that set tracking.mlflow_uri, or ${env:NAME}."),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            help="Further name of this machine in the address, such as a proxy's; `*` allows any. May be given several "
            "times, or with commas."
        ),
    ] = None,
) -> None:
    """Show the MLflow UI and TensorBoard on this machine until Ctrl-C."""
    from orchestrator.app.keeping import mend_store
    from orchestrator.config import fill_option
    from orchestrator.viewer.servers import open_viewer
    from orchestrator.viewer.views import find_views

    if mlflow_uri is None:
        mend_store(Root.at(root), print_note)
    names = [name.strip() for given in allowed_hosts or () for name in given.split(",") if name.strip()]
    if host not in LOOPBACKS:
        print_note(f"warning: {host} may be reached by others, and neither server asks for a password")
    print_note("starting the MLflow UI and TensorBoard (half a minute at the first time) ...")
    try:
        with (
            _stop_on_signal(),
            open_viewer(
                Root.at(root),
                host=host,
                mlflow_port=mlflow_port,
                tensorboard_port=tensorboard_port,
                mlflow_uri=fill_option("--mlflow-uri", mlflow_uri),
                allowed_hosts=names,
                say=print_note,
            ) as viewer,
        ):
            _print_addresses(viewer, find_views(viewer.pages[0].url) if mlflow_uri is None else [])
            viewer.wait()
    except KeyboardInterrupt:
        print_note("stopped")


def _print_addresses(viewer: "Viewer", views: Sequence["WebPage"]) -> None:
    for page in viewer.pages:
        typer.echo(f"{page.name:<12} {page.url}")
    for view in views:
        typer.echo(f"  {view.name}\n    {view.url}")
    for line in viewer.reach:
        print_note(line)
    print_note("Ctrl-C stops both")


@contextmanager
def _stop_on_signal() -> Iterator[None]:
    """Turn the first stop signal into `KeyboardInterrupt`; later ones are ignored, so that the servers end."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
