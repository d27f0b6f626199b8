"""Trainings by fingerprint: finished ones answer an equal run, interrupted ones are continued."""

import fcntl
import re
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import ValidationError

from orchestrator.names import BEST_CHECKPOINT, RECORD_FILE, RESULT_FILE
from orchestrator.records.record import Record
from orchestrator.records.runs import RungResult, RunResult
from orchestrator.records.trials import RunRecord
from orchestrator.storage.files import digest_path, is_whole, make_folder, write_atomically
from orchestrator.storage.layout import Root

_CLAIM = "claim.lock"
_RUNGS = "rung-*.json"
_UNFINISHED = re.compile(r"(?P<hidden>\.?)(?P<kind>last|best)-(?P<epoch>\d{3,})\.ckpt(\.sha256)?(\.tmp)?")


def list_unfinished(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """List what a training under way keeps: checkpoints, their digests, and what was left half written.

    Returns:
        The files, each with the match of its name: `hidden`, `kind` (`last` or `best`) and `epoch`.
    """
    return [(match, path) for path in folder.iterdir() if (match := _UNFINISHED.fullmatch(path.name))]


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

    def find_tracked(self, experiment: str) -> set[str]:
        """List the MLflow runs of the finished trainings that were made for an experiment."""
        found = (self.find_entry(path.parent.name) for path in self._root.run_dir("*").parent.glob(f"*/{RECORD_FILE}"))
        ids = (entry.run.mlflow_run_id for entry in found if entry is not None and entry.experiment == experiment)
        return {each for each in ids if each is not None}

    def enter(self, experiment: str, run: RunRecord) -> None:
        """Note for which run a finished training was made.

        A worker that died right after its result leaves what it would have continued from: that goes too.
        """
        folder = self.directory(run.fingerprint)
        for _, path in list_unfinished(folder):
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
        make_folder(folder)
        with ExitStack() as stack:
            file = stack.enter_context((folder / _CLAIM).open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            until.push(stack.pop_all())
        return True

    def find_rungs(self, fingerprint: str) -> list[RungResult]:
        """Read where a training stood each time that it paused, by epochs; what cannot be read whole is left out."""
        found = []
        for path in self.directory(fingerprint).glob(_RUNGS):
            with suppress(FileNotFoundError, ValidationError):
                found.append(RungResult.model_validate_json(path.read_bytes()))
        return sorted((rung for rung in found if rung.fingerprint == fingerprint), key=lambda rung: rung.epochs)

    def find_checkpoint(self, fingerprint: str) -> tuple[int, list[Path]]:
        """Find the newest checkpoint from which an interrupted training can continue, and set damaged ones aside.

        It needs the weights of its best epoch too, `best-NNN.ckpt`.

        Returns:
            Epochs that it holds (0: there is none), and where those lie now that were set aside.
        """
        folder = self.directory(fingerprint)
        found: dict[str, list[tuple[int, Path]]] = {"last": [], "best": []}
        for match, path in list_unfinished(folder) if folder.is_dir() else ():
            if path.suffix == ".ckpt":
                found[match["kind"]].append((int(match["epoch"]), path))
        # a death right before the result leaves the best weights under the name of a finished training's
        whole = [0] if is_whole(folder / BEST_CHECKPOINT) else []
        whole += [epoch for epoch, path in found["best"] if is_whole(path)]
        aside: list[Path] = []
        for epoch, path in sorted(found["last"], reverse=True):
            if min(whole, default=epoch + 1) <= epoch and is_whole(path):
                return epoch + 1, aside
            damaged = path.with_name(f"{path.name}.damaged")
            with suppress(FileNotFoundError):
                path.replace(damaged)
                aside.append(damaged)
        return 0, aside
