"""What `data.sampler` may name: the training images of an epoch. To add one, add a function to `SAMPLERS`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANDOM: Final = "random"
"""Each image comes once an epoch, in random order."""


def draw_balanced(rng: "np.random.Generator", labels: "NDArray[Any]") -> "NDArray[np.int64]":
    """Draw as many rows as there are labels, with replacement: on average each class as often as any other.

    Args:
        rng: Where they are drawn from: the same for the same seed and epoch.
        labels: Of the training images, by row.

    Source: `torch.utils.data.WeightedRandomSampler`, an image's weight being the inverse frequency of its class.
    """
    import numpy as np

    _, kinds, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return rng.choice(len(labels), size=len(labels), p=1.0 / (len(counts) * counts[kinds]))


SAMPLERS: Final[Mapping[str, Callable[..., "NDArray[np.int64]"]]] = {"balanced": draw_balanced}
"""What draws the rows of an epoch from a generator and the labels, by name; rows may come several times."""

if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[(RANDOM, *SAMPLERS)]
