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
from orchestrator.blocks import FrozenSet
from orchestrator.config.dimensions import FloatRange, IntRange
from orchestrator.config.models import Experiment
from orchestrator.records.spec import Choice, Hyperparameters


class Space:
    """Translates between points of an experiment's search space and Optuna's parameters."""

    def __init__(self, experiment: Experiment) -> None:
        self._search = experiment.search
        self._blocks = experiment.blocks
        self._base = Hyperparameters.of(experiment)

    def distributions(self, frozen_sets: Sequence[FrozenSet]) -> dict[str, BaseDistribution]:
        """Return Optuna's view of the space, with these frozen sets.

        Choices are sorted: Optuna takes those of a study in another order for others.
        """
        space: dict[str, BaseDistribution] = {}
        if self._search.encoding == "per_block":
            space |= {f"{names.FREEZE_PREFIX}{block}": CategoricalDistribution([False, True]) for block in self._blocks}
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
            return {f"{names.FREEZE_PREFIX}{block}": block in frozen for block in self._blocks}
        return {names.FROZEN: frozen.key}

    def decode(self, params: Mapping[str, Any]) -> Choice:
        """Read a point from Optuna's parameters; what is not searched is as configured."""
        searched = {name: params[name] for name in self._search.dimensions}
        if self._search.encoding == "per_block":
            blocks = [block for block in self._blocks if params[f"{names.FREEZE_PREFIX}{block}"]]
            frozen = FrozenSet.of(blocks, order=self._blocks)
        else:
            frozen = FrozenSet.parse(params[names.FROZEN])
        base = self._base.model_dump()
        return Choice(frozen=frozen, hyperparameters=Hyperparameters(**(base | searched)))


def describe(distribution: BaseDistribution) -> str:
    """Write a distribution for people."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    scale = ", logarithmic" if getattr(distribution, "log", False) else ""
    return f"{getattr(distribution, 'low', None)} to {getattr(distribution, 'high', None)}{scale}"
