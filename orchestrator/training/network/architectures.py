"""Networks as a backbone's builder, or torchvision, makes them."""

from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch import nn

from orchestrator.backbones import find_backbone
from orchestrator.errors import ConfigError

_ANY_CLASSES = 1000
"""Rows of a head that nobody looks at."""


def build_random(backbone: str, num_classes: int = _ANY_CLASSES) -> nn.Module:
    """Build the network of a backbone with random weights, on torch's default device.

    Raises:
        ConfigError: There is no such backbone, or what an installed package builds is not what it states.
    """
    known = find_backbone(backbone)
    if known.builder is None:
        network: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=num_classes)
        return network
    built = known.builder(num_classes)
    if not isinstance(built, nn.Module):
        raise ConfigError(f"model.backbone: the builder of {backbone} returns a {type(built).__name__}, not a Module")
    stated = [path for paths in (*known.modules.values(), known.pool, (known.head,)) for path in paths]
    held = {path for path, _ in built.named_modules()}
    missing = [path for path in stated if path not in held]
    if missing:
        raise ConfigError(f"model.backbone: the network of {backbone} has no module {', '.join(missing)}")
    return built


def build_empty(backbone: str, num_classes: int = _ANY_CLASSES) -> nn.Module:
    """Build the network of a backbone without values, on torch's meta device.

    Raises:
        ConfigError: See `build_random`.
    """
    try:
        with torch.device("meta"):
            return build_random(backbone, num_classes)
    except NotImplementedError:  # some compute the sizes of their layers with tensors, which need values
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build_random(backbone, num_classes).to("meta")


def named_weights(backbone: str) -> Mapping[str, Any]:
    """Return torchvision's weights of a backbone by name; none where a package builds the network."""
    if find_backbone(backbone).builder is not None:
        return {}
    weights: Mapping[str, Any] = torchvision.models.get_model_weights(backbone).__members__
    return weights
