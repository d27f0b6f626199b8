"""What `trainer.class_weights` may name. To add one, add a function to `CLASS_WEIGHTS`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

NO_WEIGHTS: Final = "none"


def balance_classes(counts: Sequence[int]) -> list[float]:
    """Weight each class by the inverse of its frequency: n / (k * n_c) for n images of k classes, n_c of them its own.

    The weights of all images add up to n. A class without images has weight 0.

    Source: `class_weight="balanced"` of scikit-learn.
    """
    images, classes = sum(counts), sum(count > 0 for count in counts)
    return [images / (classes * count) if count else 0.0 for count in counts]


CLASS_WEIGHTS: Final[Mapping[str, Callable[[Sequence[int]], list[float]]]] = {"balanced": balance_classes}
"""What gives the weight of each class for the numbers of their training images, by name."""

if TYPE_CHECKING:
    ClassWeights = str
else:
    ClassWeights = Literal[(NO_WEIGHTS, *CLASS_WEIGHTS)]
