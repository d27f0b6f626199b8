"""The tables of a sweep."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import final

from orchestrator import names
from orchestrator.records.trials import TrialRecord, results_of
from orchestrator.results import tables
from orchestrator.results.belief import Belief
from orchestrator.results.curves import build_history_rows, history_of
from orchestrator.results.effects import EFFECT_TYPES
from orchestrator.results.finding import find_trial
from orchestrator.results.neighbours import COMPARISON_TYPES, build_comparison_row
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.table import Table
from orchestrator.results.tables import Row


@final
class SweepTables:
    """Builds the tables of a sweep, each when it is asked for. What they hold is said where `Sweep` names them."""

    def __init__(self, snapshot: Snapshot, belief: Belief) -> None:
        self._snapshot = snapshot
        self._belief = belief

    def trials(self) -> Table:
        """Return one row a trial, by number."""
        return self._of_trials(self._snapshot.trials)

    def supported(self) -> Table:
        """Return the rows of the supported front, by rising cost."""
        return self._of_trials(self._belief.require_judgement().supported)

    def front(self) -> Table:
        """Return the rows of the trials on the front, by rising cost, and what the test split says."""
        rows = [self.build_row(trial) | self._test_row(trial) for trial in self._snapshot.front]
        return Table(types=tables.front_types(self._snapshot.objective.config.gain), rows=rows)

    def runs(self) -> Table:
        """Return one row a run (trial and seed) that has ended."""
        snapshot = self._snapshot
        rows = [
            tables.build_run_row(trial, run, snapshot.root, on_front=snapshot.is_on_front(trial))
            for trial in snapshot.trials
            for run in trial.runs
        ]
        return Table(types=self._of_runs(tables.RUN_TYPES), rows=rows)

    def comparisons(self) -> Table:
        """Return one row for each two trials that are next to each other on the front; none without predictions."""
        judgement, snapshot = self._belief.judgement, self._snapshot
        found = [] if judgement is None else judgement.neighbours(snapshot.front)
        return Table(types=COMPARISON_TYPES, rows=[build_comparison_row(each, snapshot.labels) for each in found])

    def effects(self) -> Table:
        """Return one row a block, in network order."""
        return Table(types=EFFECT_TYPES, rows=self._belief.effects.rows())

    def history(self, key: str | int) -> Table:
        """Return one row a seed and epoch of the trial that `key` means."""
        snapshot = self._snapshot
        with_curves = [trial for trial in snapshot.trials if any(history_of(run, snapshot.root) for run in trial.runs)]
        trial = find_trial(key, snapshot.experiment, snapshot.trials, with_curves)
        return Table(types=self._of_runs(tables.HISTORY_TYPES), rows=build_history_rows(trial, snapshot.root))

    def build_row(self, trial: TrialRecord) -> Row:
        """Return a trial's row."""
        on_front, belief = self._snapshot.is_on_front(trial), self._belief.build_row(trial)
        return tables.build_trial_row(trial, self._snapshot.root, on_front=on_front, belief=belief)

    def accuracy_interval(self, trial: TrialRecord) -> dict[str, float]:
        """Return the ends of a trial's `val_acc`, whatever the gain; empty where they are not known."""
        return dict(zip(("low", "high"), self._belief.predicted.interval(trial) or (), strict=False))

    def _of_runs(self, types: Mapping[str, str]) -> Mapping[str, str]:
        """Return the columns of a table of runs."""
        return types if self._snapshot.experiment.data.folds is None else tables.with_folds(types)

    def _of_trials(self, trials: Iterable[TrialRecord]) -> Table:
        types = tables.trial_types(self._snapshot.objective.config.gain)
        return Table(types=types, rows=[self.build_row(trial) for trial in trials])

    def _test_row(self, trial: TrialRecord) -> Row:
        low, high = self._belief.predicted.interval(trial, "test") or (None, None)
        drops = [result.val_acc - result.test_acc for result in results_of(trial)]
        return {names.TEST_ACC_LOW: low, names.TEST_ACC_HIGH: high, names.TEST_DROP: fmean(drops) if drops else None}
