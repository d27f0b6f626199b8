"""A sweep's trials at one moment, and what follows from them alone."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import final

from orchestrator.config.models import Experiment
from orchestrator.errors import NotFoundError
from orchestrator.records.labels import TrialLabel, find_varied, label_point, label_trials
from orchestrator.records.trials import TrialRecord, superseded
from orchestrator.results import tables
from orchestrator.stats import pareto
from orchestrator.storage.layout import Root


@final
class Snapshot:
    """A sweep's trials at one moment. See `Sweep`, which shows all of it."""

    def __init__(self, root: Root, experiment: Experiment, trials: Sequence[TrialRecord]) -> None:
        self.root = root
        self.experiment = experiment
        self.trials = tuple(sorted(trials, key=lambda trial: trial.number))
        old = superseded(self.trials)
        self.candidates = tuple(
            trial
            for trial in self.trials
            if trial.state == "complete"
            and trial.repeats is None
            and trial.number not in old
            and math.isfinite(gain(trial))
            and math.isfinite(cost(trial))
        )
        self.front = tuple(pareto.pareto_front(self.candidates, gain=gain, cost=cost))
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
        """Accuracy and parameters that the hypervolume is measured from: 0 at ten times the network's parameters.

        So a trial that trains everything counts too, with one decade.
        """
        return 0.0, 10.0 * tables.count_params(self.front)

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
        """Return a candidate's name with its accuracy and parameters."""
        return f"{self.name(trial)}: val_acc {gain(trial):.4f}, {cost(trial):,.0f} parameters"

    def require_candidates(self) -> tuple[TrialRecord, ...]:
        """Return the candidates.

        Raises:
            NotFoundError: There is none.
        """
        if not self.candidates:
            name, states = self.experiment.name, describe_states(self.trials) or "none has started"
            raise NotFoundError(
                f"no trial of {name!r} is complete yet: {states}",
                hint=f"go on with `orchestrator sweep {name}{self.root.option}`",
            )
        return self.candidates


def gain(trial: TrialRecord) -> float:
    """Return what the front maximises: `val_acc`; NaN where the trial is not complete."""
    return math.nan if trial.val_acc is None else trial.val_acc


def cost(trial: TrialRecord) -> float:
    """Return what the front minimises: `trainable_params`; NaN where the trial is not complete."""
    return math.nan if trial.trainable_params is None else trial.trainable_params


def describe_states(trials: Iterable[TrialRecord]) -> str:
    """Count trials by state: `2 failed, 1 running`; empty where there is none."""
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.most_common())
