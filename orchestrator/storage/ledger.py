"""Trainings by fingerprint: finished ones answer an equal run, interrupted ones are continued."""

import re
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import Timeout
from pydantic_core import from_json

from orchestrator.records.document import (
    DOCUMENT_VERSION,
    VERSION,
    RecordT,
    describe_problem,
    read_document,
    say_once,
    write_document,
)
from orchestrator.records.identity import LOGGED_STEPS_HELD
from orchestrator.records.record import Record
from orchestrator.records.runs import RungResult, RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.records.trials import RunRecord
from orchestrator.storage.files import digest_path, is_whole, make_folder, write_atomically
from orchestrator.storage.flock import build_lock
from orchestrator.storage.layout import BEST_CHECKPOINT, RECORD_FILE, RESULT_FILE, SPEC_FILE, Root

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
        result = _read(RunResult, folder / RESULT_FILE)
        return result if result is not None and result.fingerprint == fingerprint else None

    def find_entry(self, fingerprint: str) -> LedgerEntry | None:
        """Read for which run a training was made; None where the parent died before it said so."""
        return _read(LedgerEntry, self.directory(fingerprint) / RECORD_FILE)

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
        write_atomically(path, write_document(entry, indent=1))

    def claim(self, fingerprint: str, until: ExitStack) -> bool:
        """Keep every other sweep from training this until `until` is closed; False where another one does.

        The system releases the claim of a process that dies, however it dies.
        """
        folder = self.directory(fingerprint)
        make_folder(folder)
        try:
            until.enter_context(build_lock(folder / _CLAIM, timeout_s=0))
        except Timeout:
            return False
        return True

    def find_rungs(self, fingerprint: str) -> list[RungResult]:
        """Read where a training stood each time that it paused, by epochs; what cannot be read whole is left out."""
        found = (_read(RungResult, path) for path in self.directory(fingerprint).glob(_RUNGS))
        rungs = (rung for rung in found if rung is not None and rung.fingerprint == fingerprint)
        return sorted(rungs, key=lambda rung: rung.epochs)

    def find_older(self) -> dict[str, int]:
        """Find the trainings whose names hold how often they logged, as up to version 0.1: they answer whatever logs.

        Returns:
            `trainer.log_every_n_steps` of each, by the fingerprint that the same training has today.
        """
        found: dict[str, tuple[int, int]] = {}
        for path in self._root.run_dir("*").parent.glob(f"*/{SPEC_FILE}"):
            spec = _read_older(path)
            if spec is None:
                continue
            today = spec.model_copy(update={"version": DOCUMENT_VERSION}).fingerprint
            rank = self._rank(spec.fingerprint), spec.trainer.log_every_n_steps
            if rank[0] > self._rank(today):
                found[today] = max(rank, found.get(today, rank))
        return {today: steps for today, (_, steps) in found.items()}

    def _rank(self, fingerprint: str) -> int:
        """Returns 2 for a training that is finished, 1 for one that was begun, 0 for none."""
        folder = self.directory(fingerprint)
        return 2 if (folder / RESULT_FILE).exists() else int((folder / SPEC_FILE).exists())

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


def _read(kind: type[RecordT], path: Path) -> RecordT | None:
    """Read a record; None where there is none, or, which a log message says, one that is damaged.

    Raises:
        SetupError: A later version wrote it, and it cannot be read.
    """
    try:
        return read_document(kind, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        reason = describe_problem(error)
        say_once(f"{path} is damaged and counts as if it were not there: {reason}", str(path), reason)
        return None


def _read_older(path: Path) -> RunSpec | None:
    """Read the specification of a training whose name holds how often it logged; None where it does not."""
    try:
        values = from_json(path.read_bytes())
        if VERSION in values or values["trainer"]["log_every_n_steps"] == LOGGED_STEPS_HELD:
            return None
        spec = read_document(RunSpec, values, str(path))
    except (OSError, ValueError, LookupError, TypeError):
        return None  # nothing that up to version 0.1 was written
    return spec if spec.fingerprint == path.parent.name else None
