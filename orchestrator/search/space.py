"""The search space as Optuna sees it: distributions by name, and points of it as parameters and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator import names
from orchestrator.blocks import FrozenSet, Tuning
from orchestrator.config.dimensions import FloatRange, IntRange
from orchestrator.config.models import Experiment
from orchestrator.records.spec import Choice, Hyperparameters

_SHOWN = 50
"""Choices that a message lists."""


class Space:
    """Translates between points of an experiment's search space and Optuna's parameters."""

    def __init__(self, experiment: Experiment) -> None:
        self._search = experiment.search
        self._blocks = experiment.blocks
        self._base = Hyperparameters.of(experiment)
        self._freezes_only = experiment.search.tunings == (Tuning.FULL,)
        self._prefix = names.FREEZE_PREFIX if self._freezes_only else names.TUNE_PREFIX

    def _encode_tuning(self, tuning: Tuning) -> bool | str:
        """Write what a block does; booleans where it is frozen or trains in full, as in studies without tunings."""
        return tuning == Tuning.FROZEN if self._freezes_only else str(tuning)

    def distributions(self, frozen_sets: Sequence[FrozenSet]) -> dict[str, BaseDistribution]:
        """Return Optuna's view of the space, with these frozen sets.

        Choices are sorted: Optuna takes those of a study in another order for others.
        """
        space: dict[str, BaseDistribution] = {}
        if self._search.encoding == "per_block":
            levels = sorted({self._encode_tuning(tuning) for tuning in (Tuning.FROZEN, *self._search.tunings)})
            space |= {f"{self._prefix}{block}": CategoricalDistribution(levels) for block in self._blocks}
        else:
            space[names.FROZEN] = CategoricalDistribution([frozen.key for frozen in frozen_sets])
        for name, dimension in self._search.dimensions.items():
            span = dimension.span
            if isinstance(span, FloatRange):
                space[name] = FloatDistribution(span.low, span.high, log=span.log)
            elif isinstance(span, IntRange):
                space[name] = IntDistribution(span.low, span.high, log=span.log)
            else:
                space[name] = CategoricalDistribution(sorted(dimension.values or ()))
        return space

    def encode(self, choice: Choice) -> dict[str, Any]:
        """Write a point as Optuna's parameters."""
        point = {name: getattr(choice.hyperparameters, name) for name in self._search.dimensions}
        return self.encode_frozen(choice.frozen) | point

    def encode_frozen(self, frozen: FrozenSet) -> dict[str, Any]:
        """Write a frozen set as Optuna's parameters."""
        if self._search.encoding == "per_block":
            return {f"{self._prefix}{block}": self._encode_tuning(frozen.tuning(block)) for block in self._blocks}
        return {names.FROZEN: frozen.key}

    def decode(self, params: Mapping[str, Any]) -> Choice:
        """Read a point from Optuna's parameters; what is not searched is as configured."""
        searched = {name: params[name] for name in self._search.dimensions}
        if self._search.encoding == "per_block":
            levels = {block: params[f"{self._prefix}{block}"] for block in self._blocks}
            does = {block: {False: "full", True: "frozen"}.get(level, level) for block, level in levels.items()}
            frozen = FrozenSet.of([f"{block}:{tuning}" for block, tuning in does.items()], order=self._blocks)
        else:
            frozen = FrozenSet.parse(params[names.FROZEN])
        base = self._base.model_dump()
        return Choice(frozen=frozen, hyperparameters=Hyperparameters(**(base | searched)))


def declare_sets(experiment: Experiment, kept: Sequence[FrozenSet] | None) -> list[FrozenSet]:
    """List the frozen sets that a study declares to Optuna, in an order that depends on nothing else.

    Args:
        experiment: What is searched.
        kept: Those that a sampler may choose. None: trials are planned; then all that train blocks in full or not at
            all are declared, so that the plan can be widened later, unless there are too many blocks for that.
    """
    frozen_only = [frozen for frozen in experiment.widest_sets if kept is None or frozen in kept]
    tuned = [frozen for frozen in (experiment.frozen_sets if kept is None else kept) if frozen.tuned]
    return [*frozen_only, *sorted(tuned, key=str)]


def describe(distribution: BaseDistribution) -> str:
    """Write a distribution for people."""
    if isinstance(distribution, CategoricalDistribution):
        choices = [str(choice) for choice in distribution.choices]
        more = [f"and {len(choices) - _SHOWN} more"] if len(choices) > _SHOWN else []
        return ", ".join([*choices[:_SHOWN], *more])
    scale = ", logarithmic" if getattr(distribution, "log", False) else ""
    return f"{getattr(distribution, 'low', None)} to {getattr(distribution, 'high', None)}{scale}"
