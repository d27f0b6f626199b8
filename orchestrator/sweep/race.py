"""The race as it is run: what stands on disk becomes the field, and the next move becomes runs.

Nothing of a race is kept but what its runs leave: `rung-NNN.json` where they pause, `result.json` and `predictions.npz`
where they end, and the dropped trials in the study. So a race that died is gone on with by looking again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.interfaces import Search
from orchestrator.records.prepared import Prepared
from orchestrator.records.runs import EpochMetrics, RungResult, RunResult
from orchestrator.records.spec import Choice
from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.storage.layout import PREDICTIONS_FILE
from orchestrator.storage.ledger import Ledger
from orchestrator.storage.predictions import read_predictions
from orchestrator.sweep.decisions import Drop, Entrant, Leg, Rules, Standing, best_so_far, next_move
from orchestrator.sweep.jobs import Job, TrialRuns
from orchestrator.sweep.strategy import NextStep, build_job, fail_or_put_off


@dataclass(slots=True, kw_only=True)
class _Lane:
    """A trial in the race, from its start to its end.

    Attributes:
        choice: Its point of the search space.
        trial: Its runs, while the search waits to hear of it.
        job: Its first run, while that is paused.
        dropped_at: Rung at which it was dropped.
        out: Whether a run of it was lost or stopped in this call.
    """

    choice: Choice
    trial: TrialRuns | None = None
    job: Job | None = None
    dropped_at: int | None = None
    out: bool = False


class RaceStrategy:
    """Drops trials at rungs, and gives more seeds to those whose place in the recommendation or on the front is open.

    A trial that is not dropped is complete when the race is over, or was stopped.

    Args:
        prepared: What to run.
        search: Knows the trials so far. It plans a finite space.
        ledger: Knows how far their runs have come.
    """

    def __init__(self, prepared: Prepared, search: Search, ledger: Ledger) -> None:
        self._prepared = prepared
        self._search = search
        self._evidence = _Evidence(prepared, ledger)
        self._left = search.planned() or []
        lanes = {_choice_of(trial): trial.pruned_after for trial in search.trials() if trial.is_settled}
        lanes |= dict.fromkeys(self._left)
        self._lanes = [
            _Lane(choice=choice, dropped_at=lanes[choice])
            for choice in sorted(lanes, key=self._order)
            if choice.frozen in prepared.costs
        ]
        self._rules = build_rules(prepared, len(self._lanes))
        self._outstanding = 0

    def _order(self, choice: Choice) -> tuple[int, float, str, str]:
        """Sort as a plan does; decisions draw random numbers by position, so it depends on nothing that was done."""
        blocks, cost = self._prepared.experiment.blocks, self._prepared.costs.get(choice.frozen)
        return (
            choice.frozen.prefix_length(blocks),
            -cost.gflops_train_per_image if cost is not None else 0.0,
            choice.frozen.key,
            choice.hyperparameters.model_dump_json(),
        )

    @property
    def left(self) -> Sequence[Choice]:
        """Points that are neither complete nor dropped; where there is none, those that get one more seed next."""
        if self._left:
            return self._left
        return [self._lanes[leg.entrant].choice for leg in next_move(self._field(self._lanes), self._rules).legs]

    @property
    def paused(self) -> Sequence[Job]:
        """Runs that have paused and not gone on."""
        return [lane.job for lane in self._lanes if lane.job is not None]

    @property
    def under_way(self) -> Sequence[TrialRuns]:
        """Trials that were proposed and that the search has not been told of."""
        return [lane.trial for lane in self._lanes if lane.trial is not None]

    def settle(self, prepared: Prepared) -> None:
        """Take over what is to run: so many runs at a time decide how many seeds are tried at once."""
        self._prepared = prepared
        self._rules = build_rules(prepared, len(self._lanes))

    def next_step(self) -> NextStep | None:
        """Describe what the race does next; None while runs are under way, and when it is over."""
        if self._outstanding:
            return None
        jobs = self._open_left() or self._take_up_finished()
        drops: list[tuple[Job, str]] = []
        if not jobs:
            racing = [lane for lane in self._lanes if not lane.out]
            move = next_move(self._field(racing), self._rules)
            jobs = [job for leg in move.legs for job in self._run(racing[leg.entrant], leg)]
            drops = [self._drop(racing[drop.entrant], drop) for drop in move.drops]
        self._outstanding = len(jobs) + len(drops)
        return NextStep(jobs=jobs, drops=drops) if self._outstanding else None

    def pause(self, job: Job) -> None:
        """Keep a run until all of its rung have come."""
        self._lane(job).job = job
        self._outstanding -= 1

    def end_run(self, job: Job, record: RunRecord) -> TrialRecord | None:
        """Tell the search of a trial that was dropped, lost or stopped; one that is whole stays in the race."""
        lane, trial = self._lane(job), job.trial
        if lane.job is job:  # a paused run that is put off
            lane.job = None
        else:
            self._outstanding -= 1
        trial.add(record)
        if trial.waiting:
            return None
        trial.runs.sort(key=lambda run: self._evidence.seeds.index(run.seed))
        if record.pruned_after is not None:
            ended = self._search.prune(trial.proposal.number, record.error or "", trial.runs)
            lane.dropped_at = record.pruned_after
        else:
            failed = fail_or_put_off(self._search, trial)
            if failed is None:
                return None
            ended, lane.out = failed, True
        lane.trial = None
        return ended

    def close(self) -> list[TrialRecord]:
        """Complete the trials whose runs are whole: the race is over, or was stopped."""
        ended = []
        for lane in self._lanes:
            if lane.trial is not None and not lane.trial.waiting:
                ended.append(self._search.tell(lane.trial.proposal.number, lane.trial.runs))
                lane.trial = None
        return ended

    def _open_left(self) -> list[Job]:
        """Begin the trials that the search waits for, each with the runs that it has already."""
        jobs = []
        for lane in self._lanes:
            if lane.choice in self._left:
                jobs += self._open(lane, seeds=max(1, len(self._evidence.finished(lane.choice))))
        self._left = []
        return jobs

    def _take_up_finished(self) -> list[Job]:
        """Go on with paused runs that another sweep has finished meanwhile: they are answered."""
        found = [lane for lane in self._lanes if lane.job is not None and self._evidence.finished(lane.choice)]
        return [self._go_on(lane, None) for lane in found]

    @staticmethod
    def _go_on(lane: _Lane, until: int | None) -> Job:
        job, lane.job = lane.job, None
        if job is None:
            raise RuntimeError(f"{lane.choice.frozen} has no paused run")
        job.until = until
        return job

    def _open(self, lane: _Lane, *, seeds: int) -> list[Job]:
        trial = lane.trial = TrialRuns(proposal=self._search.start(lane.choice))
        first, *further = self._evidence.seeds[:seeds]
        until = self._rules.rungs[0] if len(self._rules.rungs) > 1 else None
        return [
            build_job(self._prepared, trial, first, until),
            *(build_job(self._prepared, trial, seed) for seed in further),
        ]

    def _run(self, lane: _Lane, leg: Leg) -> list[Job]:
        if leg.seed == 0 and lane.job is not None:
            return [self._go_on(lane, leg.until)]
        if lane.trial is None:  # complete by an earlier call
            return self._open(lane, seeds=leg.seed + 1)
        return [build_job(self._prepared, lane.trial, self._evidence.seeds[leg.seed], leg.until)]

    def _drop(self, lane: _Lane, drop: Drop) -> tuple[Job, str]:
        return self._go_on(lane, drop.rung), (
            f"pruned after {drop.rung} epochs: it ends on the front with a probability of {drop.probability:.2g}, "
            f"less than search.race.drop_below={self._rules.drop_below:g}"
        )

    def _field(self, lanes: Sequence[_Lane]) -> list[Entrant]:
        return [self._evidence.describe(lane.choice, lane.dropped_at, self._rules.rungs) for lane in lanes]

    def _lane(self, job: Job) -> _Lane:
        return next(lane for lane in self._lanes if lane.trial is job.trial)


def build_rules(prepared: Prepared, trials: int) -> Rules:
    """Write down the rules of an experiment's race of so many trials."""
    experiment = prepared.experiment
    race, budget = experiment.search.race, experiment.search.budget
    epochs = budget.epochs
    if not budget.is_given:
        epochs = trials * len(experiment.search.seeds) * experiment.trainer.max_epochs
    return Rules(
        rungs=experiment.rungs,
        drop_below=race.drop_below,
        max_seeds=race.max_seeds,
        limits=tuple(math.inf if limit is None else limit for limit in (epochs, budget.minutes, budget.gflops)),
        at_once=experiment.execution.runs_at_a_time,
        margin=experiment.search.recommend.margin,
        confidence=experiment.search.recommend.confidence,
    )


@dataclass(slots=True)
class _Shown:
    """What a run of a seed has left on disk."""

    rungs: list[RungResult] = field(default_factory=list)
    result: RunResult | None = None
    standing: Standing | None = None

    @property
    def history(self) -> Sequence[EpochMetrics]:
        if self.result is not None:
            return self.result.history
        return self.rungs[-1].history if self.rungs else ()


class _Evidence:
    """What the runs of a race have left on disk, read once each."""

    def __init__(self, prepared: Prepared, ledger: Ledger) -> None:
        self._prepared = prepared
        self._ledger = ledger
        self._read: dict[str, _Shown] = {}
        first = prepared.experiment.search.seeds
        most = max(len(first), prepared.experiment.search.race.max_seeds)
        self.seeds = (*first, *range(max(first) + 1, max(first) + 1 + most - len(first)))
        """All that a trial may have, in their order."""

    def finished(self, choice: Choice) -> list[Standing]:
        """List how its runs ended, by seed, up to the first that has not."""
        found = []
        for seed in self.seeds:
            shown = self._show(choice, seed)
            if shown.standing is None:
                break
            found.append(shown.standing)
        return found

    def describe(self, choice: Choice, dropped_at: int | None, rungs: Sequence[int]) -> Entrant:
        """Describe a trial by what stands on disk."""
        runs = self.finished(choice)
        shown = [self._show(choice, seed) for seed in self.seeds[: len(runs) + 1]]
        reached = {}
        for rung in rungs[:-1]:
            stood = next((each for each in shown[0].rungs if each.epochs >= rung), None)
            if stood is not None:
                reached[rung] = Standing(correct=np.array(stood.val_correct), curve=_curve(stood.history))
        return Entrant(
            params=self._prepared.costs[choice.frozen].trainable_params,
            frozen=frozenset(choice.frozen.parts),
            rungs=reached,
            runs=tuple(runs),
            dropped_at=dropped_at,
            spent=self._cost(choice, [metrics for each in shown for metrics in each.history]),
            costs=tuple(self._cost(choice, each.history) for each in shown[: len(runs)]),
            next_cost=self._next_cost(choice, shown[0].history),
        )

    def _cost(self, choice: Choice, epochs: Sequence[EpochMetrics]) -> tuple[float, float, float]:
        images = self._prepared.data.split_sizes["train"]
        gflops = self._prepared.costs[choice.frozen].gflops_train_per_image * images
        return float(len(epochs)), sum(metrics.duration_s for metrics in epochs) / 60, gflops * len(epochs)

    def _next_cost(self, choice: Choice, first: Sequence[EpochMetrics]) -> tuple[float, ...]:
        end = self._prepared.experiment.trainer.max_epochs
        return tuple(cost * end / max(1, len(first)) for cost in self._cost(choice, first))

    def _show(self, choice: Choice, seed: int) -> _Shown:
        """Read what a run has left; what has ended is not read again."""
        fingerprint = self._prepared.build_spec(choice, seed).fingerprint
        known = self._read.get(fingerprint)
        if known is not None and known.standing is not None:
            return known
        shown = _Shown(rungs=self._ledger.find_rungs(fingerprint), result=self._ledger.find_result(fingerprint))
        if shown.result is not None:
            path = self._ledger.directory(fingerprint) / PREDICTIONS_FILE
            correct = read_predictions(path)["validation"].correct
            shown.standing = Standing(correct=correct, curve=_curve(shown.result.history), finished=True)
        self._read[fingerprint] = shown
        return shown


def _curve(history: Sequence[EpochMetrics]) -> tuple[float, ...]:
    """Return the validation accuracy of the best weights so far after each epoch."""
    return tuple(history[epoch].val_acc for epoch in best_so_far([metrics.badness for metrics in history]))


def _choice_of(trial: TrialRecord) -> Choice:
    return Choice(frozen=trial.frozen, hyperparameters=trial.hyperparameters)
