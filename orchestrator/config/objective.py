"""What the front of a sweep is between."""

from typing import get_args

from orchestrator.config.fields import Section
from orchestrator.errors import ConfigError
from orchestrator.objectives import CostKey, GainKey


class ObjectiveConfig(Section):
    """The gain that is sought and the cost that is saved."""

    gain: GainKey = "val_acc"
    """`val_acc`, `balanced_accuracy` and `macro_f1` are maximised, `val_loss` is minimised."""
    cost: CostKey = "trainable_params"
    """All are minimised. Seconds depend on what else the machine does, and memory on the device."""

    @property
    def is_default(self) -> bool:
        """Whether it is accuracy against trainable parameters."""
        return self == ObjectiveConfig()


def build_objective(gain: GainKey, cost: CostKey) -> ObjectiveConfig:
    """Build an objective of what a person asks for.

    Raises:
        ConfigError: There is no such gain or cost.
    """
    for what, given, known in (("gain", gain, get_args(GainKey)), ("cost", cost, get_args(CostKey))):
        if given not in known:
            raise ConfigError(f"{what} is one of {', '.join(known)}, not {given!r}")
    return ObjectiveConfig(gain=gain, cost=cost)
