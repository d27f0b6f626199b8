"""Observers for programs: what happens goes to the `orchestrator` logger, or to several observers."""

import logging
from collections.abc import Sequence

from orchestrator.config.models import Experiment
from orchestrator.interfaces import Observer
from orchestrator.records.labels import label_planned
from orchestrator.records.record import Step
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.spec import Choice
from orchestrator.records.starts import RunStart
from orchestrator.records.trials import RunRecord, TrialRecord

_LOG = logging.getLogger("orchestrator")


class LoggingObserver:
    """Logs messages and lost runs as warnings, starts and ends as info, epochs as debug."""

    _experiment: Experiment | None = None

    def on_message(self, text: str) -> None:
        """Log the message; what is merely being done is info."""
        _LOG.log(logging.INFO if isinstance(text, Step) else logging.WARNING, text)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Log how many trials are done and left."""
        self._experiment = experiment
        left = "as many as the sampler is allowed" if choices is None else len(choices)
        _LOG.info("%s: %d trials done, %s to run", experiment.name, len(done), left)

    def on_run_start(self, start: RunStart) -> None:
        """Log the run's name."""
        _LOG.info("%s starts", start.name)

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Log the epoch."""
        _LOG.debug("%s epoch %d: val_acc %.4f", start.name, metrics.number, metrics.val_acc)

    def on_run_pause(self, start: RunStart, epochs: int) -> None:
        """Log how far the run is."""
        _LOG.debug("%s waits after %d epochs", start.name, epochs)

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Log the result or the error."""
        if record.state == "pruned":
            _LOG.info("%s %s", start.name, record.error)
        elif record.state == "put_off":
            _LOG.info("%s put off", start.name)
        elif record.result is None:
            _LOG.warning("%s lost: %s", start.name, record.error)
        else:
            _LOG.info("%s done: val_acc %.4f", start.name, record.result.val_acc)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Log the state."""
        label = trial.frozen if self._experiment is None else label_planned(self._experiment, trial)
        _LOG.info("trial %d (%s): %s", trial.number, label, trial.state)


class ObserverGroup:
    """Several observers as one, told in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._said: set[str] = set()

    def on_message(self, text: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_message(text)

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_plan(experiment, choices, done)

    def on_run_start(self, start: RunStart) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_run_start(start)

    def on_epoch(self, start: RunStart, metrics: EpochMetrics) -> None:
        """Pass it on, and what the user should hear of it: each sentence once a sweep."""
        for note in metrics.notes:
            if note not in self._said:
                self._said.add(note)
                self.on_message(f"{start.name}: {note}")
        for observer in self._observers:
            observer.on_epoch(start, metrics)

    def on_run_pause(self, start: RunStart, epochs: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_run_pause(start, epochs)

    def on_run_end(self, start: RunStart, record: RunRecord) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_run_end(start, record)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_trial_end(trial)
