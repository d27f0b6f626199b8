"""What is known of a backbone's published weights: the images that they were trained on, and their licence."""

from dataclasses import dataclass
from typing import Any

from orchestrator.discovery import TIMM
from orchestrator.training.network.architectures import named_weights, timm_facts

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Published weights of a backbone.

    Attributes:
        name: As `model.weights` names them; empty: they cannot be loaded by name.
        mean: Of each channel, of images in [0, 1].
        std: Likewise.
        image_size: Pixels square.
        resized_to: Pixels of the shorter side before the square is cut out of the middle.
        interpolation: How images were resized.
        licence: What is said of it; None: nothing is.
    """

    name: str
    mean: Channels
    std: Channels
    image_size: int
    resized_to: int
    interpolation: str
    licence: str | None

    def __str__(self) -> str:
        licence = "no licence is stated" if self.licence is None else f"licence {self.licence}"
        return (
            f"{self.image_size} px cut out of {self.resized_to} px, {self.interpolation}, "
            f"mean {list(self.mean)}, std {list(self.std)}; {licence}"
        )


def find_published(backbone: str, weights: str) -> PublishedWeights | None:
    """Return what is known of the weights called `weights`; None where a backbone has none of that name.

    Of timm, whose weights have no name here, it is what the network's default weights were made with.
    """
    if backbone.startswith(TIMM):
        return _of_timm(timm_facts(backbone))
    found = named_weights(backbone).get(weights)
    return None if found is None else _of_torchvision(weights, found)


def _of_torchvision(name: str, weights: Any) -> PublishedWeights:
    transforms = weights.transforms()
    return PublishedWeights(
        name=name,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        image_size=int(transforms.crop_size[0]),
        resized_to=int(transforms.resize_size[0]),
        interpolation=transforms.interpolation.value,
        licence=weights.meta.get("license"),
    )


def _of_timm(facts: Any) -> PublishedWeights:
    size = facts.input_size[-1]
    return PublishedWeights(
        name="",
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        image_size=size,
        resized_to=round(size / facts.crop_pct),
        interpolation=facts.interpolation,
        licence=facts.license,
    )
