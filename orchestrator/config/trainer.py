"""The typed values of a training: what `trainer` of `experiments.yaml` may say."""

from typing import Literal

from pydantic import Field, field_validator

from orchestrator.config.class_weights import ClassWeights
from orchestrator.config.fields import LearningRate, Section, WeightDecay
from orchestrator.config.monitors import Monitor
from orchestrator.config.optimizers import Optimizer
from orchestrator.config.schedules import ConstantSchedule, Schedule
from orchestrator.names import VAL_LOSS

Precision = Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
MatmulPrecision = Literal["highest", "high", "medium"]
Accelerator = Literal["auto", "cpu", "gpu"]
Convolutions = Literal["auto", "torch"]


class TrainerConfig(Section):
    """How one run trains."""

    max_epochs: int = Field(default=30, ge=1, le=100_000)
    """Epochs at the most."""
    patience: int = Field(default=10, ge=1, le=100_000)
    """Epochs that are no better by `monitor` after which training stops."""
    monitor: Monitor = VAL_LOSS
    """What says which epoch is the best, whose weights are kept: the lowest `val_loss`, or the highest `val_acc`,
    `balanced_accuracy` or `macro_f1` of the validation images; the first of equals."""
    lr: LearningRate = 1e-4
    """Learning rate."""
    weight_decay: WeightDecay = 0.0
    """Decoupled decay of adamw and adafactor, L2 penalty of the other optimizers."""
    optimizer: Optimizer = "adam"
    """Optimizer of the trainable parameters: one of `torch.optim` by its name in lower case, with torch's values but
    for sgd, whose momentum is 0.9. Learning rates that suit them differ: adadelta's is about 1."""
    lr_decay: float = Field(default=1.0, gt=0, le=1)
    """What the learning rate of the last block is multiplied by, that of the block before it twice, and so on towards
    the stem, frozen blocks counted; the head has `lr`. 1: all have."""
    schedule: Schedule = ConstantSchedule()
    """How the learning rate changes from step to step: `constant`, `cosine` or `step`; with values of its own as a
    mapping, such as `{name: cosine, warmup_epochs: 2}`."""
    accumulate: int = Field(default=1, ge=1, le=100_000)
    """Batches whose gradients are averaged for one optimizer step; the last step of an epoch takes what is left."""
    gradient_clip: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradient of all trainable parameters: a longer one is scaled down; null: it is left alone."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each training label that is spread evenly over all classes. `val_loss` knows nothing of it."""
    class_weights: ClassWeights = "none"
    """What a training image counts for in the loss: `balanced`: the less the more images its class has, so that all
    classes count alike; `none`: all images do. `val_loss` knows nothing of it."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of weights and BatchNorm statistics over optimizer steps, such as 0.99:
    what is validated, kept and tested is the average. null: there is none."""
    precision: Precision = "auto"
    """`auto`: bf16-mixed where the GPU has it natively, 16-mixed on other CUDA GPUs, 32-true on a CPU."""
    matmul_precision: MatmulPrecision = "highest"
    """What a GPU computes products of fp32 matrices and convolutions in, in torch's names: fp32 (`highest`), TF32
    (`high`), or for matrices bf16 where that is faster (`medium`)."""
    convolutions: Convolutions = "auto"
    """`auto`: on a CPU in fp32, 3x3 convolutions are computed with fewer products where that is faster; `torch`: all
    are computed by torch. Results differ in their last bits."""
    accelerator: Accelerator = "auto"
    """`auto`: a CUDA GPU where there is one."""
    deterministic: bool = True
    """Use deterministic algorithms only."""
    log_every_n_steps: int = Field(default=10, ge=1)
    """Training steps from one logged step loss to the next."""

    @field_validator("accelerator", mode="before")
    @classmethod
    def _apple_is_not_supported(cls, value: object) -> object:
        if value == "mps":
            raise ValueError("Apple's GPU is not supported: what it computes was never checked against a CPU. Use cpu")
        return value
