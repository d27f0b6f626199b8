"""`orchestrator sweep`: run a sweep, or print its plan."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import names
from orchestrator.cli import exits
from orchestrator.cli.options import front_columns
from orchestrator.cli.output import Format, print_json, print_note, print_rows
from orchestrator.cli.query import say_recommendation
from orchestrator.cli.sources import list_sources, sweep_command
from orchestrator.masking import mask_credentials
from orchestrator.storage.layout import DEFAULT_ROOT

if TYPE_CHECKING:
    from orchestrator.app.plan import Plan
    from orchestrator.blocks import FrozenSet
    from orchestrator.config.models import Experiment
    from orchestrator.results import Sweep
    from orchestrator.sweep.jobs import SweepOutcome

_WithSource = Annotated[
    bool,
    typer.Option(
        "--with-source",
        help="First sweep what model.weights: sweep:OTHER starts from, where that is not done. --fresh and --set are "
        "not for it, but --set of execution, cache, tracking and trainer.accelerator is.",
    ),
]
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(rich_help_panel="Run")(sweep)


def sweep(
    name: Annotated[str, typer.Argument(help="Experiment in the configuration file.")],
    config: Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")] = Path("experiments.yaml"),
    overrides: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="Override, as key.path=value. May be given several times.")
    ] = None,
    root: Annotated[
        Path, typer.Option("--root", envvar="ORCHESTRATOR_ROOT", help="Folder that holds everything a sweep writes.")
    ] = Path(DEFAULT_ROOT),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train everything again under a new study; the old one stays.")
    ] = False,
    with_source: _WithSource = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what it costs; run nothing.")] = False,
    output: Annotated[
        Format, typer.Option("-f", "--format", help="Format of the front or plan on stdout.")
    ] = Format.table,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Messages and failures only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="A plain line an epoch, with all metrics.")] = False,
) -> None:
    """Sweep an experiment's frozen sets; what is finished is not trained again, what was interrupted continues.

    Ctrl-C stops it at the end of the epoch; the same command goes on. Twice: at once.

    Exit codes: 0 done, 2 configuration, 4 finished with failed trials, 5 environment, 130 interrupted.
    """
    if not (quiet or dry_run):
        print_note(f"{name}: reading {config}")
    from orchestrator.config import load_experiment

    experiment = load_experiment(name, config, overrides or [])
    command, level = sweep_command(config), verbose - quiet
    if dry_run:
        _print_plan(experiment, output, root, command)
        return
    sources = list_sources(experiment, config, overrides or [], root) if with_source else []
    stopper = _Stopper()
    with stopper.listening():
        for source, after in pairwise([*sources, experiment]):
            outcome = _run_source(source, after, root, stopper, level, command)
            if outcome.stopped:
                break
        else:
            result, outcome = _run(experiment, root, stopper, level, command, fresh=fresh)
            _print_end(result, outcome, output, root)
    if outcome.stopped:
        print_note(f"stopped; {_resuming_words()}")
    if outcome.stopped or outcome.failed_trials:
        raise typer.Exit(stopper.exit_code if outcome.stopped else exits.FAILED_TRIALS)


def _resuming_words() -> str:
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    return mask_credentials(f"this goes on with it:\n  orchestrator {shlex.join(words)}")


class _Stopper:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a wish to stop; the second one ends this process at once.

    So does the first one as long as nothing runs: there is nothing to wait for. Nobody waits after the third.
    At once means as a crash does: unwinding could hang in what it interrupts, such as a database's lock, and each point
    at which a sweep can die has its way back. The workers have a second to keep their last whole epoch, and die.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._first: int | None = None
        self._runs = self._ending = False

    def prepare(self) -> None:
        """Hear that a sweep is being prepared: nothing runs yet."""
        self._runs = False

    def begin(self) -> None:
        """Hear that all is prepared, and runs are about to start."""
        self._runs = True

    @property
    def exit_code(self) -> int:
        """128 and the number of the first signal; 130 without one."""
        return 128 + (self._first or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals while the context lasts; after a stop the process is about to end, and none matters."""
        before = {number: signal.signal(number, self._hear) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if self._first is None else signal.SIG_IGN)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._first is None and self._runs:
            self._first = number
            self.event.set()
            return
        if self._ending:
            os._exit(128 + number)
        self._ending = True
        # only where it was loaded: whoever hears a signal waits for no library
        if (processes := sys.modules.get("orchestrator.execution.processes")) is not None:
            processes.end_at_once()
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live display hides it
        said = "ended at once" if self._runs else "interrupted before anything has run"
        with suppress(OSError):  # nobody sees it
            os.write(2, f"{show_cursor}\n{said}; {_resuming_words()}\n".encode(errors="backslashreplace"))
        os._exit(128 + number)


def _run(
    experiment: "Experiment",
    root: Path,
    stopper: _Stopper,
    verbosity: int,
    command: str,
    *,
    fresh: bool = False,
) -> "tuple[Sweep, SweepOutcome]":
    from rich.console import Console

    from orchestrator.cli.live import LiveObserver, PlainObserver
    from orchestrator.records.record import Step

    console = Console(stderr=True)
    live = console.is_terminal and verbosity == 0
    with LiveObserver(console) if live else PlainObserver(console, verbosity=verbosity) as observer:
        stopper.prepare()
        observer.on_prepared = stopper.begin
        observer.on_message(Step("loading the program"))
        from orchestrator.app.sweep import run_sweep

        return run_sweep(experiment, observer=observer, root=root, stop=stopper.event, fresh=fresh, command=command)


def _run_source(
    source: "Experiment", after: "Experiment", root: Path, stopper: _Stopper, verbosity: int, command: str
) -> "SweepOutcome":
    """Sweep what another experiment starts from; its front is not asked for."""
    print_note(f"{source.name} comes first: {after.name} starts from its best network")
    _, outcome = _run(source, root, stopper, verbosity, command)
    if not outcome.stopped:
        print_note(f"{source.name}: {outcome.trained} runs trained. Now {after.name}")
    return outcome


def _print_plan(experiment: "Experiment", output: Format, root: Path, command: str) -> None:
    from orchestrator.app.plan import plan_sweep

    plan = plan_sweep(experiment)
    _print_source(experiment, root, command)
    rows = _plan_rows(plan)
    runs = len(rows) * len(experiment.replicates)
    totals: dict[str, object] = {
        "trials": len(rows) if plan.choices is not None else experiment.search.n_trials,
        "runs": runs if plan.choices is not None else (experiment.search.n_trials or 0) * len(experiment.replicates),
        "max_epochs_per_run": experiment.trainer.max_epochs,
        "max_epochs": runs * experiment.trainer.max_epochs if plan.choices is not None else None,
        **{key: sum(float(str(row[key])) for row in rows) for key in (names.GFLOPS_FORWARD, names.GFLOPS_TRAIN)},
    }
    if output is Format.json:
        sampled = plan.choices is None
        print_json(
            {
                "trials": rows,
                "totals": totals,
                "left_out": [frozen.key for frozen in plan.left_out],
                "sampled": sampled,
                "reuse": plan.reuse,
                "race": _plan_race(experiment),
                "found": plan.found,
                "not_checked": plan.unchecked,
            }
        )
        return
    print_rows(rows, [key for key in rows[0] if key != names.TOTAL_PARAMS], output)
    if plan.left_out:
        print_note(f"left out, over search.max_trainable_params: {', '.join(map(str, plan.left_out))}")
    if plan.choices is None:
        print_note(f"a sampler chooses {totals['trials']} trials among these frozen sets and the other dimensions")
    print_note(
        f"{totals['trials']} trials, {totals['runs']} runs of at most {totals['max_epochs_per_run']} epochs; all rows "
        f"together {totals[names.GFLOPS_FORWARD]:.2f} GFLOPs forward and {totals[names.GFLOPS_TRAIN]:.2f} GFLOPs "
        "training for one image each"
    )
    race = _plan_race(experiment)
    if race is not None:
        print_note(
            f"race: all {len(rows)} trials begin, with one seed; after {race['drops_after']} epochs those are dropped "
            f"that end on the front with a probability below {race['drop_below']:g}; the others train to their end, "
            f"and those that are not certain get up to {race['max_seeds']} seeds, {race['until']}. "
            f"The full sweep would train at most {totals['max_epochs']} epochs"
        )
    for line in (*plan.reuse, *plan.found):
        print_note(line)
    print_note(f"not checked: {'; '.join(plan.unchecked)}")


def _print_source(experiment: "Experiment", root: Path, command: str) -> None:
    """Return whether the network is there that another sweep leaves this one; the plan needs none."""
    if experiment.model.source_sweep is None:
        return
    from orchestrator.app.pretrained import describe_missing
    from orchestrator.storage.layout import Root

    missing = describe_missing(Root.at(root), experiment, command)
    if missing is not None:
        print_note(f"the plan needs no weights, and the sweep would not start yet: {missing}")


def _plan_race(experiment: "Experiment") -> dict[str, object] | None:
    """Describe how a race will go; None where there is none."""
    search = experiment.search
    if search.strategy != "race":
        return None
    given = {f"{limit:g} {name}": limit for name, limit in search.budget if limit is not None}
    until = f"until {' or '.join(given)} are used" if given else "as long as a full sweep would cost more"
    return {
        "drops_after": ", ".join(map(str, experiment.rungs[:-1])) or "no",
        "drop_below": search.race.drop_below,
        "max_seeds": search.race.max_seeds,
        "until": until,
    }


def _plan_rows(plan: "Plan") -> list[dict[str, object]]:
    if plan.choices is None:  # the sampler will choose: show what each frozen set would cost
        points: list[tuple[FrozenSet, dict[str, object]]] = [
            (frozen, {}) for frozen in plan.costs if frozen not in plan.left_out
        ]
    else:
        searched = plan.experiment.search.dimensions
        points = [
            (choice.frozen, {key: getattr(choice.hyperparameters, key) for key in searched}) for choice in plan.choices
        ]
    rows: list[dict[str, object]] = []
    for number, (frozen, point) in enumerate(points):
        cost = plan.costs[frozen]
        rows.append(
            {
                "order": number,
                names.FROZEN: frozen.key,
                **point,
                names.TRAINABLE_PARAMS: cost.trainable_params,
                names.TRAINABLE_PCT: cost.trainable_pct,
                names.TOTAL_PARAMS: cost.total_params,
                names.GFLOPS_FORWARD: cost.gflops_forward_per_image,
                names.GFLOPS_TRAIN: cost.gflops_train_per_image,
            }
        )
    return rows


def _print_end(result: "Sweep", outcome: "SweepOutcome", output: Format, root: Path) -> None:
    name = result.experiment.name
    front = result.front_rows()
    if front:
        print_note(f"\nThe front of {name}: no other trial has both {result.objective.beats}")
        print_rows(front, front_columns(result), output)
        print_note(say_recommendation(result))
    parts = [f"{outcome.trained} runs trained"]
    parts += [f"{outcome.reused} answered from finished trainings"] if outcome.reused else []
    parts += [f"{outcome.resumed} of them continued from a checkpoint"] if outcome.resumed else []
    parts += [f"{outcome.retried} tried again"] if outcome.retried else []
    parts += [f"{outcome.repeated} repeated suggestions answered"] if outcome.repeated else []
    parts += [f"{len(outcome.pruned)} trials pruned"] if outcome.pruned else []
    parts += [f"{outcome.failed_runs} runs lost"] if outcome.failed_runs else []
    option = "" if root == Path(DEFAULT_ROOT) else f" --root {shlex.quote(str(root))}"
    print_note(f"\n{', '.join(parts)}.")
    for trial in outcome.failed_trials:
        print_note(f"failed: trial {trial.number} ({result.label(trial)}): {trial.error}")
    print_note(f"Everything lies in {result.root.path}; pictures in {result.root.reports(name)}")
    print_note("Next:")
    print_note(f"  orchestrator best {name}{option} --max-trainable-params 3000000")
    print_note(f"  orchestrator trials {name}{option}")
    print_note(f"  orchestrator ui{option}")
