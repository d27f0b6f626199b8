"""A sweep's trials, and the answers that follow from them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, final

from orchestrator import names
from orchestrator.config.models import Experiment
from orchestrator.errors import NotFoundError
from orchestrator.records.labels import TrialLabel, find_varied, label_point, label_trials
from orchestrator.records.trials import TrialRecord, results_of, superseded
from orchestrator.results import tables
from orchestrator.results.choosing import BASES, KNEE, Chosen, choose_best, cost, explain_choice, find_highest, gain
from orchestrator.results.curves import build_history_rows, history_of
from orchestrator.results.effects import EFFECT_TYPES, BlockEffects, build_effects
from orchestrator.results.finding import find_trial
from orchestrator.results.judgement import Judgement, Recommendation
from orchestrator.results.neighbours import COMPARISON_TYPES, build_comparison_row
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.scores import score_metrics
from orchestrator.results.tables import Row
from orchestrator.results.trial import Trial
from orchestrator.stats import pareto
from orchestrator.stats.uncertainty import Interval
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from pandas import DataFrame


def load_sweep(name: str, root: str | Path = DEFAULT_ROOT) -> "Sweep":
    """Read what the sweep of an experiment knows so far; it may still run.

    Raises:
        NotFoundError: There is no such sweep under `root`.
        SetupError: The store cannot be read.
    """
    from orchestrator.search import read_study

    place = Root.at(root)
    experiment, trials = read_study(place, name)
    return Sweep(place, experiment, trials)


@final
class Sweep:
    """A sweep's trials, and what follows from them. A snapshot: load it again to see more.

    Accuracies are fractions in [0, 1]. What a trial's row says is the mean over its seeds. A trial that repeats an
    earlier one has a row with that trial's values, but is no candidate for the front or for `best`.
    """

    def __init__(
        self,
        root: Root,
        experiment: Experiment,
        trials: Sequence[TrialRecord],
        predicted: PredictedTrials | None = None,
    ) -> None:
        """Take a snapshot; `predicted` knows what an earlier one of the same sweep has read already."""
        self.root = root
        self.experiment = experiment
        self.trials = tuple(sorted(trials, key=lambda trial: trial.number))
        self._superseded = superseded(self.trials)
        self.front: tuple[TrialRecord, ...] = tuple(pareto.pareto_front(self.candidates, gain=gain, cost=cost))
        """Trials on the front, by rising `trainable_params`."""
        self._predicted = predicted or PredictedTrials(root)
        self._front_numbers = frozenset(trial.number for trial in self.front)

    def __repr__(self) -> str:
        return f"<Sweep {self.experiment.name!r}: {len(self.trials)} trials, {len(self.front)} on the front>"

    @property
    def highest(self) -> TrialRecord | None:
        """The trial with the highest measured `val_acc`, that may be luck; None before one is complete."""
        return find_highest(self.candidates) if self.candidates else None

    @property
    def candidates(self) -> tuple[TrialRecord, ...]:
        """Complete trials with finite objectives, without repetitions and those answered later with more seeds."""
        return tuple(
            trial
            for trial in self.trials
            if trial.state == "complete"
            and trial.repeats is None
            and trial.number not in self._superseded
            and math.isfinite(gain(trial))
            and math.isfinite(cost(trial))
        )

    @property
    def open_failures(self) -> tuple[TrialRecord, ...]:
        """Trials that failed, and whose point no later trial has answered or begun again; by number."""
        newest = {(trial.frozen, trial.hyperparameters): trial.number for trial in self.trials}
        return tuple(
            trial
            for trial in self.trials
            if trial.has_failed and newest[trial.frozen, trial.hyperparameters] == trial.number
        )

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The hyperparameters that vary, in a fixed order: each is a column, and part of each trial's label."""
        return find_varied(self.experiment, self.trials)

    @cached_property
    def _labels(self) -> dict[int, TrialLabel]:
        return label_trials(self.candidates, self.varied)

    def label(self, trial: TrialRecord) -> TrialLabel:
        """Name a trial: frozen set, values of what varies, and the number where that does not tell candidates apart."""
        return self._labels.get(trial.number) or label_point(trial.frozen, trial.hyperparameters, self.varied)

    def is_on_front(self, trial: TrialRecord) -> bool:
        """Say whether no other trial beats this one."""
        return trial.number in self._front_numbers

    def interval(self, trial: TrialRecord) -> Interval | None:
        """Give the 95 % interval of a trial's `val_acc`; see `PredictedTrials.interval`. The files are read once."""
        return self._predicted.interval(trial)

    def test_interval(self, trial: TrialRecord) -> Interval | None:
        """Give the 95 % interval of a trial's `test_acc` likewise."""
        return self._predicted.interval(trial, "test")

    @cached_property
    def judgement(self) -> Judgement | None:
        """What the data can tell apart; None where no trial is complete or one has no predictions that can be read."""
        return self._judge(self.candidates)

    @cached_property
    def effects(self) -> BlockEffects:
        """What freezing each block changes, in pairs of candidates that differ in it alone."""
        return build_effects(self.candidates, self.experiment.blocks, self._predicted)

    def trial_rows(self) -> list[Row]:
        """Give one row a trial, by number, as plain values; None where a value is missing."""
        return [self._row(trial) for trial in self.trials]

    def run_rows(self) -> list[Row]:
        """Give one row a run (trial and seed) that has ended, as plain values; None where a value is missing."""
        return [
            tables.build_run_row(trial, run, self.root, on_front=self.is_on_front(trial))
            for trial in self.trials
            for run in trial.runs
        ]

    def front_rows(self) -> list[Row]:
        """Give the rows of the trials on the front, by rising `trainable_params`, and what the test split says of them.

        `test_drop` is validation minus test accuracy: what choosing by validation made of it, and chance.
        """
        return [self._row(trial) | self._test_row(trial) for trial in self.front]

    def comparison_rows(self) -> list[Row]:
        """Compare each trial on the front with the next; see `comparisons`. Empty without predictions."""
        judgement = self.judgement
        return (
            []
            if judgement is None
            else [build_comparison_row(each, self._labels) for each in judgement.neighbours(self.front)]
        )

    def history_rows(self, key: str | int) -> list[Row]:
        """Give one row a seed and epoch of a trial, as plain values. For `key` see `history`."""
        return build_history_rows(self._find_trial(key), self.root)

    def trials_dataframe(self) -> "DataFrame":
        """Give `trial_rows` as a data frame with typed columns."""
        return tables.build_frame(self.trial_rows(), tables.TRIAL_TYPES)

    def runs_dataframe(self) -> "DataFrame":
        """Give `run_rows` as a data frame with typed columns."""
        return tables.build_frame(self.run_rows(), tables.RUN_TYPES)

    def pareto_front(self) -> "DataFrame":
        """Give `front_rows` as a data frame with typed columns."""
        return tables.build_frame(self.front_rows(), tables.FRONT_TYPES)

    def comparisons(self) -> "DataFrame":
        """Compare each trial on the front with the next, of more parameters: is it really better?

        `difference` is how much more accurate `other` is than `cheaper`, a fraction, with its 95 % interval `low` to
        `high`; `p_value_adjusted` is corrected for the number of comparisons (Holm).
        """
        return tables.build_frame(self.comparison_rows(), COMPARISON_TYPES)

    def supported_front(self) -> "DataFrame":
        """Give the rows of the supported front by rising `trainable_params`: the fewest trials that stand for all.

        No trial left out is significantly better than a member with as few or fewer parameters.

        Raises:
            NotFoundError: No trial is complete, or one of them has no predictions.
        """
        rows = [self._row(trial) for trial in self._require_judgement().supported]
        return tables.build_frame(rows, tables.TRIAL_TYPES)

    def recommend(self, margin: float | None = None) -> Recommendation:
        """Recommend the fewest parameters whose accuracy is close enough to the highest measured.

        Args:
            margin: Accuracy that may be lost, a fraction in [0, 1]; None: one standard error of the paired difference.

        Raises:
            ConfigError: `margin` is not in [0, 1].
            NotFoundError: No trial is complete, or one of them has no predictions.
        """
        return self._require_judgement().recommend(margin)

    def block_effects(self) -> "DataFrame":
        """Give one row a block, what freezing it changes, as a data frame with typed columns."""
        return tables.build_frame(self.effects.rows(), EFFECT_TYPES)

    def history(self, key: str | int) -> "DataFrame":
        """Give the curves of a trial: one row a seed and epoch (from 1).

        Args:
            key: A trial's number, or a frozen set's key with its blocks in any order; where more varies, followed by
                its values, as in `stem+layer1 lr=0.003`. Of trials that are the same but for their seeds the complete
                one with the most answers. A trial that a race dropped has the epochs until then.

        Raises:
            ConfigError: A name in the key is no block of the backbone, or trials that differ have the key.
            NotFoundError: No such trial, or none of its runs has finished.
        """
        return tables.build_frame(self.history_rows(key), tables.HISTORY_TYPES)

    def best(
        self,
        max_trainable_params: int | None = None,
        min_val_acc: float | None = None,
        *,
        rule: names.Rule = "supported",
    ) -> Trial:
        """Find the most accurate trial; its `rule` and `basis` say by which rule it is, and `explain` names others.

        Args:
            max_trainable_params: Only trials with at most so many trainable parameters.
            min_val_acc: Ask instead for the fewest parameters that reach this measured accuracy, a fraction in [0, 1];
                ties: higher accuracy. `rule` says nothing here.
            rule: `supported`: the highest `val_acc` among the supported front of the trials that fit, so that more
                parameters are chosen only where the data show that they help; where predictions are missing, as
                `point`. `point`: the highest `val_acc`; ties: fewer parameters, then the earlier trial.

        Raises:
            ConfigError: There is no such rule.
            NotFoundError: No complete trial fits; the message names the closest.
        """
        chosen = choose_best(
            self._require_candidates(),
            self._judge_again,
            describe=self._describe,
            name=self.experiment.name,
            max_trainable_params=max_trainable_params,
            min_val_acc=min_val_acc,
            rule=rule,
        )
        return self._trial(chosen.trial, chosen.rule, chosen.basis)

    def explain(self, found: Trial) -> str:
        """Say how the trial of `best` or `knee` stands to the highest measured and the recommended one, and why."""
        chosen = next(trial for trial in self.candidates if trial.number == found.number)
        choice = Chosen(trial=chosen, rule=found.rule, basis=found.basis)
        return explain_choice(choice, self.candidates, self.judgement, name=self._name, describe=self._describe)

    def knee(self) -> Trial:
        """Find the trial where the front bends, parameters on a logarithmic axis; see `orchestrator.stats.pareto.knee`.

        Raises:
            NotFoundError: No trial is complete.
        """
        self._require_candidates()
        found = pareto.knee(self.front, gain=gain, cost=cost)
        if found is None:
            raise NotFoundError(f"the sweep {self.experiment.name!r} has no front yet")
        return self._trial(found, KNEE, BASES[KNEE])

    def summary_metrics(self) -> dict[str, float]:
        """Sum the sweep up in numbers; what needs a complete trial is left out before there is one.

        The hypervolume's reference is accuracy 0 at ten times the network's parameters, so that a trial that trains
        everything counts too, with one decade.
        """
        metrics = {
            names.N_TRIALS: float(len(self.trials)),
            names.N_FAILED: float(sum(trial.has_failed for trial in self.trials)),
            names.FRONT_SIZE: float(len(self.front)),
        }
        if any(trial.state == "pruned" for trial in self.trials):
            metrics[names.N_PRUNED] = float(sum(trial.state == "pruned" for trial in self.trials))
        if not self.front:
            return metrics
        points = [(gain(trial), cost(trial)) for trial in self.front]
        metrics[names.HYPERVOLUME] = pareto.hypervolume(points, reference=self._reference())
        if self.judgement is not None:
            metrics[names.SUPPORTED_SIZE] = float(len(self.judgement.supported))
            low, high = self.judgement.hypervolume_interval
            metrics |= {names.HYPERVOLUME_LOW: low, names.HYPERVOLUME_HIGH: high}
        metrics[names.BEST_VAL_ACC] = gain(self.front[-1])
        return metrics | score_metrics(self.candidates)

    def _reference(self) -> tuple[float, float]:
        return 0.0, 10.0 * tables.count_params(self.front)

    def _judge(self, trials: Sequence[TrialRecord]) -> Judgement | None:
        correct = self._predicted.align(trials)
        if correct is None:
            return None
        labels = label_trials(trials, self.varied)
        return Judgement(trials, correct, self._reference(), labels)

    def _judge_again(self, trials: Sequence[TrialRecord]) -> Judgement | None:
        """What the data can tell apart of some of the candidates."""
        return self.judgement if len(trials) == len(self.candidates) else self._judge(trials)

    def _require_judgement(self) -> Judgement:
        self._require_candidates()
        if self.judgement is None:
            raise NotFoundError(
                f"some complete trial of {self.experiment.name!r} has no predictions of the same images as the others",
                hint="an older version trained it: `--fresh` trains everything anew",
            )
        return self.judgement

    def _require_candidates(self) -> tuple[TrialRecord, ...]:
        candidates = self.candidates
        if not candidates:
            states = describe_states(self.trials) or "none has started"
            raise NotFoundError(
                f"no trial of {self.experiment.name!r} is complete yet: {states}",
                hint=f"go on with `orchestrator sweep {self.experiment.name}{self.root.option}`",
            )
        return candidates

    def _find_trial(self, key: str | int) -> TrialRecord:
        with_curves = [trial for trial in self.trials if any(history_of(run, self.root) for run in trial.runs)]
        return find_trial(key, self.experiment, self.trials, with_curves)

    def _trial(self, trial: TrialRecord, rule: str, basis: str) -> Trial:
        row = self._row(trial)
        values: dict[str, Any] = {field.name: row[field.name] for field in fields(Trial) if field.name in row}
        checkpoints = {
            run.seed: path for run in trial.runs if (path := tables.checkpoint_path(run, self.root)) is not None
        }
        return Trial(
            number=trial.number,
            hyperparameters=trial.hyperparameters,
            label=str(self.label(trial)),
            rule=rule,
            basis=basis,
            checkpoints=checkpoints,
            **values,
        )

    def _name(self, trial: TrialRecord) -> str:
        return f"trial {trial.number} ({self.label(trial)})"

    def _describe(self, trial: TrialRecord) -> str:
        return f"{self._name(trial)}: val_acc {gain(trial):.4f}, {cost(trial):,.0f} parameters"

    def _row(self, trial: TrialRecord) -> Row:
        return tables.build_trial_row(trial, self.root, on_front=self.is_on_front(trial), belief=self._believe(trial))

    def _believe(self, trial: TrialRecord) -> Row:
        low, high = self.interval(trial) or (None, None)
        judged = self.judgement
        known = judged is not None and judged.front_probability(trial) is not None
        return {
            names.VAL_ACC_LOW: low,
            names.VAL_ACC_HIGH: high,
            names.VAL_ACC_CORRECTED: judged.corrected(trial) if judged else None,
            names.P_FRONT: judged.front_probability(trial) if judged else None,
            names.SUPPORTED: judged.is_supported(trial) if judged and known else None,
        }

    def _test_row(self, trial: TrialRecord) -> Row:
        low, high = self.test_interval(trial) or (None, None)
        drops = [result.val_acc - result.test_acc for result in results_of(trial)]
        drop = fmean(drops) if drops else None
        return {names.TEST_ACC_LOW: low, names.TEST_ACC_HIGH: high, names.TEST_DROP: drop}


def describe_states(trials: Iterable[TrialRecord]) -> str:
    """Count trials by state: `2 failed, 1 running`; empty where there is none."""
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.most_common())
