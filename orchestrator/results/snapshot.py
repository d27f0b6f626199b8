"""A sweep's trials at one moment, and what follows from them alone."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import final

from orchestrator import names
from orchestrator.config.models import Experiment
from orchestrator.errors import NotFoundError
from orchestrator.records.labels import TrialLabel, find_varied, label_point, label_trials
from orchestrator.records.trials import TrialRecord, results_of, superseded
from orchestrator.results import tables
from orchestrator.results.objective import Objective
from orchestrator.stats import pareto
from orchestrator.storage.layout import Root


@final
class Snapshot:
    """A sweep's trials at one moment, and the front between their gains and costs. See `Sweep`, which shows it."""

    def __init__(self, root: Root, experiment: Experiment, trials: Sequence[TrialRecord], objective: Objective) -> None:
        self.root = root
        self.experiment = experiment
        self.objective = objective
        self.trials = tuple(sorted(trials, key=lambda trial: trial.number))
        old = superseded(self.trials)
        self.complete = tuple(
            trial
            for trial in self.trials
            if trial.state == "complete"
            and trial.repeats is None
            and trial.number not in old
            and math.isfinite(math.nan if trial.val_acc is None else trial.val_acc)
            and trial.trainable_params is not None
        )
        """Complete trials with a finite accuracy, each point of the space once, whatever the objective."""
        self.candidates = tuple(
            trial
            for trial in self.complete
            if math.isfinite(objective.gain(trial)) and math.isfinite(objective.cost(trial))
        )
        self.front = tuple(pareto.pareto_front(self.candidates, gain=objective.gain, cost=objective.cost))
        self._front_numbers = frozenset(trial.number for trial in self.front)

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The hyperparameters that vary, in a fixed order."""
        return find_varied(self.experiment, self.trials)

    @cached_property
    def labels(self) -> dict[int, TrialLabel]:
        """Labels of the candidates, by number."""
        return label_trials(self.candidates, self.varied)

    @property
    def reference(self) -> tuple[float, float]:
        """Gain and cost that the hypervolume is measured from, the gain so that higher is better.

        A share of 0, or the loss of saying all classes to be as probable; and ten times the network's parameters, or
        ten times the highest of another cost. So a trial that trains everything counts too, with one decade.
        """
        worst = self.objective.of_gain.scale.low
        if not math.isfinite(worst):
            classes = [len(result.class_names) for trial in self.candidates for result in results_of(trial)]
            worst = -math.log(max(classes))
        if self.objective.config.cost == names.TRAINABLE_PARAMS:
            return worst, 10.0 * tables.count_params(self.front)
        return worst, 10.0 * max(self.objective.cost(trial) for trial in self.candidates)

    def is_on_front(self, trial: TrialRecord) -> bool:
        """Return whether no other trial beats this one."""
        return trial.number in self._front_numbers

    def label(self, trial: TrialRecord) -> TrialLabel:
        """Return the label of a trial."""
        return self.labels.get(trial.number) or label_point(trial.frozen, trial.hyperparameters, self.varied)

    def name(self, trial: TrialRecord) -> str:
        """Return a trial's number and label, for a sentence."""
        return f"trial {trial.number} ({self.label(trial)})"

    def describe(self, trial: TrialRecord) -> str:
        """Return a candidate's name with its gain and cost."""
        return f"{self.name(trial)}: {self.objective.describe(trial)}"

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the gain and the cost: who has none, and where the machine may be the difference."""
        left_out = self.objective.explain_left_out(self.complete)
        unlike = self.objective.of_cost.explain(self.candidates)
        return tuple(left_out if unlike is None else [*left_out, unlike])

    def require_candidates(self) -> tuple[TrialRecord, ...]:
        """Return the candidates.

        Raises:
            NotFoundError: There is none.
        """
        if not self.candidates:
            name, states = self.experiment.name, describe_states(self.trials) or "none has started"
            if self.notes:
                raise NotFoundError(
                    f"no trial of {name!r} has both {self.objective.config.gain} and {self.objective.config.cost}: "
                    + "; ".join(self.notes),
                    hint="ask for another gain or cost, or train everything again with --fresh",
                )
            raise NotFoundError(
                f"no trial of {name!r} is complete yet: {states}",
                hint=f"go on with `orchestrator sweep {name}{self.root.option}`",
            )
        return self.candidates


def describe_states(trials: Iterable[TrialRecord]) -> str:
    """Count trials by state: `2 failed, 1 running`; empty where there is none."""
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.most_common())
