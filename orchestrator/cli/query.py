"""`orchestrator status|list|trials|pareto|best|blocks|runs|history|metrics|report`: ask what a sweep knows."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import names
from orchestrator.cli.metrics import metrics
from orchestrator.cli.options import (
    ROOT,
    CostOption,
    FormatOption,
    GainOption,
    NameArgument,
    RootOption,
    front_columns,
    load,
    with_varied,
)
from orchestrator.cli.output import COMPARISON_COLUMNS, Format, print_note, print_record, print_rows
from orchestrator.cli.overview import list_sweeps
from orchestrator.cli.status import status
from orchestrator.errors import ConfigError
from orchestrator.objectives import Rule

if TYPE_CHECKING:
    from orchestrator.results import Sweep


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
    names.TUNING,
    names.INSTEAD_OF,
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


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (status, trials, pareto, compare, recommend, best, blocks, runs, history, metrics, report):
        app.command(rich_help_panel="Ask")(command)
    app.command("list", rich_help_panel="Ask")(list_sweeps)


def trials(name: NameArgument, root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Print one row a trial; those on the Pareto front are marked."""
    from orchestrator.results import describe_scores

    sweep = load(name, root)
    print_rows(sweep.trial_rows(), with_varied(_TRIAL_COLUMNS, sweep), form)
    said = describe_scores(sweep.complete)
    if said is not None:
        print_note(said)


def pareto(
    name: NameArgument,
    root: RootOption = ROOT,
    form: FormatOption = Format.table,
    gain: GainOption = None,
    cost: CostOption = None,
) -> None:
    """Print the Pareto front by rising cost, and how far it can be believed."""
    sweep = load(name, root, gain, cost)
    rows = sweep.front_rows()
    print_rows(rows, front_columns(sweep), form)
    for note in sweep.notes:
        print_note(note)
    print_note(say_recommendation(sweep) if rows else f"no trial of {name} is complete yet")


def say_recommendation(sweep: "Sweep") -> str:
    """Describe in a sentence what the data recommend, or why they recommend nothing."""
    if sweep.judgement is None:
        return "nothing is recommended: not every complete trial has predictions of the same images"
    return f"recommended: {sweep.recommend().text}"


def compare(
    name: NameArgument,
    root: RootOption = ROOT,
    form: FormatOption = Format.table,
    gain: GainOption = None,
    cost: CostOption = None,
) -> None:
    """Compare each trial on the front with the next one: is it really better?"""
    sweep = load(name, root, gain, cost)
    rows = sweep.comparison_rows()
    print_rows(rows, COMPARISON_COLUMNS, form)
    if not rows:
        print_note("nothing to compare: fewer than two trials on the front, or predictions are missing")


def recommend(
    name: NameArgument,
    root: RootOption = ROOT,
    form: FormatOption = Format.table,
    margin: Annotated[
        float | None, typer.Option(help="Accuracy that may be lost, in [0, 1]; else search.recommend.margin.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Probability that no more is lost; else search.recommend.confidence.")
    ] = None,
    gain: GainOption = None,
    cost: CostOption = None,
) -> None:
    """Recommend the lowest cost that probably loses little against the best, in words and numbers."""
    found = load(name, root, gain, cost).recommend(margin, confidence)
    record = {
        "recommended": found.sentence,
        "outlook": found.outlook,
        "basis": found.basis,
        names.TRIAL: found.number,
        names.FROZEN: found.frozen,
        "label": found.label,
        "expected_best_trial": found.expected_number,
        "margin": found.margin,
        "confidence": found.confidence,
        "probability": found.probability,
        "confident": found.is_confident,
        "loss": found.loss,
        "loss_low": found.loss_low,
        "loss_high": found.loss_high,
        "open": list(found.open),
        "further_seeds": found.further_seeds,
    }
    print_record(record, form)


def best(
    name: NameArgument,
    root: RootOption = ROOT,
    form: FormatOption = Format.table,
    max_trainable_params: Annotated[
        int | None, typer.Option(min=1, help="The best with at most this many trainable parameters.")
    ] = None,
    min_val_acc: Annotated[
        float | None, typer.Option(help="Fewest trainable parameters that reach this measured val_acc, in [0, 1].")
    ] = None,
    rule: Annotated[
        Rule,
        typer.Option(
            help="expected: by all that the trials say together; supported: a higher cost only where it is shown to "
            "help; measured: by the gain as it is."
        ),
    ] = "expected",
    gain: GainOption = None,
    cost: CostOption = None,
) -> None:
    """Print the best trial and the rule that chose it; on stderr, the trials that other rules name, and why."""
    if min_val_acc is not None and not 0 <= min_val_acc <= 1:
        raise ConfigError(
            f"--min-val-acc is a fraction in [0, 1], not {min_val_acc:g}",
            hint=f"for {min_val_acc:g} percent say {min_val_acc / 100:g}" if 1 < min_val_acc <= 100 else None,
        )
    sweep = load(name, root, gain, cost)
    found = sweep.best(max_trainable_params=max_trainable_params, min_val_acc=min_val_acc, rule=rule)
    row = next(row for row in sweep.trial_rows() if row[names.TRIAL] == found.number)
    print_record({"rule": found.rule, "basis": found.basis, "label": found.label, **row}, form)
    print_note(sweep.explain(found))


def blocks(name: NameArgument, root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Print what freezing each block changes: frozen minus training; interaction is with the next block.

    Where trials tune blocks otherwise, each two things are compared that a block does.
    """
    effects = load(name, root).effects
    hidden = {names.TUNING, names.INSTEAD_OF} if effects.of_freezing else set()
    print_rows(effects.rows(), [column for column in _BLOCK_COLUMNS if column not in hidden], form)
    for note in effects.notes():
        print_note(note)


def runs(name: NameArgument, root: RootOption = ROOT, form: FormatOption = Format.table) -> None:
    """Print one row a run: a trial has one for each seed, and with data.folds for each fold."""
    sweep = load(name, root)
    columns = with_varied(_RUN_COLUMNS, sweep)
    if sweep.experiment.data.folds is not None:
        place = columns.index(names.SEED) + 1
        columns = [*columns[:place], names.FOLD, *columns[place:]]
    print_rows(sweep.run_rows(), columns, form)


def history(
    name: NameArgument,
    trial: Annotated[
        str, typer.Argument(help="A trial's number, or its frozen set, such as stem+layer1, none or 'stem lr=0.003'.")
    ],
    root: RootOption = ROOT,
    form: FormatOption = Format.table,
) -> None:
    """Print the curves of a trial's runs by epoch; epochs count from 1."""
    rows = load(name, root).history_rows(trial)
    print_rows(rows, list(rows[0]), form)


def report(
    name: NameArgument,
    root: RootOption = ROOT,
    mlflow_uri: Annotated[
        str | None, typer.Option(help="Tracking store, where its address has credentials: the study keeps none.")
    ] = None,
    gain: GainOption = None,
    cost: CostOption = None,
) -> None:
    """Draw a sweep's pictures, keep them with its MLflow run, and print their paths."""
    from orchestrator.app.keeping import keep_report
    from orchestrator.config import fill_option
    from orchestrator.report.plots import write_report

    sweep = load(name, root, gain, cost)
    paths = write_report(sweep, sweep.root.reports(name))
    for path in paths:
        typer.echo(path)
    keep_report(sweep, paths, fill_option("--mlflow-uri", mlflow_uri), print_note)
