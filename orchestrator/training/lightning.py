"""Lightning as this package wants it: quiet, explicit, and with its hands off Ctrl-C."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers.logger import Logger

from orchestrator.names import BEST_CHECKPOINT, CURVE_STEP_LOSS, VAL_LOSS
from orchestrator.records import RunSpec, StepLoss, Workplace

_LOGGERS = ("pytorch_lightning", "lightning_fabric")
_SILENCED = (
    ".*does not have many workers",  # batches mostly come from memory
    ".*smaller than the logging interval",  # a small data set has few steps
    ".*in eval mode at the start of training",  # frozen blocks are, on purpose
    "Checkpoint directory .* exists and is not empty",  # the specification lies there
    ".*GPU available but not used",  # it was configured so
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own call of torch
)


class StepLosses(Logger):
    """A Lightning logger that keeps the step losses; the parent process tracks them."""

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[StepLoss] = []

    @property
    def name(self) -> str:
        """Name that Lightning wants."""
        return "step_losses"

    @property
    def version(self) -> int:
        """Version that Lightning wants."""
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep a step loss; Lightning calls this every `log_every_n_steps` steps."""
        if CURVE_STEP_LOSS in metrics and step is not None:
            self._losses.append(StepLoss(step=step, loss=float(metrics[CURVE_STEP_LOSS])))

    def log_hyperparams(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave them to the parent process."""

    def take(self) -> tuple[StepLoss, ...]:
        """Give what was kept since the last call."""
        taken, self._losses = tuple(self._losses), []
        return taken


def build_trainer(spec: RunSpec, workplace: Workplace, losses: StepLosses) -> pl.Trainer:
    """Build the trainer of a run: best checkpoint and early stopping on `val_loss`, all else off."""
    config = spec.trainer
    checkpoint = ModelCheckpoint(
        dirpath=workplace.directory,
        filename=Path(BEST_CHECKPOINT).stem,
        monitor=VAL_LOSS,
        mode="min",
        save_top_k=1,
        save_weights_only=True,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    stopping = EarlyStopping(monitor=VAL_LOSS, mode="min", patience=config.patience, check_on_train_epoch_end=False)
    pinned = config.accelerator == "gpu" and workplace.gpu is not None
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=[workplace.gpu] if pinned else 1,  # type: ignore[list-item]
        precision=config.precision,  # type: ignore[arg-type] # concrete: a run's specification has no `auto`
        max_epochs=config.max_epochs,
        deterministic=config.deterministic,
        log_every_n_steps=config.log_every_n_steps,
        logger=losses,
        callbacks=[checkpoint, stopping],
        default_root_dir=workplace.directory,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],  # one process, also inside a cluster's job
    )


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
def torch_settings(threads: int | None) -> Iterator[None]:
    """Set torch's threads, and put back afterwards what a run changes for the whole process."""
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
