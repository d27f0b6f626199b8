"""The checkpoints of a run's folder: written whole or not at all, found again, and cleared away.

While a run trains, the folder holds `last-NNN.ckpt` (all that is needed to continue after that epoch) and
`best-NNN.ckpt` of the best epoch until then (weights). Both are written as often as they may take time for it, and when
the run stops. The order of writing is: best, last, and only then what both replace goes.
So the best epoch that a `last-NNN.ckpt` knows of is there, at whatever moment the process dies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO
from torch import Tensor

from orchestrator.errors import RunError
from orchestrator.records.document import describe_problem, read_document, say_once
from orchestrator.records.record import Record
from orchestrator.records.runs import EpochMetrics
from orchestrator.storage.files import digest_path, is_whole, write_atomically, write_checked
from orchestrator.storage.layout import BEST_CHECKPOINT, PREDICTIONS_FILE
from orchestrator.storage.ledger import list_unfinished
from orchestrator.training.network.saved import read_checkpoint
from orchestrator.training.network.weight_files import NETWORK_PREFIX

PROGRESS = "progress"
"""Key of a checkpoint that holds the run's `TrainingProgress`."""
_LAST, _BEST = "last", "best"


class TrainingProgress(Record):
    """How far a run has come."""

    history: tuple[EpochMetrics, ...]
    """Its epochs."""
    finished: bool
    """Whether no epoch is left: the last one was reached, or `patience` ran out."""
    duration_s: float
    """Seconds that it took so far, in all attempts."""
    peak_memory_mb: float
    """Peak memory in MiB so far."""

    @property
    def epoch(self) -> int:
        """The newest epoch."""
        return self.history[-1].epoch

    @property
    def best(self) -> EpochMetrics:
        """The best epoch."""
        return best_epoch(self.history)


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """Find the epoch of the best checkpoint by `trainer.monitor`, the first of equals."""
    return min(history, key=lambda metrics: metrics.badness)


class CheckedIO(CheckpointIO):
    """Lightning's way to the disk: whole files with a digest, and nothing but plain types and tensors read.

    The best weights so far are held in memory, and written before anything else is.
    """

    def __init__(self) -> None:
        self._held: tuple[Path, dict[str, Any]] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; hold it in memory if it is one of the best weights.

        Raises:
            RunError: The disk does not take it.
        """
        del storage_options
        if Path(path).name.startswith(_BEST):
            state = {name: tensor.detach().cpu().clone() for name, tensor in checkpoint["state_dict"].items()}
            self._held = (Path(path), {**checkpoint, "state_dict": state})
            return
        self.write_held()
        self.write(checkpoint, path)

    def write_held(self) -> None:
        """Write the best weights that are held in memory.

        Raises:
            RunError: The disk does not take them.
        """
        if self._held is not None:
            path, checkpoint = self._held
            self.write(checkpoint, path)
            self._held = None

    @staticmethod
    def write(checkpoint: dict[str, Any], path: str | Path) -> None:
        """Write a checkpoint at once, whole and with its digest.

        Raises:
            RunError: The disk does not take it.
        """
        try:
            write_checked(Path(path), lambda file: torch.save(checkpoint, file))
        except (OSError, RuntimeError) as error:
            # torch fails once more on the way out, with a message about its format
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise RunError(
                f"the checkpoint {path} cannot be written: {reason.strerror or reason}",
                hint="make room and start again: the run continues after the epoch before",
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,  # noqa: FBT001 - Lightning's signature
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU."""
        del map_location, weights_only
        return dict(read_checkpoint(Path(path)))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Leave it where it is: the last checkpoint may name it. `CheckpointFolder.keep` removes it in time."""


class CheckpointFolder:
    """The checkpoints in a run's folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def best_pattern(self) -> str:
        """Name of the weights of an epoch, as Lightning writes patterns."""
        return f"{_BEST}-{{epoch:03d}}"

    def last(self, epoch: int) -> Path:
        """Name the checkpoint from which a run continues after `epoch`."""
        return self._path / f"{_LAST}-{epoch:03d}.ckpt"

    def best(self, epoch: int) -> Path:
        """Name the weights of `epoch`, while the run trains."""
        return self._path / f"{_BEST}-{epoch:03d}.ckpt"

    def find_progress(self, fingerprint: str) -> TrainingProgress | None:
        """Find the newest checkpoint of the run `fingerprint` from which it can continue; None: it starts over."""
        epochs = [int(match["epoch"]) for match, _ in list_unfinished(self._path)]
        for epoch in sorted(set(epochs), reverse=True):
            progress = self._read_progress(epoch, fingerprint)
            if progress is not None and self._has_best(progress.best.epoch):
                return progress
        return None

    def keep(self, *, last: int | None = None, best: int | None = None) -> None:
        """Remove all checkpoints of a run that trains, and what was left half written, but those of these epochs."""
        kept = {(_LAST, last), (_BEST, best)}
        # a checkpoint goes before its digest, and before the best one that it names
        for match, path in sorted(
            list_unfinished(self._path), key=lambda item: (item[0]["kind"] != _LAST, item[1].name)
        ):
            if match["hidden"] or (match["kind"], int(match["epoch"])) not in kept:
                path.unlink(missing_ok=True)

    def publish(self, epoch: int, merged: Mapping[str, Tensor] | None = None) -> None:
        """Make the weights of `epoch` those of the finished run.

        Args:
            epoch: The best epoch.
            merged: The network's tensors at its end, where they are others: factors of LoRA are merged into them. Then
                the weights of `epoch` stay too, for the run continues from them should it die before its result.

        Raises:
            RunError: The disk does not take them.
        """
        published = self._path / BEST_CHECKPOINT
        if merged is None:
            _rename(self.best(epoch), published)
            return
        state = {f"{NETWORK_PREFIX}{name}": tensor.detach().cpu().clone() for name, tensor in merged.items()}
        CheckedIO.write({**read_checkpoint(self.best(epoch)), "state_dict": state}, published)

    def unpublish(self) -> None:
        """Remove the weights of a finished run, and what was predicted with them."""
        published = self._path / BEST_CHECKPOINT
        for path in (self._path / PREDICTIONS_FILE, published, digest_path(published)):
            path.unlink(missing_ok=True)

    def _read_progress(self, epoch: int, fingerprint: str) -> TrainingProgress | None:
        path = self.last(epoch)
        if not is_whole(path):
            return None
        try:
            checkpoint = read_checkpoint(path)
            progress = read_document(TrainingProgress, checkpoint[PROGRESS], str(path))
        except (RunError, KeyError):
            return None
        except ValueError as error:
            reason = describe_problem(error)
            say_once(f"{path} cannot be read, and the run does not go on from it: {reason}", str(path), reason)
            return None
        is_ours = checkpoint["hyper_parameters"].get("fingerprint") == fingerprint
        return progress if is_ours and len(progress.history) == epoch + 1 else None

    def _has_best(self, epoch: int) -> bool:
        """Look for the weights of `epoch`; a death between `publish` and the result leaves them published."""
        if is_whole(self.best(epoch)):
            return True
        published = self._path / BEST_CHECKPOINT
        if not is_whole(published):
            return False
        checkpoint: Mapping[str, object] = read_checkpoint(published)
        if checkpoint.get("epoch") != epoch:
            return False
        _rename(published, self.best(epoch))
        return True


def _rename(path: Path, to: Path) -> None:
    """Rename a file that has a digest; it is whole under one of the two names at any moment."""
    write_atomically(digest_path(to), digest_path(path).read_text())
    path.replace(to)
    digest_path(path).unlink(missing_ok=True)
