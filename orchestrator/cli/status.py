"""`orchestrator status`: how far a sweep is, and what failed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import names
from orchestrator.cli.options import ROOT, FormatOption, OptionalNameArgument, RootOption, load
from orchestrator.cli.output import Format, print_note, print_record
from orchestrator.cli.overview import list_sweeps
from orchestrator.masking import mask_credentials

if TYPE_CHECKING:
    from orchestrator.records.trials import TrialRecord
    from orchestrator.results import Sweep


def status(name: OptionalNameArgument = None, root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Show whether a sweep is alive, how far it is, what failed and why; without a name, list the sweeps."""
    if name is None:
        list_sweeps(root, form)
        return
    sweep = load(name, root)
    record = describe_status(sweep)
    if form is Format.table:
        record["runs"] = [_say_run(run) for run in record["runs"]]
        record["failures"] = [_say_failure(failure) for failure in record["failures"]]
    print_record(record, form)
    if not record["alive"] and record["runs"]:
        print_note("no sweep is alive: it died or was stopped with these runs; the same command goes on with them")


def describe_status(sweep: "Sweep") -> dict[str, Any]:
    """Describe how far a sweep is; `runs` are under way, or were when it died, `failures` are not made good yet."""
    from orchestrator.observers.progress import read_progress
    from orchestrator.search import count_points
    from orchestrator.storage.lock import read_owner

    name, place = sweep.experiment.name, sweep.root
    owner = read_owner(place.lock(name))
    progress = read_progress(place.progress(name))
    planned = progress.planned if progress and progress.planned is not None else count_points(sweep.experiment)
    pruned = sum(trial.state == "pruned" for trial in sweep.trials)
    done = len(sweep.complete) + pruned
    highest = sweep.highest
    return {
        "experiment": name,
        "alive": owner is not None,
        "pid": owner.pid if owner else None,
        "host": owner.host if owner else None,
        "started": owner.started if owner else None,
        "updated": progress.updated if progress else None,
        "complete": sum(trial.state == "complete" for trial in sweep.trials),
        "pruned": pruned,
        "failed": sum(trial.has_failed for trial in sweep.trials),
        "running": sum(trial.state == "running" for trial in sweep.trials),
        names.PUT_OFF: sum(trial.put_off for trial in sweep.trials),
        "left": None if planned is None else max(0, planned - done),
        "to_go_s": progress.to_go_s if progress and owner else None,
        "runs": [run.model_dump() for run in progress.runs] if progress else [],
        "failures": [
            {
                names.TRIAL: trial.number,
                names.FROZEN: trial.frozen.key,
                "label": str(sweep.label(trial)),
                "causes": _causes(trial),
                names.ERROR: trial.error,
            }
            for trial in sweep.open_failures
        ],
        names.HIGHEST_MEASURED_VAL_ACC: highest.val_acc if highest else None,
        "highest_measured_trial": highest.number if highest else None,
        "highest_measured_label": str(sweep.label(highest)) if highest else None,
        names.FRONT_SIZE: len(sweep.front),
        "root": str(place.path),
        "mlflow": mask_credentials(sweep.experiment.tracking.mlflow_uri or place.mlflow_uri),
        "optuna": str(place.optuna_db),
        "tensorboard": str(place.tensorboard(name)),
        "reports": str(place.reports(name)),
    }


def _causes(trial: "TrialRecord") -> list[str]:
    return sorted({run.cause for run in trial.runs if run.cause is not None})


def _say_run(run: Mapping[str, Any]) -> str:
    accuracy = "" if run[names.VAL_ACC] is None else f", val_acc {run[names.VAL_ACC]:.4f}"
    notes = "".join(f"; {note}" for note in run["notes"])
    return f"{run['name']}: epoch {run['epochs']}/{run['max_epochs']}{accuracy}{notes}"


def _say_failure(failure: Mapping[str, Any]) -> str:
    causes = f" ({', '.join(failure['causes'])})" if failure["causes"] else ""
    return f"trial {failure[names.TRIAL]} ({failure['label']}): {failure[names.ERROR]}{causes}"
