"""The sweeps under a root, a line each."""

from orchestrator import names
from orchestrator.cli.options import ROOT, FormatOption, RootOption
from orchestrator.cli.output import Format, print_note, print_rows
from orchestrator.errors import NotFoundError, SetupError
from orchestrator.storage.layout import Root

COLUMNS = ("name", names.STATE, "done", "planned", names.HIGHEST_MEASURED_VAL_ACC, "failed", "updated", names.ERROR)


def list_sweeps(root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Print the sweeps under the root, a line each: how far each is, and its highest measured val_acc."""
    from orchestrator.search import study_names

    place = Root.at(root)
    rows = [describe_sweep(place, name) for name in study_names(place)]
    print_rows(rows, COLUMNS, form)
    if not rows:
        print_note(
            f"there is no sweep in {place.path}: start one with `orchestrator sweep NAME`, or give another --root"
        )


def describe_sweep(root: Root, name: str) -> dict[str, object]:
    """Describe how far a sweep is: `running`, `finished`, `unfinished`, or `unreadable` with the error."""
    from orchestrator.observers.progress import read_progress
    from orchestrator.results import load_sweep
    from orchestrator.search import count_points
    from orchestrator.storage.lock import read_owner

    progress = read_progress(root.progress(name))
    row: dict[str, object] = {"name": name, names.STATE: "unreadable", "updated": progress and progress.updated}
    try:
        sweep = load_sweep(name, root.path)
    except (NotFoundError, SetupError) as error:
        return {**row, names.ERROR: error.message}
    counted = count_points(sweep.experiment)
    planned = progress.planned if progress is not None and progress.planned is not None else counted
    done = len(sweep.complete) + sum(trial.state == "pruned" for trial in sweep.trials)
    state = "finished" if planned is not None and done >= planned else "unfinished"
    return {
        **row,
        names.STATE: "running" if read_owner(root.lock(name)) is not None else state,
        "done": done,
        "planned": planned,
        names.HIGHEST_MEASURED_VAL_ACC: sweep.highest.val_acc if sweep.highest else None,
        "failed": len(sweep.open_failures),
    }
