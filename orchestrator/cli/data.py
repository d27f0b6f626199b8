"""`orchestrator data check`: look at every image of an experiment's data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import exits
from orchestrator.cli.output import Format, print_json, print_note, print_rows
from orchestrator.storage.layout import Root

if TYPE_CHECKING:
    from orchestrator.config import Experiment
    from orchestrator.storage.cache import Cache
    from orchestrator.training.data.quality import DataReport

app = typer.Typer(help="Look at the data.", no_args_is_help=True)

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
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            envvar="ORCHESTRATOR_ROOT",
            help="Keep the decoded images in the cache under this root, for the sweeps there.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("-f", "--format", help="How the data on stdout are written.")] = Format.table,
) -> None:
    """Decode every image; count classes, sizes and modes; name broken files, duplicates, and files that are not used.

    Columns: `repeats` equal another image of the same row, `shared` are in another split too. Nothing is trained.
    `-f json` names every file that is broken, equal to another or not used.

    Exit codes: 0 the data can be used, 2 they cannot, 5 they cannot be brought.
    """
    from orchestrator.config import load_experiment

    experiment = load_experiment(name, config, overrides or [])
    from orchestrator.training.data.inspection import inspect_data

    report = inspect_data(experiment.data, _open_cache(experiment, root))
    if form is Format.json:
        print_json({"usable": report.usable, **report.model_dump(mode="json")})
    else:
        print_rows(report.rows(), _COLUMNS, form)
    _print_findings(report)
    if not report.usable:
        raise typer.Exit(exits.CONFIG)


def _open_cache(experiment: "Experiment", root: Path | None) -> "Cache | None":
    from orchestrator.records.place import CachePlace
    from orchestrator.storage.cache import Cache

    if root is None:
        return None
    if not experiment.cache.images:
        print_note("cache.images is false: no decoded image is kept")
        return None
    place = CachePlace(folder=str(Root.at(root).cache), **experiment.cache.model_dump())
    return Cache.at(place, print_note)


def _print_findings(report: "DataReport") -> None:
    if report.reading:
        print_note(f"read as {report.reading}")
    if report.files is not None:
        left = sum(len(group.names) for group in report.left_out)
        print_note(f"files: {report.files} used, {left} left out")
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
