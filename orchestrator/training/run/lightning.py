"""Lightning as this package wants it: quiet, explicit, and with its hands off Ctrl-C."""

import copy
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.precision import MixedPrecision

from orchestrator.config.models import MatmulPrecision
from orchestrator.config.monitors import MONITORS
from orchestrator.errors import RunStoppedError
from orchestrator.interfaces import EpochSink
from orchestrator.records.document import add_version
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics
from orchestrator.records.spec import RunSpec
from orchestrator.training.device import AUTOCAST
from orchestrator.training.run.checkpoints import PROGRESS, CheckedIO, CheckpointFolder, TrainingProgress, best_epoch
from orchestrator.training.run.internals import dump_checkpoint, leave_signals_alone, set_seen_batches
from orchestrator.training.run.randomness import random_state, set_random_state

_FIRST_S = 0.25
"""Seconds that the first checkpoint is thought to take."""
_LEFT_TO_LOSE = 0.1
"""After the last epoch only the test is left, which takes about so much of an epoch: the probability to lose what a
checkpoint would save is that much smaller, and writing it may take that much less."""
_FIRST_COPY_S = 0.02
"""Seconds that the first copy in memory is thought to take."""
_FOR_COPIES = 0.5
"""Part of the share that copies in memory may take besides."""
_RANDOM = "random_state"
"""Key of a checkpoint that holds the random generators."""
_LOGGERS = ("pytorch_lightning", "lightning_fabric")
_SILENCED = (
    ".*does not have many workers",  # batches mostly come from memory
    ".*in eval mode at the start of training",  # frozen blocks are, on purpose
    "Checkpoint directory .* exists and is not empty",  # the specification lies there
    ".*GPU available but not used",  # it was configured so
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own call of torch
    "You're resuming from a checkpoint that ended before the epoch",  # it takes each batch for a step
    "The AccumulateGrad node's stream does not match",  # a graph's gradients come from the stream that captured it
)


class BestCheckpoint(ModelCheckpoint):
    """Writes `best-NNN.ckpt` where the monitored quantity is better than in all epochs before."""

    def __init__(self, folder: CheckpointFolder, monitor: str) -> None:
        super().__init__(
            dirpath=folder.path,
            filename=folder.best_pattern,
            auto_insert_metric_name=False,
            monitor=monitor,
            mode=MONITORS[monitor],
            save_top_k=1,
            save_weights_only=True,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was best so far, also where the folder was moved meanwhile: Lightning would drop it."""
        paths = ("best_model_path", "kth_best_model_path")
        moved = {name: self._move(state_dict[name]) for name in paths}
        best = {self._move(path): loss for path, loss in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})

    def _move(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


@dataclass(frozen=True, slots=True)
class _Held:
    """A checkpoint in memory, and the epoch after which it was taken."""

    epoch: int
    checkpoint: dict[str, Any]


def _copy(tree: Any, into: Any = None) -> Any:
    """Copy a tree of tensors to the CPU; the memory of an earlier copy is used again where it fits."""
    if isinstance(tree, torch.Tensor):
        if isinstance(into, torch.Tensor) and into.shape == tree.shape and into.dtype == tree.dtype:
            return into.copy_(tree.detach())
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        earlier = into if isinstance(into, dict) else {}
        return type(tree)((key, _copy(value, earlier.get(key))) for key, value in tree.items())
    if isinstance(tree, list):
        before = into if isinstance(into, list) and len(into) == len(tree) else [None] * len(tree)
        return [_copy(value, old) for value, old in zip(tree, before, strict=True)]
    return copy.deepcopy(tree)


class EpochCheckpoint(Checkpoint):
    """Ends each epoch: writes `last-NNN.ckpt` where one is due, removes what it replaces, and then reports the epoch.

    One is due when writing takes no more than a share of the time since the last one (a tenth of the share after the
    last epoch, when all but the test is done), and where the run is to stop or to pause. Where none is due, a copy is
    held in memory as often as that takes half the share, and after the last epoch: a run that is ended at once, in the
    middle of an epoch, writes that. As a `Checkpoint` it comes after all other callbacks and the module.

    Args:
        folder: Receives the checkpoints.
        history: The epochs; the module adds to them.
        progress: Says how far the run is, given whether it is finished.
        on_epoch: Is told each epoch; what it raises ends the training.
        files: Writes.
        share: Share of the time that writing may take; 1: one is due after each epoch.
        until: Epochs after which training pauses; None: it does not.

    Attributes:
        paused: Whether training ended because it was to pause, and would go on.
        seen_batches: Batches of an epoch as Lightning sees them in this attempt; in an earlier one they may have been
            others.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        history: Sequence[EpochMetrics],
        progress: Callable[[bool], TrainingProgress],
        on_epoch: EpochSink,
        files: CheckedIO,
        share: float,
        until: int | None = None,
    ) -> None:
        self.paused = False
        self.seen_batches = 1
        self._files = files
        self._until = until
        self._folder = folder
        self._history = history
        self._progress = progress
        self._on_epoch = on_epoch
        self._share = share
        self._took_s = _FIRST_S
        self._written_at = self._held_at = perf_counter()
        self._copying_s = _FIRST_COPY_S
        self._held: _Held | None = None
        self._at_end = False
        self._random_state: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write or hold, clear away, report, pause."""
        del pl_module
        self._at_end = True
        over = self._is_over(trainer)
        pause = self._until is not None and len(self._history) >= self._until and not over
        share = self._share * (_LEFT_TO_LOSE if over else 1)
        due = pause or self._share >= 1 or share * (perf_counter() - self._written_at) >= self._took_s
        if due:
            self._write(trainer)
        elif over or self._share * _FOR_COPIES * (perf_counter() - self._held_at) >= self._copying_s:
            self._hold(trainer)
        try:
            self._on_epoch(self._history[-1])
        except RunStoppedError:
            if not due:
                self._write(trainer)
            raise
        if pause:
            self.paused = trainer.should_stop = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the weights move on."""
        del trainer, pl_module
        self._at_end = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that a checkpoint can no longer be taken: what is held is all there is."""
        del trainer, pl_module
        self._at_end = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep the last whole epoch of a run that is ended at once."""
        del pl_module
        if not isinstance(exception, RunStoppedError):
            return
        epoch = self._history[-1].epoch if self._history else None
        if self._at_end and epoch is not None and not self._folder.last(epoch).exists():
            self._write(trainer)
        self.write_held()

    def write_held(self) -> None:
        """Write the copy that is held in memory, unless a newer epoch is on disk."""
        held, self._held = self._held, None
        if held is None:
            return
        self._files.write_held()
        best = best_epoch(self._history[: held.epoch + 1]).epoch
        if self._folder.best(best).exists():
            self._files.save_checkpoint(held.checkpoint, self._folder.last(held.epoch))
            self._folder.keep(last=held.epoch, best=best)

    def _hold(self, trainer: pl.Trainer) -> None:
        began = perf_counter()
        before = None if self._held is None else self._held.checkpoint
        self._held = _Held(self._history[-1].epoch, _copy(dump_checkpoint(trainer), before))
        self._held_at = perf_counter()
        self._copying_s = self._held_at - began

    def _is_over(self, trainer: pl.Trainer) -> bool:
        """Return whether no epoch is left: the last one was reached, or `patience` ran out."""
        return trainer.should_stop or len(self._history) >= (trainer.max_epochs or 0)

    def _write(self, trainer: pl.Trainer) -> None:
        began = perf_counter()
        epoch = self._history[-1].epoch
        trainer.save_checkpoint(self._folder.last(epoch), weights_only=False)
        self._folder.keep(last=epoch, best=best_epoch(self._history).epoch)
        self._held = None
        self._written_at = self._held_at = perf_counter()
        self._took_s = self._written_at - began

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not keep: the epochs, whether they were the last ones, the random generators."""
        del pl_module
        checkpoint[PROGRESS] = add_version(self._progress(self._is_over(trainer)).model_dump())
        checkpoint[_RANDOM] = random_state()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the random generators along, and let Lightning find that it saw the last epoch to its end."""
        del trainer, pl_module
        self._random_state = checkpoint[_RANDOM]
        set_seen_batches(checkpoint, self.seen_batches)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the random generators where they stood, after all that draws from them to set things up."""
        del trainer, pl_module
        if self._random_state is not None:
            set_random_state(self._random_state)


def build_trainer(
    spec: RunSpec,
    workplace: Workplace,
    folder: CheckpointFolder,
    epochs: EpochCheckpoint,
    files: CheckedIO,
    device: torch.device,
) -> pl.Trainer:
    """Build the trainer of a run: checkpoints, early stopping, all else off."""
    config = spec.trainer
    monitor, mode = config.monitor, MONITORS[config.monitor]
    stopping = EarlyStopping(monitor=monitor, mode=mode, patience=config.patience, check_on_train_epoch_end=False)
    plugins: list[Any] = [LightningEnvironment(), files]  # one process, also inside a cluster's job
    if config.precision in AUTOCAST:
        plugins.append(MixedPrecision(config.precision, device.type))  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        max_epochs=config.max_epochs,
        deterministic=config.deterministic,
        logger=False,  # the module keeps the step losses, and the parent process tracks them
        callbacks=[stopping, BestCheckpoint(folder, monitor), epochs],
        default_root_dir=workplace.directory,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=plugins,
    )
    leave_signals_alone(trainer)  # whoever stops the training asks the sink for that
    return trainer


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Let Ctrl-C out as KeyboardInterrupt: Lightning makes it `exit(1)`, and ignores any further one."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's tips and the warnings that tell nothing here."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for message in _SILENCED:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def torch_settings(threads: int | None, matmul_precision: MatmulPrecision | None = None) -> Iterator[None]:
    """Set torch's threads, and put back afterwards what a run changes for the whole process.

    Memory is not filled before it is written, as torch does by default where results are to be deterministic: nothing
    that a run computes reads it before.

    Args:
        threads: CPU threads; None: as they are.
        matmul_precision: What a GPU computes products of fp32 matrices and convolutions in; None: as it is.
    """
    before = torch.get_num_threads()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if threads is not None:
        torch.set_num_threads(threads)
    if matmul_precision is not None:
        torch.set_float32_matmul_precision(matmul_precision)
        torch.backends.cudnn.allow_tf32 = matmul_precision != "highest"  # torch's own default is TF32
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        memory.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if matmul_precision is not None:
            torch.set_float32_matmul_precision(matmul)
            torch.backends.cudnn.allow_tf32 = convolution
