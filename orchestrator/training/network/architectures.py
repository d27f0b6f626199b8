"""Networks as a backbone's builder, torchvision, timm or a function of the user makes them."""

import importlib
import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
import torchvision
from torch import nn

from orchestrator.backbones import BACKBONES
from orchestrator.discovery import OWN, TIMM, TORCHVISION, require_network_name
from orchestrator.errors import ConfigError, SetupError

_ANY_CLASSES = 1000
"""Rows of a head that nobody looks at."""
USUAL_SIZE: Final = 224
"""Pixels of the images that a network is made for, where it does not say."""
_AS_PRETRAINED: Mapping[str, Mapping[str, object]] = {
    # torchvision's weights were trained with this input, and its auxiliary classifiers are no part of a run
    name: {"aux_logits": False, "init_weights": False, "transform_input": True}
    for name in ("googlenet", "inception_v3")
}


def build_random(backbone: str, num_classes: int = _ANY_CLASSES, image_size: int | None = None) -> nn.Module:
    """Build the network of a backbone with random weights, on torch's default device.

    Args:
        backbone: Its name, as `model.backbone` takes it.
        num_classes: Outputs of the head.
        image_size: Pixels square of its images; only networks that are made for one size look at it. None: the size
            of its published weights.

    Raises:
        ConfigError: There is no such backbone, or what is built is not what is stated.
        SetupError: The package that knows it is not installed.
    """
    if backbone in BACKBONES:
        return _build_registered(backbone, num_classes)
    require_network_name(backbone)
    if backbone.startswith(TIMM):
        return _build_timm(backbone, num_classes, image_size)
    if OWN.fullmatch(backbone):
        return _build_own(backbone, num_classes)
    arguments = dict(_AS_PRETRAINED.get(backbone, {}))
    if image_size is not None and backbone.startswith("vit_"):
        arguments["image_size"] = image_size
    if image_size is not None and backbone.startswith("maxvit_"):
        arguments["input_size"] = (image_size, image_size)
    with _explaining(backbone, image_size):
        network: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=num_classes, **arguments)
    return network


def build_empty(backbone: str, num_classes: int = _ANY_CLASSES, image_size: int | None = None) -> nn.Module:
    """Build the network of a backbone without values, on torch's meta device.

    Raises:
        ConfigError: See `build_random`.
        SetupError: See `build_random`.
    """
    try:
        with torch.device("meta"):
            return build_random(backbone, num_classes, image_size)
    except (NotImplementedError, ConfigError):  # some compute the sizes of their layers with tensors, which need values
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build_random(backbone, num_classes, image_size).to("meta")


def named_weights(backbone: str) -> Mapping[str, Any]:
    """Return torchvision's weights of a backbone by name; none where something else builds the network."""
    if backbone.startswith(TIMM) or OWN.fullmatch(backbone):
        return {}
    if backbone in BACKBONES and BACKBONES.find(backbone).builder is not None:
        return {}
    weights: Mapping[str, Any] = torchvision.models.get_model_weights(backbone).__members__
    return weights


def timm_facts(backbone: str) -> Any:
    """Return what timm states of the default weights of `timm/<name>`: its `PretrainedCfg`.

    Raises:
        ConfigError: timm has no such network.
        SetupError: timm is not installed.
    """
    timm, name = _import_timm(), backbone.removeprefix(TIMM)
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0]}*")[:1]
        raise ConfigError(
            f"model.backbone: timm {timm.__version__} has no network {name!r}",
            hint=f"did you mean timm/{close[0]}?" if close else "timm.list_models() lists them",
        )
    return timm.get_pretrained_cfg(name)


def usual_size(backbone: str) -> int:
    """Return the pixels square of the images that a backbone's published weights were made for."""
    if backbone.startswith(TIMM):
        size: int = timm_facts(backbone).input_size[-1]
        return size
    weights = named_weights(backbone).get("DEFAULT")
    return USUAL_SIZE if weights is None else int(weights.transforms.keywords["crop_size"])


def _is_made_for_one_size(backbone: str) -> bool:
    """Return whether a network takes the size of its images when it is built."""
    if backbone.startswith(TIMM):
        return bool(timm_facts(backbone).fixed_input_size)
    return backbone in TORCHVISION and backbone.startswith(("vit_", "maxvit_"))


def _build_registered(backbone: str, num_classes: int) -> nn.Module:
    known = BACKBONES.find(backbone)
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


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise SetupError(
            "model.backbone: networks of timm need the package timm, which is not installed",
            hint="pip install 'freeze-orchestrator[timm]'",
        ) from error


def _build_timm(backbone: str, num_classes: int, image_size: int | None) -> nn.Module:
    timm_facts(backbone)  # says that timm is missing, or the network
    arguments = {"pretrained": False, "num_classes": num_classes}
    if image_size is not None and _is_made_for_one_size(backbone):
        arguments["img_size"] = image_size
    with _explaining(backbone, image_size):
        network: nn.Module = _import_timm().create_model(backbone.removeprefix(TIMM), **arguments)
    return network


def _build_own(backbone: str, num_classes: int) -> nn.Module:
    where, _, name = backbone.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as `python -m` does; a command's own folder stands there instead
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        function: Callable[..., object] = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.backbone: {backbone} cannot be imported: {error}",
            hint="give package.module:function; the folder that you are in is looked into as well",
        ) from error
    with _explaining(backbone, None):
        built = function(num_classes=num_classes)
    if not isinstance(built, nn.Module):
        raise ConfigError(f"model.backbone: {backbone} returns a {type(built).__name__}, not a torch.nn.Module")
    return built


@contextmanager
def _explaining(backbone: str, image_size: int | None) -> Iterator[None]:
    """Turn what a builder raises into an error that names the network; what the meta device lacks passes."""
    try:
        yield
    except (NotImplementedError, MemoryError):
        raise
    except Exception as error:  # a builder raises whatever it likes
        size = "" if image_size is None else f" for images of {image_size} px"
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"model.backbone: {backbone} cannot be built{size}: {type(error).__name__}: {reason[0]}"
        ) from error


def require_size(network: nn.Module, backbone: str, image_size: int) -> None:
    """Make sure that a network takes images of so many pixels square; nothing is computed.

    Args:
        network: On the meta device.
        backbone: Its name.
        image_size: Pixels square.

    Raises:
        ConfigError: It does not; the smallest size that it takes is named.
    """
    reason = _refusal(network, image_size)
    if reason is None:
        return
    smallest = find_smallest_size(backbone, image_size)
    raise ConfigError(
        f"data.image_size: {backbone} cannot take images of {image_size} px: {reason}",
        hint=f"the smallest that it takes have {smallest} px"
        if smallest is not None
        else "set another data.image_size",
    )


def find_smallest_size(backbone: str, above: int = 0) -> int | None:
    """Find the pixels square of the smallest images, larger than `above`, that a network takes.

    Returns:
        They; None where it takes none up to twice the size that it was made for.
    """
    sizes = range(above + 1, 2 * usual_size(backbone) + 1)
    if _is_made_for_one_size(backbone):
        return next((size for size in sizes if _takes(backbone, size)), None)
    network = build_empty(backbone)
    place = bisect_left(sizes, 1, key=lambda size: _refusal(network, size) is None)
    return sizes[place] if place < len(sizes) else None


def _takes(backbone: str, size: int) -> bool:
    try:
        return _refusal(build_empty(backbone, image_size=size), size) is None
    except ConfigError:
        return False


def _refusal(network: nn.Module, image_size: int) -> str | None:
    """Return why a network takes no images of so many pixels; None: it does."""
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    except Exception as error:  # noqa: BLE001 - a network raises whatever it likes
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None
