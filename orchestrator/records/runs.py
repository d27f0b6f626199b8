"""What a run reports of its epochs, and what it comes back with."""

import struct

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from orchestrator import names
from orchestrator.config.monitors import MONITORS, Monitor
from orchestrator.records.record import Record


class StepLoss(Record):
    """Training loss of one optimizer step."""

    step: int
    """Optimizer steps before it, from 0."""
    loss: float
    """Cross-entropy of the batch."""


class EpochMetrics(Record):
    """One epoch of a run. What its numbers are: `names.OF_EPOCH`."""

    epoch: int
    """From 0, in files and between programs; see `number`."""
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    lr: float
    duration_s: float
    step_losses: tuple[StepLoss, ...] = ()
    """Every `log_every_n_steps`-th step of the epoch."""
    notes: tuple[str, ...] = ()
    """What the user should hear of the epoch, a sentence each."""
    measured: dict[str, float] = Field(default_factory=dict)
    """Further quantities by key: those of `names.OF_EPOCH` that have no field. Left out of files where empty."""
    monitor: Monitor = names.VAL_LOSS
    """Quantity that says which epoch of the run is the best (`MONITORS`). Left out of files where it is `val_loss`."""

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        found: dict[str, object] = write(self)
        absent = {"measured" if not self.measured else "", "monitor" if self.monitor == names.VAL_LOSS else ""}
        return {key: value for key, value in found.items() if key not in absent}

    def read(self, key: str) -> float | None:
        """Return a quantity of `names.OF_EPOCH` by its key; None where this epoch has none."""
        value: float | None = self.measured[key] if key in self.measured else getattr(self, key, None)
        return value

    @property
    def badness(self) -> float:
        """The monitored quantity, turned so that the lowest is the best, in fp32: Lightning compares epochs in it."""
        value = self.read(self.monitor)
        if value is None:
            raise ValueError(f"epoch {self.number} has no {self.monitor}")
        rounded: float = struct.unpack("f", struct.pack("f", value))[0]
        return rounded if MONITORS[self.monitor] == "min" else -rounded

    @property
    def number(self) -> int:
        """The epoch as people count it, and as everything that people read has it: from 1."""
        return self.epoch + 1


class RunResult(Record):
    """What a run found. What its numbers are: `names.OF_RUN`. Metrics are those of the best checkpoint."""

    fingerprint: str
    """Fingerprint of the run's specification."""
    val_acc: float
    val_loss: float
    train_acc: float
    train_loss: float
    test_acc: float
    test_loss: float
    best_epoch: int
    """From 0, in files and between programs; see `best_epoch_number`."""
    epochs_run: int
    trainable_params: int
    total_params: int
    gflops_forward_per_image: float
    gflops_train_per_image: float
    duration_s: float
    s_per_epoch: float
    images_per_s: float
    peak_memory_mb: float
    resident_mb: float | None = None
    device: str
    """Name of the device."""
    precision: str
    """Precision that was used."""
    n_val: int
    """Validation images."""
    n_test: int
    """Test images."""
    class_names: tuple[str, ...]
    val_confusion: tuple[tuple[int, ...], ...]
    """Validation images by true class (row) and predicted class (column)."""
    test_confusion: tuple[tuple[int, ...], ...]
    """Test images likewise."""
    history: tuple[EpochMetrics, ...]
    """The curves by epoch."""
    versions: dict[str, str]
    """Versions of Python and of the libraries that trained."""
    measured: dict[str, float] = Field(default_factory=dict)
    """Further quantities by key: those of `names.OF_RUN` that no code asks for by name. Left out of files where empty.
    """

    @model_serializer(mode="wrap")
    def _leave_out_nothing_measured(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        found: dict[str, object] = write(self)
        return found if self.measured else {key: value for key, value in found.items() if key != "measured"}

    def read(self, key: str) -> float | None:
        """Return a quantity of `names.OF_RUN` by its key, epochs counted from 1; None where this run has none."""
        if key == names.BEST_EPOCH:
            return self.best_epoch_number
        value: float | None = self.measured[key] if key in self.measured else getattr(self, key, None)
        return value

    @property
    def best_epoch_number(self) -> int:
        """The best epoch, whose weights are kept, as people count it: from 1."""
        return self.best_epoch + 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear of the run, a sentence each."""
        return tuple(dict.fromkeys(note for epoch in self.history for note in epoch.notes))

    @property
    def gap_train_val(self) -> float:
        """Training minus validation accuracy at the best epoch: how much the run overfits."""
        return self.train_acc - self.val_acc

    @property
    def trainable_pct(self) -> float:
        """Trainable share of the parameters, in percent."""
        return 100.0 * self.trainable_params / self.total_params


class RungResult(Record):
    """Where a run stands that has paused. Nothing of it is final: more epochs may find better weights."""

    fingerprint: str
    """Fingerprint of the run's specification."""
    val_correct: tuple[bool, ...]
    """Whether the best weights so far are right of each validation image, in the split's order."""
    history: tuple[EpochMetrics, ...]
    """The curves by epoch."""

    @property
    def epochs(self) -> int:
        """Epochs so far."""
        return len(self.history)


RunOutcome = RunResult | RungResult
"""What a run that was not lost comes back with."""
