"""What `data.augment` may do to training images. To add a named one, add it to `TRANSFORMS`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

from pydantic import PlainValidator

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


@dataclass(frozen=True, slots=True)
class TransformStep:
    """A transform of `torchvision.transforms.v2` by its name.

    Attributes:
        name: Its class.
        arguments: Its arguments, as plain values. `size` is that of the images where it must be given and is not; in
            `transforms` stand further steps; `interpolation` is a name, such as `bilinear`.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        written = ", ".join(f"{key}: {json.dumps(value)}" for key, value in sorted(self.arguments.items()))
        return f"{self.name}: {{{written}}}" if written else self.name


Steps = tuple[TransformStep, ...]
_CROP_FLIP: Final = (TransformStep("RandomResizedCrop"), TransformStep("RandomHorizontalFlip"))
TRANSFORMS: Final[Mapping[str, Transform | Steps]] = {
    "flip": Flip(),
    "crop-flip": _CROP_FLIP,
    "randaugment": (*_CROP_FLIP, TransformStep("RandAugment")),
    "trivialaugment": (*_CROP_FLIP, TransformStep("TrivialAugmentWide")),
}
"""What changes the images, or the steps of torchvision that do, by name.

Source: torchvision's `references/classification`, where the two policies follow a crop and a flip too.
"""


def read_step(value: object) -> TransformStep:
    """Read `RandomRotation: {degrees: 10}`, or `RandomHorizontalFlip` where no argument is given.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, TransformStep):
        return value
    if isinstance(value, str):
        return TransformStep(value)
    if isinstance(value, Mapping) and value.keys() == {"name", "arguments"}:  # as it is written down
        value = {value["name"]: value["arguments"]}
    if isinstance(value, Mapping) and len(value) == 1:
        (name, arguments) = next(iter(value.items()))
        if isinstance(name, str) and isinstance(arguments, Mapping | None):
            return TransformStep(name, dict(arguments or {}))
    raise ValueError(
        "each item of the list must be a transform of torchvision.transforms.v2, by its name or as "
        f"{{RandomRotation: {{degrees: 10}}}}, and one is {json.dumps(value, default=str)}"
    )


def _read_augment(value: object) -> str | Steps:
    names = (NO_TRANSFORM, *TRANSFORMS)
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise ValueError(f"an empty list changes nothing: write {NO_TRANSFORM}")
        return tuple(read_step(item) for item in value)
    close = get_close_matches(str(value), names, n=1)
    raise ValueError(
        f"must be one of {', '.join(names)}, or a list of transforms of torchvision.transforms.v2"
        f"{f'; did you mean {close[0]!r}?' if close else ''}"
    )


def describe_augment(value: str | Steps) -> str:
    """Write a value of `data.augment` for people."""
    return value if isinstance(value, str) else f"[{', '.join(map(str, value))}]"


if TYPE_CHECKING:
    Augment = str | Steps
else:
    Augment = Annotated[
        Any,
        PlainValidator(
            _read_augment,
            json_schema_input_type=Literal[(NO_TRANSFORM, *TRANSFORMS)] | list[str | dict[str, dict[str, Any] | None]],
        ),
    ]
