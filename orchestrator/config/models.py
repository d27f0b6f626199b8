"""The typed values of an experiment: what `experiments.yaml` may say, with units, ranges and defaults."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.backbones import BACKBONES
from orchestrator.blocks import FrozenSet, all_sets, prefix_sets
from orchestrator.config.data import DataConfig as DataConfig
from orchestrator.config.data import SyntheticConfig as SyntheticConfig
from orchestrator.config.data import ValueRange as ValueRange
from orchestrator.config.dimensions import (
    BatchSizeDimension,
    Dimension,
    LearningRateDimension,
    OptimizerDimension,
    Searches,
    WeightDecayDimension,
)
from orchestrator.config.fields import BatchSize as BatchSize
from orchestrator.config.fields import LearningRate as LearningRate
from orchestrator.config.fields import Section, Seed, blame, require_distinct
from orchestrator.config.fields import WeightDecay as WeightDecay
from orchestrator.config.network import SWEEP_NAME as SWEEP_NAME
from orchestrator.config.network import SWEEP_WEIGHTS as SWEEP_WEIGHTS
from orchestrator.config.network import ModelConfig as ModelConfig
from orchestrator.config.optimizers import Optimizer as Optimizer
from orchestrator.config.race import BudgetConfig, RaceConfig
from orchestrator.config.schedules import ConstantSchedule, Schedule
from orchestrator.config.sources import explain_classes, known_classes
from orchestrator.errors import ConfigError
from orchestrator.masking import is_ambiguous, remember_address

_MOST_WIDENED = 9
"""Blocks of which a study declares every subset."""
_MOST_SUBSETS = 12
"""Blocks of which every subset can be tried."""

Precision = Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
MatmulPrecision = Literal["highest", "high", "medium"]
Accelerator = Literal["auto", "cpu", "gpu"]
Convolutions = Literal["auto", "torch"]
ExecutionMode = Literal["processes", "inline"]
"""Each is a module of `orchestrator.execution`, whose `build` builds the executor."""


class TrainerConfig(Section):
    """How one run trains."""

    max_epochs: int = Field(default=30, ge=1, le=100_000)
    """Epochs at the most."""
    patience: int = Field(default=10, ge=1, le=100_000)
    """Epochs without a lower `val_loss` after which training stops."""
    lr: LearningRate = 1e-4
    """Learning rate."""
    weight_decay: WeightDecay = 0.0
    """L2 penalty of adam and sgd, decoupled decay of adamw."""
    optimizer: Optimizer = "adam"
    """Optimizer of the trainable parameters."""
    schedule: Schedule = ConstantSchedule()
    """How the learning rate changes from step to step: `constant`, `cosine` or `step`; with values of its own as a
    mapping, such as `{name: cosine, warmup_epochs: 2}`."""
    accumulate: int = Field(default=1, ge=1, le=100_000)
    """Batches whose gradients are averaged for one optimizer step; the last step of an epoch takes what is left."""
    gradient_clip: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradient of all trainable parameters: a longer one is scaled down; null: it is left alone."""
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


class SearchConfig(Section):
    """What the study searches."""

    mode: Literal["prefix", "subset", "list"] = "prefix"
    """`prefix`: freeze the first k blocks; `subset`: every set of blocks; `list`: the sets in `frozen`."""
    frozen: tuple[FrozenSet, ...] = Field(default=(), validate_default=True)
    """The frozen sets of mode `list`, each as blocks joined by `+`, or `none`."""
    encoding: Literal["categorical", "per_block"] = "categorical"
    """One categorical parameter, or one boolean a block (mode `subset` only)."""
    sampler: Literal["auto", "tpe", "nsga2", "random", "gp"] = "auto"
    """`auto`: a finite space that fits `n_trials` is visited whole, each point once; else TPE."""
    n_trials: int | None = Field(default=None, ge=1, le=100_000, validate_default=True)
    """Trials of the study at the most; null: the whole finite space."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    """A trial runs once for each seed; its objective is the mean. A race begins with the first, and takes the others
    and further ones where they decide."""
    sampler_seed: Seed = 0
    """Seed of the sampler."""
    scores: bool = True
    """Score the pretrained blocks on some training images before anything trains; the scores order trials of equal
    cost, and drop none."""
    max_trainable_params: int | None = Field(default=None, ge=1)
    """Frozen sets that leave more parameters to train are left out before anything runs."""
    lr: Annotated[LearningRateDimension | None, Searches("trainer")] = None
    """Learning rates to search besides; null: `trainer.lr`."""
    weight_decay: Annotated[WeightDecayDimension | None, Searches("trainer")] = None
    """Weight decays to search besides; null: `trainer.weight_decay`."""
    batch_size: Annotated[BatchSizeDimension | None, Searches("data")] = None
    """Batch sizes to search besides; null: `data.batch_size`."""
    optimizer: Annotated[OptimizerDimension | None, Searches("trainer")] = None
    """Optimizers to search besides; null: `trainer.optimizer`."""
    strategy: Literal["full", "race"] = "full"
    """`full`: every trial trains to its end with every seed. `race`: trials without a prospect of the front are dropped
    at `race.rungs`, and more seeds go to those of which it is not clear whether they are on the front."""
    race: RaceConfig = RaceConfig()
    """How strategy `race` drops and repeats."""
    budget: BudgetConfig = BudgetConfig()
    """What strategy `race` may spend."""

    # A validator of one field sees the valid ones before it: so each broken rule is reported beside other mistakes.

    @field_validator("frozen")
    @classmethod
    def _frozen_goes_with_mode(cls, value: tuple[FrozenSet, ...], info: ValidationInfo) -> tuple[FrozenSet, ...]:
        mode = info.data.get("mode")
        if mode == "list" and not value:
            raise blame("needs search.frozen, the frozen sets to try", ("mode",), mode)
        if mode in {"prefix", "subset"} and value:
            raise ValueError(f"belongs to search.mode list, and the mode is {mode}")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_goes_with_mode(cls, value: str, info: ValidationInfo) -> str:
        mode = info.data.get("mode")
        if value == "per_block" and mode in {"prefix", "list"}:
            raise ValueError(f"belongs to search.mode subset, and the mode is {mode}")
        return value

    @field_validator("n_trials")
    @classmethod
    def _sampler_knows_its_end(cls, value: int | None, info: ValidationInfo) -> int | None:
        sampler = info.data.get("sampler", "auto")
        if value is None and sampler != "auto":
            raise blame("needs search.n_trials: a sampler has no end of its own", ("sampler",), sampler)
        return value

    @field_validator("*")
    @classmethod
    def _range_knows_its_end(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, Dimension) and value.span is not None and info.data.get("n_trials", 0) is None:
            raise ValueError("a range needs search.n_trials: it has no end of its own")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_are_distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        require_distinct(value)
        return value

    @field_validator("strategy")
    @classmethod
    def _race_needs_a_plan(cls, value: str, info: ValidationInfo) -> str:
        if value != "race":
            return value
        sampler = info.data.get("sampler", "auto")
        if sampler != "auto":
            raise blame("search.strategy race runs a planned space, and a sampler has none", ("sampler",), sampler)
        for name, given in info.data.items():
            if isinstance(given, Dimension) and given.span is not None:
                raise ValueError(f"race runs a planned space, and search.{name} is a range: give choices")
        return value

    @field_validator("budget")
    @classmethod
    def _budget_goes_with_race(cls, value: BudgetConfig, info: ValidationInfo) -> BudgetConfig:
        if value.is_given and info.data.get("strategy") == "full":
            raise ValueError("belongs to search.strategy race, and the strategy is full")
        return value

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The further dimensions by name, in a fixed order; those that are not searched are left out."""
        every = {name: getattr(self, name) for name in DIMENSIONS}
        return {name: dimension for name, dimension in every.items() if dimension is not None}


DIMENSIONS: Final = {
    name: mark.section
    for name, field in SearchConfig.model_fields.items()
    for mark in field.metadata
    if isinstance(mark, Searches)
}
"""Section of the experiment that each dimension of a search varies, by the name that the field has in both."""


class ExecutionConfig(Section):
    """Where runs happen. None of it changes a result."""

    mode: ExecutionMode = "processes"
    """Each run in a worker process of its own, or all in this process (for debugging)."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Runs at the same time; they share the CPU's cores and the GPUs. `auto`: on a CPU as many as end the plan soonest
    and fit its memory; on a GPU as many as keep it busy and fit its memory, which is measured when the sweep starts."""
    timeout_min: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Minutes after which a run is ended and lost; null: no limit."""
    stall_min: float | None = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Minutes without an epoch after which a worker counts as hung and is ended; null: no limit."""
    retries: int = Field(default=1, ge=0, le=100)
    """Times that a run is tried again when what lost it may pass: a dead worker, a full GPU, a timeout."""
    checkpoint_share: float = Field(default=0.01, gt=0, le=1)
    """Share of its time that a run may take to write what it would continue from; 1: after each epoch. What was trained
    since is trained again if the run dies; a run that is stopped writes in any case."""
    max_failures: int | None = Field(default=None, ge=1)
    """Lost runs after which the sweep stops; null: it goes on to its end."""

    @property
    def runs_at_a_time(self) -> int:
        """`workers` as a number; 1 as long as `auto` is not settled, which it never is where nothing is left to run."""
        return 1 if self.workers == "auto" else self.workers

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, value: object) -> object:
        """Read `execution: inline` as `execution: {mode: inline}`."""
        return {"mode": value} if isinstance(value, str) else value


class CacheConfig(Section):
    """What is kept under `<root>/cache` for later runs. None of it changes a result."""

    max_gb: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Size of that folder at the most (GiB); what was not used for longest goes first."""
    images: bool = True
    """Keep decoded images, for all runs of the machine; false: each run decodes its own."""
    activations: bool = True
    """Keep what the frozen first blocks give for each image, for all runs that freeze as much; false: each run computes
    it in each epoch."""


class TrackingConfig(Section):
    """Where results are tracked."""

    mlflow_uri: str | None = None
    """MLflow tracking URI; null: `sqlite:///<root>/mlflow.db`."""
    tensorboard: bool = True
    """Write TensorBoard event files too."""

    @field_validator("mlflow_uri")
    @classmethod
    def _uri_is_kept_secret(cls, value: str | None) -> str | None:
        """Let its credentials be masked from now on, wherever they would show."""
        remember_address(value)
        if value is not None and is_ambiguous(value):
            raise ValueError("in a password or token @ must be written %40, / %2F, ? %3F and # %23")
        return value


class Experiment(Section):
    """A named entry of `experiments.yaml`, complete and checked.

    Example:
        >>> from orchestrator import load_experiment
        >>> experiment = load_experiment("demo")
        >>> experiment.trainer.optimizer, experiment.data.batch_size, experiment.blocks
        ('adam', 8, ('stem', 'layer1', 'layer2', 'layer3', 'layer4'))
    """

    name: str
    """The entry's name: the Optuna study and the MLflow experiment are called so too."""
    description: str = ""
    """What it is for, in a sentence."""
    data: DataConfig
    """Where images come from and how they are prepared."""
    model: ModelConfig = ModelConfig()
    """The network and what it starts from."""
    trainer: TrainerConfig = TrainerConfig()
    """How one run trains."""
    search: SearchConfig = SearchConfig()
    """What the study searches."""
    execution: ExecutionConfig = ExecutionConfig()
    """Where runs happen."""
    cache: CacheConfig = CacheConfig()
    """What is kept for later runs."""
    tracking: TrackingConfig = TrackingConfig()
    """Where results are tracked."""

    @field_validator("model")
    @classmethod
    def _model_fits_the_entry(cls, value: ModelConfig, info: ValidationInfo) -> ModelConfig:
        if value.source_sweep is not None and value.source_sweep == info.data.get("name"):
            raise blame("a sweep cannot start from its own networks", ("model", "weights"), value.weights)
        data = info.data.get("data")
        if data is None:
            return value
        try:
            known = known_classes(data)
        except ConfigError as error:
            raise blame(error.message, ("data", "source"), data.source) from error
        if known is not None and value.num_classes not in {None, known}:
            raise blame(explain_classes(data), ("model", "num_classes"), value.num_classes)
        return value

    @field_validator("search")
    @classmethod
    def _frozen_sets_fit_the_backbone(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        model = info.data.get("model")
        if model is None or not (model.blocks or (model.backbone in BACKBONES and model.granularity == "stage")):
            return value  # the blocks are found when the sweep starts
        order = tuple(model.blocks or model.network.blocks)
        arranged = []
        for number, frozen in enumerate(value.frozen):
            try:
                arranged.append(frozen.arrange(order))
            except ConfigError as error:
                text = f"{error.message} of {model.backbone}{f'; {error.hint}' if error.hint else ''}"
                raise blame(text, ("search", "frozen", number), frozen.key) from error
        return value.model_copy(update={"frozen": tuple(arranged)}) if value.frozen else value

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block names of the backbone, in network order."""
        return tuple(self.model.blocks or self.model.network.blocks)

    def with_blocks(self) -> Self:
        """Return the experiment with its blocks written down, where they had to be found.

        Raises:
            ConfigError: The blocks cannot be found, or those that are given are none of the network's.
            SetupError: A library is missing.
        """
        known, model = self.model.network, self.model
        if known.chained:
            return self
        blocks = {block: tuple(paths) for block, paths in known.modules.items()}
        return self.model_copy(update={"model": model.model_copy(update={"blocks": blocks})})

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which runs pause in a race; the last one is their end."""
        end = self.trainer.max_epochs
        return (*(rung for rung in self.search.race.rungs if rung < end), end)

    @property
    def widest_sets(self) -> list[FrozenSet]:
        """Every frozen set of the network, to which its search space may be widened; of many blocks only its space."""
        return all_sets(self.blocks) if len(self.blocks) <= _MOST_WIDENED else self.frozen_sets

    @property
    def frozen_sets(self) -> list[FrozenSet]:
        """The frozen sets of the search space, each once, before any budget."""
        if self.search.mode == "prefix":
            return prefix_sets(self.blocks)
        if self.search.mode == "subset":
            if len(self.blocks) > _MOST_SUBSETS:
                raise ConfigError(
                    f"search.mode subset: {len(self.blocks)} blocks have {2 ** len(self.blocks):,} subsets",
                    hint="set model.granularity to stage, or search.mode to prefix or list",
                )
            return all_sets(self.blocks)
        return list(dict.fromkeys(frozen.arrange(self.blocks) for frozen in self.search.frozen))
