"""What a sweep tells its tracker of all its trials: table, metrics, note and pictures."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.models import Experiment
from orchestrator.interfaces import Summarise
from orchestrator.records.starts import SweepSummary
from orchestrator.records.trials import TrialRecord
from orchestrator.results import PredictedTrials, Sweep
from orchestrator.storage.layout import Root


def build_summarise(root: Root, experiment: Experiment) -> Summarise:
    """Build what sums the trials of a sweep up; predictions that it has read it does not read again."""
    predicted = PredictedTrials(root)

    def summarise(trials: Sequence[TrialRecord], *, final: bool) -> SweepSummary:
        return _summarise(Sweep(root, experiment, trials, predicted), final=final)

    return summarise


def _summarise(sweep: Sweep, *, final: bool) -> SweepSummary:
    from orchestrator.report.note import write_note
    from orchestrator.report.plots import write_report

    front = tuple(trial.number for trial in sweep.front)
    files: tuple[Path, ...] = ()
    if final and front:
        files = tuple(write_report(sweep, sweep.root.reports(sweep.experiment.name)))
    return SweepSummary(
        trials=tuple(sweep.trials),
        front=front,
        table=tuple(sweep.trial_rows()),
        metrics=sweep.summary_metrics(),
        note=write_note(sweep),
        files=files,
    )
