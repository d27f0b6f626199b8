"""`orchestrator status|list|trials|pareto|best|blocks|runs|history|report`: ask what a sweep knows."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import names
from orchestrator.cli.output import COMPARISON_COLUMNS, Format, print_note, print_record, print_rows
from orchestrator.errors import ConfigError
from orchestrator.layout import DEFAULT_ROOT, Root
from orchestrator.masking import mask_credentials

if TYPE_CHECKING:
    from orchestrator.config.models import Experiment
    from orchestrator.records import TrialRecord
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

_TRIAL_COLUMNS = (
    names.TRIAL,
    names.FROZEN,
    names.TRAINABLE_PARAMS,
    names.VAL_ACC,
    names.PARETO,
    names.SUPPORTED,
    names.STATE,
    names.VAL_ACC_CORRECTED,
    names.P_FRONT,
    names.TRAINABLE_PCT,
    names.LOGME,
    names.GRAD_SHARE_FROZEN,
    names.BEST_EPOCH,
    names.DURATION_S,
    names.ERROR,
)
_BLOCK_COLUMNS = (
    names.BLOCK,
    names.BESIDES,
    names.N_PAIRS,
    names.VAL_ACC_EFFECT,
    names.VAL_ACC_EFFECT_LOW,
    names.VAL_ACC_EFFECT_HIGH,
    names.GFLOPS_TRAIN_EFFECT,
    names.TRAINABLE_PARAMS_EFFECT,
    names.DURATION_S_EFFECT,
    names.DURATION_S_EFFECT_LOW,
    names.DURATION_S_EFFECT_HIGH,
    names.INTERACTION,
    names.INTERACTION_LOW,
    names.INTERACTION_HIGH,
    names.PED_ANOVA,
)
_RUN_COLUMNS = (
    names.TRIAL,
    names.FROZEN,
    names.SEED,
    names.STATE,
    names.VAL_ACC,
    names.VAL_LOSS,
    names.BEST_EPOCH,
    names.EPOCHS_RUN,
    names.DURATION_S,
    names.ERROR,
)


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
_ROOT = Path(DEFAULT_ROOT)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (status, trials, pareto, compare, recommend, best, blocks, runs, history, report):
        app.command(rich_help_panel="Ask")(command)
    app.command("list", rich_help_panel="Ask")(list_sweeps)


def list_sweeps(root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Print the sweeps under the root, a line each: how far each is, and its highest measured val_acc."""
    from orchestrator.cli.overview import print_sweeps

    print_sweeps(Root.at(root), form)


def status(name: OptionalNameArgument = None, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Say whether a sweep is alive, how far it is, what failed and why; without a name, list the sweeps."""
    if name is None:
        list_sweeps(root, form)
        return
    sweep = _load(name, root)
    record = describe_status(sweep)
    if form is Format.table:
        record["runs"] = [_say_run(run) for run in record["runs"]]
        record["failures"] = [_say_failure(failure) for failure in record["failures"]]
    print_record(record, form)
    if not record["alive"] and record["runs"]:
        print_note("no sweep is alive: it died or was stopped with these runs; the same command goes on with them")


def describe_status(sweep: "Sweep") -> dict[str, Any]:
    """Say how far a sweep is; `runs` are under way, or were when it died, `failures` are not made good yet."""
    from orchestrator.lock import read_owner
    from orchestrator.progress import read_progress

    name, place = sweep.experiment.name, sweep.root
    owner = read_owner(place.lock(name))
    progress = read_progress(place.progress(name))
    planned = progress.planned if progress and progress.planned is not None else count_points(sweep.experiment)
    pruned = sum(trial.state == "pruned" for trial in sweep.trials)
    done = len(sweep.candidates) + pruned
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
                names.FROZEN: trial.frozen,
                "label": str(sweep.label(trial)),
                "causes": _causes(trial),
                names.ERROR: trial.error,
            }
            for trial in sweep.open_failures
        ],
        "highest_measured_val_acc": highest.val_acc if highest else None,
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


def trials(name: NameArgument, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Print one row a trial; those on the Pareto front are marked."""
    from orchestrator.results import describe_scores

    sweep = _load(name, root)
    print_rows(sweep.trial_rows(), with_varied(_TRIAL_COLUMNS, sweep), form)
    said = describe_scores(sweep.candidates)
    if said is not None:
        print_note(said)


def pareto(name: NameArgument, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Print the Pareto front by rising number of trainable parameters, and how far it can be believed."""
    sweep = _load(name, root)
    rows = sweep.front_rows()
    print_rows(rows, with_varied(FRONT_COLUMNS, sweep), form)
    print_note(say_recommendation(sweep) if rows else f"no trial of {name} is complete yet")


def say_recommendation(sweep: "Sweep") -> str:
    """Say in a sentence what the data recommend, or why they recommend nothing."""
    if sweep.judgement is None:
        return "nothing is recommended: not every complete trial has predictions of the same images"
    found = sweep.recommend()
    return f"recommended: {found.sentence} ({found.basis})"


def compare(name: NameArgument, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Compare each trial on the front with the next one: is it really more accurate?"""
    sweep = _load(name, root)
    rows = sweep.comparison_rows()
    print_rows(rows, COMPARISON_COLUMNS, form)
    if not rows:
        print_note("nothing to compare: fewer than two trials on the front, or predictions are missing")


def recommend(
    name: NameArgument,
    root: RootOption = _ROOT,
    form: FormatOption = Format.table,
    margin: Annotated[
        float | None, typer.Option(help="Accuracy that may be lost, in [0, 1]; else one standard error.")
    ] = None,
) -> None:
    """Recommend the fewest trainable parameters that are close enough to the highest measured, in words and numbers."""
    found = _load(name, root).recommend(margin)
    comparison = found.comparison
    record = {
        "recommended": found.sentence,
        "basis": found.basis,
        names.TRIAL: found.number,
        names.FROZEN: found.frozen,
        "label": found.label,
        "highest_measured_trial": found.highest_number,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "standard_error": comparison.standard_error,
    }
    print_record(record, form)


def best(
    name: NameArgument,
    root: RootOption = _ROOT,
    form: FormatOption = Format.table,
    max_trainable_params: Annotated[
        int | None, typer.Option(min=1, help="Highest val_acc with at most this many trainable parameters.")
    ] = None,
    min_val_acc: Annotated[
        float | None, typer.Option(help="Fewest trainable parameters that reach this val_acc, in [0, 1].")
    ] = None,
    rule: Annotated[
        names.Rule,
        typer.Option(help="supported: more parameters only where they are shown to help; point: not so."),
    ] = "supported",
) -> None:
    """Print the best trial and the rule that chose it; on stderr, the trials that other rules name, and why."""
    if min_val_acc is not None and not 0 <= min_val_acc <= 1:
        raise ConfigError(
            f"--min-val-acc is a fraction in [0, 1], not {min_val_acc:g}",
            hint=f"for {min_val_acc:g} percent say {min_val_acc / 100:g}" if 1 < min_val_acc <= 100 else None,
        )
    sweep = _load(name, root)
    found = sweep.best(max_trainable_params=max_trainable_params, min_val_acc=min_val_acc, rule=rule)
    row = next(row for row in sweep.trial_rows() if row[names.TRIAL] == found.number)
    print_record({"rule": found.rule, "basis": found.basis, "label": found.label, **row}, form)
    print_note(sweep.explain(found))


def blocks(name: NameArgument, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Print what freezing each block changes: frozen minus training; interaction is with the next block."""
    effects = _load(name, root).effects
    print_rows(effects.rows(), _BLOCK_COLUMNS, form)
    for note in effects.notes():
        print_note(note)


def runs(name: NameArgument, root: RootOption = _ROOT, form: FormatOption = Format.table) -> None:
    """Print one row a run: a trial has one for each seed."""
    sweep = _load(name, root)
    print_rows(sweep.run_rows(), with_varied(_RUN_COLUMNS, sweep), form)


def history(
    name: NameArgument,
    trial: Annotated[
        str, typer.Argument(help="A trial's number, or its frozen set, such as stem+layer1, none or 'stem lr=0.003'.")
    ],
    root: RootOption = _ROOT,
    form: FormatOption = Format.table,
) -> None:
    """Print the curves of a trial's runs by epoch; epochs count from 1."""
    rows = _load(name, root).history_rows(trial)
    print_rows(rows, list(rows[0]), form)


def report(
    name: NameArgument,
    root: RootOption = _ROOT,
    mlflow_uri: Annotated[
        str | None, typer.Option(help="Tracking store, where its address has credentials: the study keeps none.")
    ] = None,
) -> None:
    """Draw a sweep's pictures, keep them with its MLflow run, and print their paths."""
    from orchestrator.app import keep_report
    from orchestrator.config import fill_option
    from orchestrator.report.plots import write_report

    sweep = _load(name, root)
    paths = write_report(sweep, sweep.root.reports(name))
    for path in paths:
        typer.echo(path)
    keep_report(sweep, paths, fill_option("--mlflow-uri", mlflow_uri), print_note)


def with_varied(columns: Sequence[str], sweep: "Sweep") -> list[str]:
    """Put what varies in a sweep beside the frozen set."""
    place = columns.index(names.FROZEN) + 1
    return [*columns[:place], *sweep.varied, *columns[place:]]


def _load(name: str, root: Path) -> "Sweep":
    from orchestrator.results import load_sweep

    return load_sweep(name, root)


def count_points(experiment: "Experiment") -> int | None:
    """Count the trials of a whole study; None where that depends on the costs (`search.max_trainable_params`)."""
    search = experiment.search
    dimensions = list(search.dimensions.values())
    if search.sampler == "auto" and all(each.choices is not None for each in dimensions):
        size = len(experiment.frozen_sets) * math.prod(len(each.choices or ()) for each in dimensions)
        if search.n_trials is None or size <= search.n_trials:
            return size if search.max_trainable_params is None else None
    return search.n_trials
