"""What the pictures draw: one series a trial, with a label of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.errors import NotFoundError
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.trials import RunRecord
from orchestrator.results import Interval, Sweep, describe_states, results_of

CONVERGED = 0.95
"""A run has converged once it has this share of its own highest validation accuracy."""

FEW = 8
"""Up to so many trials, those off the front are named too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A value over the seeds of a trial. NaN where a seed has no number."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up at least one value."""
        return cls(mean=fmean(values), low=min(values), high=max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A complete trial, as the pictures show it."""

    number: int
    label: str
    """The frozen set's key, or a shorter form of it, with the values of what varies in the sweep; unique."""
    named: bool
    """It has an entry of its own in keys and a label: it is on the front, or there are few trials."""
    on_front: bool
    rank: int
    """Place on the front by rising cost, else among the other trials; from 0."""
    params: int
    """Trainable parameters."""
    val_acc: float
    """Validation accuracy: mean over seeds."""
    interval: Interval | None
    """Its 95 % interval, over images and with several seeds over seeds; None: not known."""
    test_interval: Interval | None
    """95 % interval of the test accuracy likewise."""
    gain: float
    """What the front seeks, in its own unit: `val_acc` unless another is asked for."""
    gain_interval: Interval | None
    """Its 95 % interval likewise."""
    cost: float
    """What the front saves: `params` unless another is asked for."""
    p_front: float | None
    """Probability that it is on the front of true accuracies; None: not known."""
    supported: bool
    """It is on the supported front; no trial is where that is not known."""
    runs: tuple[RunRecord, ...]
    results: tuple[RunResult, ...]
    """One a seed, as `runs`."""

    @property
    def name(self) -> str:
        """The label as a sentence takes it, in quotation marks: `none` would read badly without."""
        return f"“{self.label}”"

    def spread(self, value: Callable[[RunResult], float]) -> Spread:
        """Sum up a value of each run over the seeds."""
        return Spread.of([value(result) for result in self.results])

    def curve(self, value: Callable[[EpochMetrics], float]) -> list[Spread]:
        """Sum up a curve over the seeds, epoch by epoch, as far as every seed went."""
        lengths = [len(result.history) for result in self.results]
        return [
            Spread.of([value(result.history[epoch]) for result in self.results])
            for epoch in range(min(lengths, default=0))
        ]


def build_series(sweep: Sweep) -> list[Series]:
    """List a sweep's complete trials by rising cost; repetitions and lost trials have no series.

    Raises:
        NotFoundError: No trial is complete.
    """
    trials = [trial for trial in sweep.candidates if results_of(trial)]
    if not trials:
        states = describe_states(sweep.trials) or "none has started"
        raise NotFoundError(
            f"nothing to draw: no trial of {sweep.experiment.name!r} is complete yet ({states})",
            hint=f"go on with `orchestrator sweep {sweep.experiment.name}{sweep.root.option}`",
        )
    objective = sweep.objective
    trials.sort(key=lambda trial: (objective.cost(trial), objective.gain(trial), trial.number))
    ranks = {True: 0, False: 0}
    judgement = sweep.judgement
    series = []
    for trial in trials:
        on_front = sweep.is_on_front(trial)
        runs = tuple(run for run in trial.runs if run.result is not None)
        series.append(
            Series(
                number=trial.number,
                label=sweep.label(trial).shorten(sweep.experiment.blocks),
                named=on_front or len(trials) <= FEW,
                on_front=on_front,
                rank=ranks[on_front],
                params=trial.trainable_params or 0,
                val_acc=trial.val_acc or 0.0,
                interval=sweep.interval(trial),
                test_interval=sweep.test_interval(trial),
                gain=objective.value(trial),
                gain_interval=sweep.gain_interval(trial),
                cost=objective.cost(trial),
                p_front=judgement.front_probability(trial) if judgement else None,
                supported=judgement is not None and judgement.is_supported(trial),
                runs=runs,
                results=tuple(run.result for run in runs if run.result is not None),
            )
        )
        ranks[on_front] += 1
    return series


def grey_level(probability: float) -> float:
    """Return the grey of a point that is on the front with a probability: 1, white, for surely not; dark for surely."""
    return 1 - probability * (1 - 0x1A / 255)


def describe_sweep(sweep: Sweep, series: Sequence[Series], *, intervals: bool = False) -> str:
    """Describe in a line what a picture shows and what it leaves out.

    Args:
        sweep: The sweep.
        series: What of it is shown.
        intervals: The picture shows the interval of each gain, not the spread of the seeds; it is of the front.
    """
    front = sum(each.on_front for each in series)
    parts = [f"{sweep.experiment.name}: {_count(len(series), 'trial')}, {front} on the Pareto front"]
    folds = sweep.experiment.data.folds
    counts = {len(each.results) // (folds or 1) for each in series}
    seeds = max(counts)
    if seeds > 1 or folds is not None:
        upto = "up to " if len(counts) > 1 else ""
        of = [*([f"{upto}{seeds} seeds"] if seeds > 1 else []), *([f"{folds} folds"] if folds is not None else [])]
        parts.append(f"means over {' of '.join(of)}" + ("" if intervals else ", with the lowest and the highest"))
    if intervals and any(each.gain_interval is not None for each in series):
        over = "validation images and seeds" if seeds > 1 else "validation images, not over seeds"
        parts.append(f"bars: 95 % intervals over {over}")
    return "; ".join([*parts, *_left_out(sweep), *(sweep.notes if intervals else ())])


def describe_trials(sweep: Sweep) -> str:
    """Describe in a line how many trials a picture of the whole sweep rests on, and what it leaves out."""
    return "; ".join([f"{sweep.experiment.name}: {_count(len(sweep.complete), 'trial')}", *_left_out(sweep)])


def _left_out(sweep: Sweep) -> list[str]:
    states = describe_states(trial for trial in sweep.trials if trial.state not in {"complete", "put_off"})
    return [f"not shown: {states}"] if states else []


def epochs_to_converge(result: RunResult) -> int:
    """Count the epochs until a run first has 95 % of its own highest validation accuracy; 0 without a history."""
    highest = max((epoch.val_acc for epoch in result.history if math.isfinite(epoch.val_acc)), default=math.nan)
    reached = (i for i, epoch in enumerate(result.history, start=1) if epoch.val_acc >= CONVERGED * highest)
    return next(reached, len(result.history))


def seconds_to_converge(result: RunResult) -> float:
    """Sum the seconds of those epochs, without loading."""
    return sum(epoch.duration_s for epoch in result.history[: epochs_to_converge(result)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
