"""What `data.augment` may do to training images. To add one, add a class, and the value to `TRANSFORMS`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_TRANSFORM: Final = "none"


class Transform(Protocol):
    """A random change of training images, drawn for each image once an epoch."""

    def draw(self, rng: "np.random.Generator", count: int) -> "NDArray[Any]":
        """Draw what becomes of each of `count` images: a row each."""

    def apply(self, images: Any, drawn: Any) -> Any:
        """Change a batch.

        Args:
            images: Tensor (uint8, [n, 3, height, width]).
            drawn: Tensor of the rows that were drawn for them, on the same device.

        Returns:
            The changed images, in a tensor of the same shape and type.
        """


@dataclass(frozen=True, slots=True)
class Flip:
    """Swap left and right.

    Attributes:
        probability: Of an image in an epoch.
    """

    probability: float = 0.5

    def draw(self, rng: "np.random.Generator", count: int) -> "NDArray[Any]":
        """Draw which images are flipped."""
        return rng.random(count) < self.probability

    def apply(self, images: Any, drawn: Any) -> Any:
        """Flip the images of a batch that were drawn."""
        return images.flip(-1).where(drawn.view(-1, 1, 1, 1), images)


TRANSFORMS: Final[Mapping[str, Transform]] = {"flip": Flip()}

if TYPE_CHECKING:
    TransformName = str
else:
    TransformName = Literal[(NO_TRANSFORM, *TRANSFORMS)]
