"""What `trainer.monitor` may name: a quantity of the validation images that says which epoch is the best."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.names import BALANCED_ACCURACY, MACRO_F1, VAL_ACC, VAL_LOSS

MONITORS: Final[Mapping[str, Literal["min", "max"]]] = {
    VAL_LOSS: "min",
    VAL_ACC: "max",
    BALANCED_ACCURACY: "max",
    MACRO_F1: "max",
}
"""Which of two values is the better one, by the quantity."""

if TYPE_CHECKING:
    Monitor = str
else:
    Monitor = Literal[tuple(MONITORS)]
