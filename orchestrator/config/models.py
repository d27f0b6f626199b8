"""The typed values of an experiment: what `experiments.yaml` may say, with units, ranges and defaults."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.backbones import BACKBONES
from orchestrator.blocks import FrozenSet, all_sets, prefix_sets
from orchestrator.config.data import DataConfig as DataConfig
from orchestrator.config.data import SyntheticConfig as SyntheticConfig
from orchestrator.config.data import ValueRange as ValueRange
from orchestrator.config.fields import BatchSize as BatchSize
from orchestrator.config.fields import Section, blame
from orchestrator.config.network import SWEEP_NAME as SWEEP_NAME
from orchestrator.config.network import SWEEP_WEIGHTS as SWEEP_WEIGHTS
from orchestrator.config.network import ModelConfig as ModelConfig
from orchestrator.config.search import DIMENSIONS as DIMENSIONS
from orchestrator.config.search import SearchConfig as SearchConfig
from orchestrator.config.sources import explain_classes, known_classes
from orchestrator.config.trainer import Convolutions as Convolutions
from orchestrator.config.trainer import MatmulPrecision as MatmulPrecision
from orchestrator.config.trainer import Precision as Precision
from orchestrator.config.trainer import TrainerConfig as TrainerConfig
from orchestrator.config.tunings import explain_uncountable
from orchestrator.errors import ConfigError
from orchestrator.masking import is_ambiguous, remember_address

_MOST_WIDENED = 9
"""Blocks of which a study declares every subset."""

ExecutionMode = Literal["processes", "inline"]
"""Each is a module of `orchestrator.execution`, whose `build` builds the executor."""


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


class Replicate(NamedTuple):
    """What tells the runs of one trial apart."""

    seed: int
    fold: int | None = None
    """Which of `data.folds` is validated, from 0; None: there are none."""

    def __str__(self) -> str:
        return f"seed {self.seed}" if self.fold is None else f"seed {self.seed}, fold {self.fold}"


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

    @field_validator("trainer")
    @classmethod
    def _schedule_fits_the_epochs(cls, value: TrainerConfig) -> TrainerConfig:
        misfit = value.schedule.find_misfit(value.max_epochs)
        if misfit is not None:
            field, why = misfit
            raise blame(why, ("trainer", "schedule", field), getattr(value.schedule, field))
        return value

    @field_validator("trainer")
    @classmethod
    def _classes_are_balanced_once(cls, value: TrainerConfig, info: ValidationInfo) -> TrainerConfig:
        data = info.data.get("data")
        if data is not None and data.sampler == "balanced" and value.class_weights == "balanced":
            raise blame(
                "does what data.sampler does, which is balanced: rare classes would count twice; choose one of them",
                ("trainer", "class_weights"),
                value.class_weights,
            )
        return value

    @field_validator("search")
    @classmethod
    def _frozen_sets_fit_the_backbone(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        model = info.data.get("model")
        if model is None or not (model.blocks or (model.backbone in BACKBONES and model.granularity == "stage")):
            return value  # the blocks are found when the sweep starts
        order = tuple(model.blocks or model.network.blocks)
        if value.mode == "subset" and (text := explain_uncountable(value.tunings, len(order))):
            raise blame(text, ("search", "tunings"), [str(tuning) for tuning in value.tunings])
        arranged = []
        for number, frozen in enumerate(value.frozen):
            try:
                arranged.append(frozen.arrange(order))
            except ConfigError as error:
                text = f"{error.message} of {model.backbone}{f'; {error.hint}' if error.hint else ''}"
                raise blame(text, ("search", "frozen", number), frozen.key) from error
        return value.model_copy(update={"frozen": tuple(arranged)}) if value.frozen else value

    @field_validator("search")
    @classmethod
    def _folds_run_to_their_end(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        data = info.data.get("data")
        if data is not None and data.folds is not None and value.strategy == "race":
            raise blame(
                "race compares runs on the same validation images, and those of data.folds are validated on different "
                "ones: use full",
                ("search", "strategy"),
                value.strategy,
            )
        return value

    @property
    def replicates(self) -> tuple["Replicate", ...]:
        """What tells the runs of a trial apart, in order: each seed, and with `data.folds` each fold of it."""
        folds = (None,) if self.data.folds is None else range(self.data.folds)
        return tuple(Replicate(seed=seed, fold=fold) for seed in self.search.seeds for fold in folds)

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
        """Every set that freezes blocks and tunes none, to which a search may be widened; of many blocks its own only.

        They are in the order of `all_sets`, whatever is searched.
        """
        if len(self.blocks) <= _MOST_WIDENED:
            return all_sets(self.blocks)
        places = {block: place for place, block in enumerate(self.blocks)}
        own = [frozen for frozen in self.frozen_sets if not frozen.tuned]
        return sorted(own, key=lambda frozen: (len(frozen), [places[block] for block in frozen.blocks]))

    @property
    def frozen_sets(self) -> list[FrozenSet]:
        """The frozen sets of the search space, each once, before any budget."""
        if self.search.mode == "prefix":
            return prefix_sets(self.blocks, self.search.tunings)
        if self.search.mode == "subset":
            if text := explain_uncountable(self.search.tunings, len(self.blocks)):
                hint = "or set model.granularity to stage, or search.mode to prefix"
                raise ConfigError(f"search.tunings: {', '.join(map(str, self.search.tunings))} {text}", hint=hint)
            return all_sets(self.blocks, self.search.tunings)
        return list(dict.fromkeys(frozen.arrange(self.blocks) for frozen in self.search.frozen))
