"""What `model.weights` may say: a name of torchvision, `none`, or the path of a file."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from orchestrator.backbones import find_backbone
from orchestrator.config.models import SWEEP_WEIGHTS, ModelConfig
from orchestrator.errors import ConfigError

RANDOM_WEIGHTS = "none"
SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".pth.tar")


def is_weight_path(weights: str) -> bool:
    """True where `weights` is a path and no name: it has a suffix of weights or a separator, or is there."""
    return weights.endswith(SUFFIXES) or "/" in weights or Path(weights).expanduser().exists()


def cached_file(backbone: str, name: str) -> Path:
    """Return the file in which torch's hub keeps torchvision's weights `name`."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    hub = Path(os.environ.get("TORCH_HOME", home)).expanduser() / "hub"
    return hub / "checkpoints" / find_backbone(backbone).files[name]


def unknown_name(model: ModelConfig, names: Sequence[str]) -> ConfigError:
    """Build the error of a name that is none of `names`."""
    choices = [*names, RANDOM_WEIGHTS]
    close = get_close_matches(model.weights.upper(), names, n=1) or get_close_matches(model.weights, choices, n=1)
    return ConfigError(
        f"model.weights: unknown weights {model.weights!r} of {model.backbone}; "
        f"known: {', '.join(choices)}, the path of a file of weights, or {SWEEP_WEIGHTS}<experiment>",
        hint=f"did you mean {close[0]!r}?" if close else "set model.weights to one of them",
    )
