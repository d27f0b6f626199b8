"""Arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import names
from orchestrator.cli.output import Format
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from orchestrator.results import Sweep

FRONT_COLUMNS = (
    names.TRIAL,
    names.FROZEN,
    names.TRAINABLE_PARAMS,
    names.VAL_ACC,
    names.PARETO,
    names.SUPPORTED,
    names.VAL_ACC_LOW,
    names.VAL_ACC_HIGH,
    names.P_FRONT,
    names.VAL_ACC_CORRECTED,
    names.TRAINABLE_PCT,
    names.TEST_ACC,
    names.TEST_DROP,
)
"""What a front shows for people; a narrow terminal leaves out the last ones."""


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """List the sweeps under the root that begin with `incomplete`, for the shell; none where that fails."""
    try:
        from orchestrator.search import study_names

        root = Root.at(context.params.get("root") or DEFAULT_ROOT)
        return [name for name in study_names(root) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a traceback in the middle of someone's command line helps nobody
        return []


NameArgument = Annotated[str, typer.Argument(help="Name of the experiment.", autocompletion=complete_name)]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(help="Name of the experiment; none: all.", autocompletion=complete_name)
]
RootOption = Annotated[
    Path,
    typer.Option("--root", envvar="ORCHESTRATOR_ROOT", help="Folder that holds everything a sweep writes."),
]
FormatOption = Annotated[Format, typer.Option("-f", "--format", help="How the data on stdout are written.")]
ROOT = Path(DEFAULT_ROOT)


def load(name: str, root: Path) -> "Sweep":
    """Load a sweep, and what that takes of libraries."""
    from orchestrator.results import load_sweep

    return load_sweep(name, root)
