"""The optimizers that `trainer.optimizer` may name. To add one, add it to `OPTIMIZERS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerKind:
    """How an optimizer is built from the trainable parameters, `lr` and `weight_decay`.

    Attributes:
        torch_name: Its class in `torch.optim`.
        arguments: Further arguments. A fused optimizer steps all parameters in one pass over the memory.
        late_state: Tensors of its state that torch only allocates in the first step.
    """

    torch_name: str
    arguments: Mapping[str, object] = field(default_factory=lambda: {"fused": True})
    late_state: tuple[str, ...] = ()


OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "adam": OptimizerKind(torch_name="Adam"),
    "adamw": OptimizerKind(torch_name="AdamW"),
    "sgd": OptimizerKind(torch_name="SGD", arguments={"momentum": 0.9, "fused": True}, late_state=("momentum_buffer",)),
}

if TYPE_CHECKING:
    Optimizer = str
else:
    Optimizer = Literal[tuple(OPTIMIZERS)]
