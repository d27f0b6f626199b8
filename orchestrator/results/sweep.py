"""A sweep's trials, and the answers that follow from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

from orchestrator.config.models import Experiment
from orchestrator.config.objective import ObjectiveConfig, build_objective
from orchestrator.objectives import CostKey, GainKey, Rule
from orchestrator.records.labels import TrialLabel
from orchestrator.records.trials import TrialRecord
from orchestrator.results import choosing
from orchestrator.results.belief import Belief
from orchestrator.results.choosing import Chosen
from orchestrator.results.effects import BlockEffects
from orchestrator.results.judgement import Judgement
from orchestrator.results.metrics import sum_up
from orchestrator.results.objective import Objective
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.recommending import Recommendation, recommend
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.sweep_tables import SweepTables
from orchestrator.results.tables import Row
from orchestrator.results.trial import Trial, build_trial
from orchestrator.stats.scales import Interval
from orchestrator.storage.layout import DEFAULT_ROOT, Root

if TYPE_CHECKING:
    from pandas import DataFrame


def load_sweep(name: str, root: str | Path = DEFAULT_ROOT) -> "Sweep":
    """Read what the sweep of an experiment knows so far; it may still run.

    Raises:
        NotFoundError: There is no such sweep under `root`.
        SetupError: The store cannot be read.

    Example:
        >>> from orchestrator import load_sweep
        >>> load_sweep("demo")
        <Sweep 'demo': 2 trials, 2 on the front>
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

    Example:
        >>> from orchestrator import load_sweep
        >>> sweep = load_sweep("demo")
        >>> sweep.trials_dataframe()[["trial", "frozen", "trainable_params"]]
           trial       frozen  trainable_params
        0      0         none          11178051
        1      1  stem+layer1          11020547
    """

    def __init__(
        self,
        root: Root,
        experiment: Experiment,
        trials: Sequence[TrialRecord],
        predicted: PredictedTrials | None = None,
        objective: ObjectiveConfig | None = None,
    ) -> None:
        """Take a snapshot.

        Args:
            root: Where the sweep lies.
            experiment: What it is of.
            trials: Its trials.
            predicted: Knows what an earlier snapshot of the same sweep has read already.
            objective: What its front is between; None: what `search.objective` says.
        """
        predicted = predicted or PredictedTrials(root)
        self.objective = Objective(objective or experiment.search.objective, predicted)
        """What the front is between."""
        self._snapshot = Snapshot(root, experiment, trials, self.objective)
        self._belief = Belief(self._snapshot, predicted)
        self.root = root
        self.experiment = experiment
        self.trials = self._snapshot.trials
        self.candidates = self._snapshot.candidates
        """Complete trials with finite objectives, without repetitions and those answered later with more seeds."""
        self.complete = self._snapshot.complete
        """The same, whether their gain and cost are known or not."""
        self.front = self._snapshot.front
        """Trials on the front, by rising cost."""
        self.tables = SweepTables(self._snapshot, self._belief)
        """What the methods that return rows or data frames show."""

    def __repr__(self) -> str:
        return f"<Sweep {self.experiment.name!r}: {len(self.trials)} trials, {len(self.front)} on the front>"

    def judged_by(self, gain: GainKey | None = None, cost: CostKey | None = None) -> "Sweep":
        """Judge the same trials by another gain or cost: all that the returned sweep says is of these.

        Nothing is trained: gains come from the predictions that runs keep, costs from their results.

        Args:
            gain: `val_acc`, `balanced_accuracy`, `macro_f1` or `val_loss`, which is minimised; None: as here.
            cost: `trainable_params`, `gflops_train_per_image`, `s_per_epoch`, `duration_s`, `peak_memory_mb` or
                `energy_wh`; None: as here. Seconds and watt-hours are those of trials whose runs trained here in one
                piece; `notes` names the others.

        Raises:
            ConfigError: There is no such gain or cost.
            NotFoundError: Trials are complete, and none of them has such a gain or cost.

        Example:
            >>> from orchestrator import load_sweep
            >>> sweep = load_sweep("demo").judged_by(gain="val_loss", cost="gflops_train_per_image")
            >>> sweep.objective.config.gain, len(sweep.candidates)
            ('val_loss', 2)
        """
        before = self.objective.config
        wanted = build_objective(gain or before.gain, cost or before.cost)
        if wanted == before:
            return self
        judged = Sweep(self.root, self.experiment, self.trials, self._belief.predicted, wanted)
        if self.candidates:
            judged._snapshot.require_candidates()
        return judged

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the gain and the cost: who has none, and where the machine may be the difference."""
        return self._snapshot.notes

    @property
    def highest(self) -> TrialRecord | None:
        """The trial with the highest measured `val_acc`, that may be luck; None before one is complete."""
        return choosing.find_most_accurate(self._snapshot)

    @property
    def open_failures(self) -> tuple[TrialRecord, ...]:
        """Trials that failed, and whose point no later trial has answered or begun again; by number."""
        newest = {(trial.frozen, trial.hyperparameters): trial.number for trial in self.trials}
        return tuple(
            trial
            for trial in self.trials
            if trial.has_failed and newest[trial.frozen, trial.hyperparameters] == trial.number
        )

    @property
    def varied(self) -> tuple[str, ...]:
        """The hyperparameters that vary, in a fixed order: each is a column, and part of each trial's label."""
        return self._snapshot.varied

    @property
    def judgement(self) -> Judgement | None:
        """What the data can tell apart; None where no trial is complete or one has no predictions that can be read."""
        return self._belief.judgement

    @property
    def effects(self) -> BlockEffects:
        """What freezing each block changes, in pairs of candidates that differ in it alone."""
        return self._belief.effects

    def label(self, trial: TrialRecord) -> TrialLabel:
        """Name a trial: frozen set, values of what varies, and the number where that does not tell candidates apart."""
        return self._snapshot.label(trial)

    def is_on_front(self, trial: TrialRecord) -> bool:
        """Return whether no other trial beats this one."""
        return self._snapshot.is_on_front(trial)

    def interval(self, trial: TrialRecord) -> Interval | None:
        """Return the 95 % interval of a trial's `val_acc`; see `PredictedTrials.interval`. Files are read once."""
        return self._belief.predicted.interval(trial)

    def gain_interval(self, trial: TrialRecord) -> Interval | None:
        """Return the 95 % interval of a trial's gain likewise."""
        return self._belief.predicted.interval(trial, gain=self.objective.of_gain)

    def test_interval(self, trial: TrialRecord) -> Interval | None:
        """Return the 95 % interval of a trial's `test_acc` likewise."""
        return self._belief.predicted.interval(trial, "test")

    def trial_rows(self) -> list[Row]:
        """Return one row a trial, by number, as plain values; None where a value is missing."""
        return self.tables.trials().rows

    def run_rows(self) -> list[Row]:
        """Return one row a run (trial and seed) that has ended, as plain values; None where a value is missing."""
        return self.tables.runs().rows

    def front_rows(self) -> list[Row]:
        """Return the rows of the trials on the front, by rising cost, and what the test split says.

        `test_drop` is validation minus test accuracy: what choosing by validation made of it, and chance.
        """
        return self.tables.front().rows

    def comparison_rows(self) -> list[Row]:
        """Compare each trial on the front with the next; see `comparisons`. Empty without predictions."""
        return self.tables.comparisons().rows

    def history_rows(self, key: str | int) -> list[Row]:
        """Return one row a seed and epoch of a trial, as plain values. For `key` see `history`."""
        return self.tables.history(key).rows

    def trials_dataframe(self) -> "DataFrame":
        """Return `trial_rows` as a data frame with typed columns."""
        return self.tables.trials().frame()

    def runs_dataframe(self) -> "DataFrame":
        """Return `run_rows` as a data frame with typed columns."""
        return self.tables.runs().frame()

    def pareto_front(self, gain: GainKey | None = None, cost: CostKey | None = None) -> "DataFrame":
        """Return `front_rows` as a data frame with typed columns.

        Args:
            gain: What it seeks, and `cost` what it saves; see `judged_by`, also for what is raised.
            cost: None: as the sweep has it.
        """
        return self.judged_by(gain, cost).tables.front().frame()

    def comparisons(self, gain: GainKey | None = None, cost: CostKey | None = None) -> "DataFrame":
        """Compare each trial on the front with the next, of a higher cost: is it really better?

        `difference` is how much better `other` is than `cheaper`, with its 95 % interval `low` to `high`: more
        accurate by this fraction, or less in loss by so many nats. `p_value_adjusted` is corrected for the number of
        comparisons (Holm). For `gain` and `cost` see `judged_by`.
        """
        return self.judged_by(gain, cost).tables.comparisons().frame()

    def supported_front(self, gain: GainKey | None = None, cost: CostKey | None = None) -> "DataFrame":
        """Return the rows of the supported front by rising cost: the fewest trials that stand for all.

        No trial left out is significantly better than a member with as low or lower a cost. For `gain` and `cost` see
        `judged_by`.

        Raises:
            NotFoundError: No trial is complete, or one of them has no predictions.
        """
        return self.judged_by(gain, cost).tables.supported().frame()

    def recommend(self, margin: float | None = None, confidence: float | None = None) -> Recommendation:
        """Recommend the fewest parameters that probably lose little against the best trial.

        Of all trials that lose at most `margin` with a probability of at least `confidence`, given what all of them
        predict, it has the fewest parameters. Where there is none, it is the one with the highest expected accuracy.

        Args:
            margin: Accuracy that may be lost, a fraction in [0, 1]; None: the experiment's `search.recommend.margin`,
                0.01 unless it is set.
            confidence: Probability with which no more may be lost, in [0, 1]; None: the experiment's
                `search.recommend.confidence`, 0.8 unless it is set.

        Raises:
            ConfigError: `margin` or `confidence` is not in [0, 1].
            NotFoundError: No trial is complete, or one of them has no predictions.
        """
        return recommend(self._snapshot, self._belief, self.tables, margin, confidence)

    def block_effects(self) -> "DataFrame":
        """Return one row a block, what freezing it changes, as a data frame with typed columns."""
        return self.tables.effects().frame()

    def history(self, key: str | int) -> "DataFrame":
        """Return the curves of a trial: one row a seed and epoch (from 1).

        Args:
            key: A trial's number, or a frozen set's key with its blocks in any order; where more varies, followed by
                its values, as in `stem+layer1 lr=0.003`. Of trials that are the same but for their seeds the complete
                one with the most answers. A trial that a race dropped has the epochs until then.

        Raises:
            ConfigError: A name in the key is no block of the backbone, or trials that differ have the key.
            NotFoundError: No such trial, or none of its runs has finished.
        """
        return self.tables.history(key).frame()

    def best(
        self,
        max_trainable_params: int | None = None,
        min_val_acc: float | None = None,
        *,
        rule: Rule = "expected",
    ) -> Trial:
        """Find the best trial; its `rule` and `basis` say by which rule it is, and `explain` names others.

        Args:
            max_trainable_params: Only trials with at most so many trainable parameters.
            min_val_acc: Ask instead for the fewest parameters that reach this measured accuracy, a fraction in [0, 1];
                ties: higher accuracy. `rule` says nothing here.
            rule: `expected`: the highest accuracy to expect, `val_acc_corrected`; trials that do not fit inform it
                too. `supported`: the highest `val_acc` among the supported front of the trials that fit, so that more
                parameters are chosen only where the data show that they help. Where predictions are missing, both are
                as `measured`: the highest `val_acc`. Ties: fewer parameters, then the earlier trial.

        Raises:
            ConfigError: There is no such rule.
            NotFoundError: No complete trial fits; the message names the closest.
        """
        chosen = choosing.choose_best(
            self._snapshot,
            self._belief,
            max_trainable_params=max_trainable_params,
            min_val_acc=min_val_acc,
            rule=rule,
        )
        return build_trial(chosen, self._snapshot, self.tables)

    def explain(self, found: Trial) -> str:
        """Explain how the trial of `best` or `knee` stands to the highest measured and the recommended one, and why."""
        chosen = next(trial for trial in self.candidates if trial.number == found.number)
        choice = Chosen(trial=chosen, rule=found.rule, basis=found.basis)
        return choosing.explain_choice(self._snapshot, self._belief, choice)

    def knee(self) -> Trial:
        """Find the trial where the front bends, cost on a logarithmic axis; see `orchestrator.stats.pareto.knee`.

        Raises:
            NotFoundError: No trial is complete.
        """
        return build_trial(choosing.choose_knee(self._snapshot), self._snapshot, self.tables)

    def summary_metrics(self) -> dict[str, float]:
        """Sum the sweep up in numbers; what needs a complete trial is left out before there is one.

        The hypervolume's reference is accuracy 0 at ten times the network's parameters, so that a trial that trains
        everything counts too, with one decade; of another cost, at ten times the highest.
        """
        return sum_up(self._snapshot, self._belief)
