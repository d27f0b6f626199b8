"""`orchestrator data check`: look at every image of an experiment's data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.output import Format, print_json, print_note, print_rows

if TYPE_CHECKING:
    from orchestrator.training.quality import DataReport

app = typer.Typer(help="Look at the data.", no_args_is_help=True)

_EXIT_UNUSABLE = 2
_SHOWN = 10
_FILE = Path("experiments.yaml")
_COLUMNS = (
    "split",
    "class",
    "images",
    "broken",
    "repeats",
    "shared",
    *(f"{side}_{which}" for side in ("width", "height") for which in ("min", "median", "max")),
    "modes",
)


@app.callback()
def _panel() -> None:
    """Make `check` a command of its own: typer would take a single one for the panel."""


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Experiment in the configuration file.")],
    config: Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")] = _FILE,
    overrides: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="Override, as key.path=value. May be given several times.")
    ] = None,
    form: Annotated[Format, typer.Option("-f", "--format", help="How the data on stdout are written.")] = Format.table,
) -> None:
    """Decode every image once; count classes, sizes and modes, and name broken files and duplicates.

    Columns: `repeats` equal another image of the same row, `shared` are in another split too. Nothing is trained.

    Exit codes: 0 the data can be used, 2 they cannot, 5 they cannot be brought.
    """
    from orchestrator.config import load_experiment

    experiment = load_experiment(name, config, overrides or [])
    from orchestrator.training.inspection import inspect_data

    report = inspect_data(experiment.data)
    if form is Format.json:
        print_json({"usable": report.usable, **report.model_dump(mode="json")})
    else:
        print_rows(report.rows(), _COLUMNS, form)
    _print_findings(report)
    if not report.usable:
        raise typer.Exit(_EXIT_UNUSABLE)


def _print_findings(report: "DataReport") -> None:
    for problem in report.problems:
        print_note(f"error: {problem}")
    for note in report.notes:
        print_note(f"warning: {note}")
    groups = [f"equal: {' = '.join(map(str, group))}" for group in report.equal]
    for line in groups[:_SHOWN]:
        print_note(line)
    if len(groups) > _SHOWN:
        print_note(f"and {len(groups) - _SHOWN} more groups of equal images; -f json has them all")
    count = "no problem" if report.usable else f"{len(report.problems)} problems"
    print_note(f"{report.source}: {sum(portion.images for portion in report.wholes)} images can be used; {count}")
