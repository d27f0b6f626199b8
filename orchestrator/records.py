"""What crosses a floor: frozen, plain, picklable values that can be written as JSON and read back."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from orchestrator.config.data import IN_DATA_FINGERPRINT, WITHOUT_EFFECT
from orchestrator.config.models import (
    BatchSize,
    DataConfig,
    Experiment,
    LearningRate,
    ModelConfig,
    Optimizer,
    TrainerConfig,
    WeightDecay,
)
from orchestrator.errors import RunCause
from orchestrator.names import INTERRUPTED

RECIPE_VERSION = 6
"""Raised when the same configuration would train differently than before: old results no longer answer."""

ADDED_TO_TRAINER = ("convolutions", "gradient_clip", "accumulate", "schedule")
"""Values of a training that later versions added: left out of its identity where they are the default."""

TrialState = Literal["waiting", "running", "complete", "failed", "pruned", "put_off"]
"""`put_off`: the sweep was stopped or died before it ended; the next start of the sweep goes on with it."""


class Record(BaseModel):
    """Base of the records: frozen, closed to unknown fields."""

    # NaN and infinities stay what they are; the default writes null, which no number reads back
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")


class Step(str):
    """A message that says what is being done now and may take a while: `loading PyTorch`. It is no news."""

    __slots__ = ()


class Hyperparameters(Record):
    """What a trial may vary besides the frozen set."""

    lr: LearningRate
    """Learning rate."""
    weight_decay: WeightDecay
    """Weight decay."""
    batch_size: BatchSize
    """Images a training step."""
    optimizer: Optimizer
    """Optimizer of the trainable parameters."""

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Give those of a trial that varies none of them."""
        return cls(
            lr=experiment.trainer.lr,
            weight_decay=experiment.trainer.weight_decay,
            batch_size=experiment.data.batch_size,
            optimizer=experiment.trainer.optimizer,
        )


class DatasetInfo(Record):
    """What is known of a data set once it is loaded."""

    source: str
    """As configured."""
    fingerprint: str
    """sha256 (hex) over splits, labels and encoded images: equal data have it equal, wherever they lie."""
    class_names: tuple[str, ...]
    """Names of the classes, by label."""
    split_sizes: dict[str, int]
    """Images in `train`, `validation`, `test`."""
    value_range: tuple[float, float] | None = None
    """Values that become black and white in images of more than 8 bits a channel; None: there are none."""
    notes: tuple[str, ...] = ()
    """What the user should hear, such as a validation split that had to be made."""


class Cost(Record):
    """What a frozen set costs; known before anything trains."""

    trainable_params: int
    """Parameters that train."""
    total_params: int
    """Parameters of the network."""
    gflops_forward_per_image: float
    """Forward pass of one image, in 10^9 floating-point operations (a multiply-add counts as two)."""
    gflops_train_per_image: float
    """Forward and backward pass of one training image, likewise."""

    @property
    def trainable_pct(self) -> float:
        """Trainable share of the parameters, in percent."""
        return 100.0 * self.trainable_params / self.total_params


class FrozenScores(Record):
    """What is known of a frozen set before anything trains."""

    logme: float | None = None
    """LogME of what its last block before the first that trains gives; None: the first block trains. Higher is better.
    """
    grad_share_frozen: float | None = None
    """Share of the squared relative gradient norms of all blocks that lies in its own: what freezing gives up. Lower is
    better."""


class RunSpec(Record):
    """All that a run needs besides data and weights: from it alone the run can be repeated."""

    data: DataConfig
    """Data, with this trial's batch size."""
    model: ModelConfig
    """Model; `num_classes` is set."""
    trainer: TrainerConfig
    """Training, with this trial's hyperparameters; accelerator and precision are concrete, not `auto`."""
    frozen: str
    """Key of the frozen set."""
    seed: int
    """Seed of the run; data order and head derive theirs from it separately."""
    data_fingerprint: str
    """Fingerprint of the data (sha256, hex)."""
    weights_sha256: str | None
    """sha256 (hex) of the weights' tensors; None for random weights."""
    recipe: int = RECIPE_VERSION
    """Version of the training recipe."""
    generation: int = 0
    """Times that the study was begun anew before: what was trained then does not answer."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Returns what its trial may vary besides the frozen set."""
        trainer = self.trainer
        return Hyperparameters(
            lr=trainer.lr,
            weight_decay=trainer.weight_decay,
            batch_size=self.data.batch_size,
            optimizer=trainer.optimizer,
        )

    @property
    def identity(self) -> dict[str, object]:
        """What identifies the result, as plain values: where data and weights lie is not part of it."""
        data = self.data.model_dump(mode="json", exclude=set(IN_DATA_FINGERPRINT | WITHOUT_EFFECT))
        if not isinstance(self.data.value_range, tuple):  # there is no image that it would be about
            del data["value_range"]
        plain = self.model_dump(mode="json", exclude={"data": True, "model": {"weights"}})
        if self.trainer.matmul_precision == "highest" and not self._was_tf32:
            del plain["trainer"]["matmul_precision"]
        for name in ADDED_TO_TRAINER:
            if getattr(self.trainer, name) == TrainerConfig.model_fields[name].default:
                del plain["trainer"][name]
        return {**plain, "data": data}

    @property
    def _was_tf32(self) -> bool:
        """Whether the run would have computed convolutions in TF32 before `matmul_precision` could be chosen."""
        return self.trainer.accelerator == "gpu" and self.trainer.precision == "32-true"

    @property
    def fingerprint(self) -> str:
        """Name of the result: 16 hex digits of the sha256 over `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class StepLoss(Record):
    """Training loss of one optimizer step."""

    step: int
    """Optimizer steps before it, from 0."""
    loss: float
    """Cross-entropy of the batch."""


class EpochMetrics(Record):
    """One epoch of a run. Accuracies are fractions in [0, 1]; losses are means over images."""

    epoch: int
    """From 0, in files and between programs; see `number`."""
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    lr: float
    """Learning rate at the end of the epoch."""
    duration_s: float
    """Seconds that the epoch took, validation included."""
    step_losses: tuple[StepLoss, ...] = ()
    """Every `log_every_n_steps`-th step of the epoch."""
    notes: tuple[str, ...] = ()
    """What the user should hear of the epoch, a sentence each."""

    @property
    def number(self) -> int:
        """The epoch as people count it, and as everything that people read has it: from 1."""
        return self.epoch + 1


class RunResult(Record):
    """What a run found. Metrics are those of the best checkpoint (lowest `val_loss`)."""

    fingerprint: str
    """Fingerprint of the run's specification."""
    val_acc: float
    val_loss: float
    train_acc: float
    """Training accuracy of the best epoch."""
    train_loss: float
    """Training loss of the best epoch."""
    test_acc: float
    """Accuracy on the test split, evaluated once with the best checkpoint; it never chooses."""
    test_loss: float
    best_epoch: int
    """From 0, in files and between programs; see `best_epoch_number`."""
    epochs_run: int
    trainable_params: int
    total_params: int
    gflops_forward_per_image: float
    gflops_train_per_image: float
    duration_s: float
    """Seconds of the whole run, loading included."""
    s_per_epoch: float
    """Median seconds an epoch."""
    images_per_s: float
    """Training and validation images a second, over all epochs."""
    peak_memory_mb: float
    """Peak memory in MiB: on a GPU what network, optimizer and training steps take of it, else the resident set of the
    process."""
    resident_mb: float | None = None
    """Memory of the GPU in MiB that images or activations take besides, all through the run; None on a CPU."""
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

    @property
    def best_epoch_number(self) -> int:
        """The epoch with the lowest `val_loss` as people count it: from 1."""
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
    """Whether the best weights so far (lowest `val_loss`) are right of each validation image, in the split's order."""
    history: tuple[EpochMetrics, ...]
    """The curves by epoch."""

    @property
    def epochs(self) -> int:
        """Epochs so far."""
        return len(self.history)


RunOutcome = RunResult | RungResult
"""What a run that was not lost comes back with."""


class RunRecord(Record):
    """One run of a trial, finished or lost."""

    name: str
    """As in MLflow and TensorBoard: `trial_007_stem+layer1_seed0`, or `trial_007_stem+layer1_lr=0.003_seed0` where the
    learning rate varies in the sweep."""
    seed: int
    fingerprint: str
    result: RunResult | None = None
    """None where the run is lost."""
    error: str | None = None
    """Why it is lost."""
    cause: RunCause | None = None
    """Kind of the loss."""
    attempts: int = 1
    """Times that it was started in this sweep's call."""
    mlflow_run_id: str | None = None
    reused_from: str | None = None
    """Name of the experiment and run that answered instead of a training."""
    checkpoint: str | None = None
    """Best checkpoint, relative to the root."""
    pruned_after: int | None = None
    """Epochs after which a race dropped it: it is not lost, and `error` says why it was dropped."""
    at_once: float | None = None
    """Runs of its sweep under way while it trained, itself among them, on average; None: not known, or it was not
    trained in one piece, so that its duration compares with no other."""

    @property
    def was_stopped(self) -> bool:
        """Whether it was stopped on request: it is not lost, and the next sweep continues it."""
        return self.error == INTERRUPTED


class TrialRecord(Record):
    """One trial: one frozen set with its other hyperparameters."""

    number: int
    """Optuna's number of the trial."""
    frozen: str
    """Key of the frozen set."""
    hyperparameters: Hyperparameters
    state: TrialState
    runs: tuple[RunRecord, ...] = ()
    """One a seed."""
    val_acc: float | None = None
    """Objective: mean over the runs; None unless complete."""
    trainable_params: int | None = None
    """Objective; None unless complete."""
    error: str | None = None
    """Why the trial failed, or was dropped."""
    repeats: int | None = None
    """Number of the earlier trial whose result answered this one: the sampler suggested it again."""
    scores: FrozenScores | None = None
    """What was known of its frozen set before anything trained."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is left to run: it is complete, or a race dropped it."""
        return self.state in {"complete", "pruned"}

    @property
    def pruned_after(self) -> int | None:
        """Epochs after which a race dropped it; None where none did."""
        return next((run.pruned_after for run in self.runs if run.pruned_after is not None), None)

    @property
    def put_off(self) -> bool:
        """Whether the sweep was stopped or died before it ended: it has not failed, and the next start goes on."""
        return self.state == "put_off"

    @property
    def has_failed(self) -> bool:
        """Whether it failed for a reason of its own."""
        return self.state == "failed"


def run_name(trial: int, frozen: str, seed: int, values: Iterable[str] = ()) -> str:
    """Name a run: `trial_007_stem+layer1_lr=0.003_seed0`; `values` say what varies in its sweep besides."""
    return "_".join([f"trial_{trial:03d}", frozen, *values, f"seed{seed}"])


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Write a nested mapping as one with dotted keys; lists stay values."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
