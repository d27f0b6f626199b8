"""The typed values of a search: what `search` of `experiments.yaml` may say."""

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from orchestrator.blocks import FrozenSet
from orchestrator.config.dimensions import (
    BatchSizeDimension,
    Dimension,
    LearningRateDimension,
    OptimizerDimension,
    Searches,
    WeightDecayDimension,
)
from orchestrator.config.fields import Section, Seed, blame, require_distinct
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.config.race import BudgetConfig, RaceConfig
from orchestrator.config.recommend import RecommendConfig
from orchestrator.config.tunings import FULL_ONLY, Tunings


class SearchConfig(Section):
    """What the study searches."""

    mode: Literal["prefix", "subset", "list"] = "prefix"
    """`prefix`: freeze the first k blocks; `subset`: every set of blocks; `list`: the sets in `frozen`."""
    frozen: tuple[FrozenSet, ...] = Field(default=(), validate_default=True)
    """The frozen sets of mode `list`, each as blocks joined by `+`, or `none`; `layer2:norm` is a block that is not
    frozen and does not train in full."""
    tunings: Tunings = Field(default=("full",), validate_default=True)
    """What blocks that are not frozen do: `full`; `norm`: the affine parameters of the normalisation train; `bias`; or
    `lora-R`: a change of rank R of convolutions and linear layers. Mode `prefix`: all of them the same, with each
    tuning; `subset`: every combination."""
    encoding: Literal["categorical", "per_block"] = "categorical"
    """One categorical parameter, or one a block (mode `subset` only)."""
    sampler: Literal["auto", "blocks", "tpe", "nsga2", "random", "gp"] = "auto"
    """`auto`: a finite space that fits `n_trials` is visited whole, each point once; else `blocks`, which proposes
    frozen sets by what all trials say of the blocks, or TPE where more than the frozen set is searched."""
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
    objective: ObjectiveConfig = ObjectiveConfig()
    """What the front is between, where nothing else is asked for. It may change: nothing is trained again."""
    strategy: Literal["full", "race"] = "full"
    """`full`: every trial trains to its end with every seed. `race`: trials without a prospect of the front are dropped
    at `race.rungs`, and more seeds go to those whose place in the recommendation or on the front is open."""
    race: RaceConfig = RaceConfig()
    """How strategy `race` drops and repeats."""
    budget: BudgetConfig = BudgetConfig()
    """What strategy `race` may spend."""
    recommend: RecommendConfig = RecommendConfig()
    """Which trial is recommended. A race gives further seeds first to those of which that is not clear."""

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

    @field_validator("tunings")
    @classmethod
    def _tunings_go_with_mode(cls, value: Tunings, info: ValidationInfo) -> Tunings:
        if info.data.get("mode") == "list" and value != FULL_ONLY:
            raise ValueError("belongs to search.mode prefix or subset: in mode list the frozen sets name their tunings")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_goes_with_mode(cls, value: str, info: ValidationInfo) -> str:
        mode = info.data.get("mode")
        if value == "per_block" and mode in {"prefix", "list"}:
            raise ValueError(f"belongs to search.mode subset, and the mode is {mode}")
        return value

    @field_validator("sampler")
    @classmethod
    def _blocks_sample_one_parameter_of_tunings(cls, value: str, info: ValidationInfo) -> str:
        in_part = info.data.get("tunings", FULL_ONLY) != FULL_ONLY
        if value == "blocks" and in_part and info.data.get("encoding") == "per_block":
            text = "search.sampler blocks chooses among whole sets where blocks train in part: take categorical"
            raise blame(text, ("encoding",), "per_block")
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
        objective = info.data.get("objective")
        if objective is not None and not objective.is_default:
            raise ValueError("race decides by val_acc and trainable_params alone: leave search.objective out")
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
