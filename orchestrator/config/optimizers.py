"""The optimizers that `trainer.optimizer` may name. To add one, add it to `OPTIMIZERS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerKind:
    """How an optimizer is built from the trainable parameters, `lr` and `weight_decay`.

    Attributes:
        torch_name: Its class in `torch.optim`.
        arguments: Further arguments. A fused optimizer steps all parameters in one pass over the memory.
        late_state: Tensors of its state that torch only allocates in the first step, and that a fused step which the
            scaler of the loss skips leaves as they are.
    """

    torch_name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    late_state: tuple[str, ...] = ()


_FUSED = {"fused": True}
OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "adam": OptimizerKind(torch_name="Adam", arguments=_FUSED),
    "adamw": OptimizerKind(torch_name="AdamW", arguments=_FUSED),
    "sgd": OptimizerKind(torch_name="SGD", arguments={"momentum": 0.9, **_FUSED}, late_state=("momentum_buffer",)),
    "adadelta": OptimizerKind(torch_name="Adadelta"),
    "adafactor": OptimizerKind(torch_name="Adafactor"),
    "adagrad": OptimizerKind(torch_name="Adagrad"),
    "adamax": OptimizerKind(torch_name="Adamax"),
    "asgd": OptimizerKind(torch_name="ASGD"),
    "nadam": OptimizerKind(torch_name="NAdam"),
    "radam": OptimizerKind(torch_name="RAdam"),
    "rmsprop": OptimizerKind(torch_name="RMSprop"),
}
UNFIT: Mapping[str, str] = {
    "lbfgs": "it computes the loss several times a step, and a batch is computed once",
    "muon": "it takes matrices only, and networks have vectors and convolutions too",
    "rprop": "it is for gradients of all images, not of batches, and takes the learning rate for its first step",
    "sparseadam": "it takes sparse gradients only",
}
"""Optimizers of torch that cannot train a network here, and why."""


def _refuse_unfit(name: object) -> object:
    why = UNFIT.get(name.lower()) if isinstance(name, str) else None
    if why is not None:
        raise ValueError(f"cannot be used: {why}; choose one of {', '.join(OPTIMIZERS)}")
    return name


if TYPE_CHECKING:
    Optimizer = str
else:
    Optimizer = Annotated[Literal[tuple(OPTIMIZERS)], BeforeValidator(_refuse_unfit)]
