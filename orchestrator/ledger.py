"""Trainings by fingerprint: finished ones answer an equal run, interrupted ones are continued."""

import fcntl
import re
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import ValidationError

from orchestrator.files import digest_path, is_whole, write_atomically
from orchestrator.layout import Root
from orchestrator.names import BEST_CHECKPOINT, RECORD_FILE, RESULT_FILE
from orchestrator.records import Record, RunRecord, RunResult

_CLAIM = "claim.lock"
_LAST = re.compile(r"last-(\d+)\.ckpt")
_UNFINISHED = re.compile(r"\.?(last|best)-\d+\.ckpt(\.sha256)?(\.tmp)?")


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
        best = folder / BEST_CHECKPOINT
        if not best.is_file() or (digest_path(best).exists() and not is_whole(best)):
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
        """Note for which run a finished training was made.

        A worker that died right after its result leaves what it would have continued from: that goes too.
        """
        folder = self.directory(run.fingerprint)
        for path in [path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name)]:
            path.unlink(missing_ok=True)
        path = folder / RECORD_FILE
        # the result lies beside it already, so the record need not repeat it
        entry = LedgerEntry(experiment=experiment, run=run.model_copy(update={"result": None}))
        write_atomically(path, entry.model_dump_json(indent=1))

    def claim(self, fingerprint: str, until: ExitStack) -> bool:
        """Keep every other sweep from training this until `until` is closed; False where another one does.

        The system releases the claim of a process that dies, however it dies.
        """
        folder = self.directory(fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            file = stack.enter_context((folder / _CLAIM).open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            until.push(stack.pop_all())
        return True

    def find_checkpoint(self, fingerprint: str) -> tuple[int, list[Path]]:
        """Find the newest whole checkpoint of an interrupted training, and set damaged ones aside.

        Returns:
            Epochs that it holds (0: there is none), and where the damaged ones lie now.
        """
        found = []
        for path in self.directory(fingerprint).glob("last-*.ckpt"):
            match = _LAST.fullmatch(path.name)
            if match is not None:
                found.append((int(match[1]), path))
        damaged: list[Path] = []
        for epoch, path in sorted(found, reverse=True):
            if is_whole(path):
                return epoch + 1, damaged
            aside = path.with_name(f"{path.name}.damaged")
            with suppress(FileNotFoundError):
                path.replace(aside)
                damaged.append(aside)
        return 0, damaged
