"""Finished trainings by fingerprint, so that an equal run is answered from its result."""

import os
from pathlib import Path

from pydantic import ValidationError

from orchestrator.layout import Root
from orchestrator.names import BEST_CHECKPOINT, RECORD_FILE, RESULT_FILE
from orchestrator.records import Record, RunRecord, RunResult


class LedgerEntry(Record):
    """A finished training and the run that it was made for."""

    experiment: str
    """Experiment that trained it."""
    run: RunRecord
    """The run; its result lies beside it in `result.json`."""


class Ledger:
    """The finished trainings under one root.

    A worker writes `result.json` last and atomically: a folder that has it, and the checkpoint, is finished.
    The parent adds `record.json` once the run is tracked; a death in between leaves a result without a record.
    """

    def __init__(self, root: Root) -> None:
        self._root = root

    def directory(self, fingerprint: str) -> Path:
        """Folder of the training with this fingerprint, there or not."""
        return self._root.run_dir(fingerprint)

    def checkpoint(self, fingerprint: str) -> str:
        """Best checkpoint of a training, relative to the root."""
        return self._root.relative(self.directory(fingerprint) / BEST_CHECKPOINT)

    def find_result(self, fingerprint: str) -> RunResult | None:
        """Read the result of a finished training; None where there is none that can be read whole."""
        folder = self.directory(fingerprint)
        if not (folder / BEST_CHECKPOINT).is_file():
            return None
        try:
            result = RunResult.model_validate_json((folder / RESULT_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return result if result.fingerprint == fingerprint else None

    def find_entry(self, fingerprint: str) -> LedgerEntry | None:
        """Read for which run a training was made; None where the parent died before it said so."""
        try:
            return LedgerEntry.model_validate_json((self.directory(fingerprint) / RECORD_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def enter(self, experiment: str, run: RunRecord) -> None:
        """Note for which run a finished training was made."""
        path = self.directory(run.fingerprint) / RECORD_FILE
        # the result lies beside it already, so the record need not repeat it
        entry = LedgerEntry(experiment=experiment, run=run.model_copy(update={"result": None}))
        temporary = path.with_suffix(".tmp")
        temporary.write_text(entry.model_dump_json(indent=1))
        os.replace(temporary, path)  # noqa: PTH105 - the name of the system call that is atomic
