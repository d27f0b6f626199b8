"""What a backbone starts from: torchvision weights or a file, as a checked state dict in fp32."""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.config.models import SWEEP_WEIGHTS, ModelConfig
from orchestrator.errors import ConfigError, SetupError

RANDOM_WEIGHTS = "none"
_HEAD = "fc."
_COUNTER = ".num_batches_tracked"
_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt")
NETWORK_PREFIX = "network."
"""The network's place among the keys of a run's checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """The backbone's tensors, complete and in the network's dtypes, without head.

    Attributes:
        state: Tensors by name.
        notes: What the user should hear, a sentence each.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hex digest over names, shapes and fp32 values, in order of name; BatchNorm's counters do not count."""
        digest = hashlib.sha256()
        for name in sorted(self.state):
            if not name.endswith(_COUNTER):
                tensor = self.state[name]
                digest.update(f"{name}:{tuple(tensor.shape)}:".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_weights(model: ModelConfig, file: str | None = None) -> LoadedWeights | None:
    """Load what `model.weights` names; None for random weights.

    The head is left out always: each run trains a new one, from its seed.

    Args:
        model: The backbone, and its weights.
        file: Where they lie, if `model.weights` names a sweep: who started this run has looked it up.

    Raises:
        ConfigError: The name is unknown, the file is not there, or it does not hold this backbone's state dict.
        SetupError: Weights to download, and neither network nor cache.
    """
    if model.weights == RANDOM_WEIGHTS:
        return None
    if model.source_sweep is not None:
        return _fit(_read_file(_require_file(model, file)), model, str(file))
    names = torchvision.models.get_model_weights(model.backbone)
    if model.weights in names.__members__:
        raw: object = _download(names[model.weights])
        where = f"{model.backbone} {model.weights}"
    elif model.weights.endswith(_SUFFIXES) or Path(model.weights).expanduser().exists():
        path = Path(model.weights).expanduser()
        raw, where = _read_file(path), str(path)
    else:
        raise _unknown_name(model, list(names.__members__))
    return _fit(raw, model, where)


def _require_file(model: ModelConfig, file: str | None) -> Path:
    if file is None:
        raise ConfigError(
            f"model.weights: {model.weights} lies under a root, and none is known here",
            hint="a sweep looks it up; elsewhere give the path of its best.ckpt",
        )
    return Path(file)


def _unknown_name(model: ModelConfig, names: list[str]) -> ConfigError:
    choices = [*names, RANDOM_WEIGHTS]
    close = get_close_matches(model.weights.upper(), names, n=1) or get_close_matches(model.weights, choices, n=1)
    return ConfigError(
        f"model.weights: unknown weights {model.weights!r} of {model.backbone}; "
        f"known: {', '.join(choices)}, a path that ends in {', '.join(_SUFFIXES)}, or {SWEEP_WEIGHTS}<experiment>",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )


def _download(weights: Any) -> Mapping[str, Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise SetupError(
            f"weights {weights} are not in the cache ({file}) and cannot be downloaded from {weights.url}: {error}",
            hint=f"connect once, or copy the file to {file}, or set model.weights to a path; "
            "`make demo` needs no download",
        ) from error
    except Exception as error:  # as in `_read_file`
        raise SetupError(
            f"the cached weights {file} are damaged: {error}", hint=f"delete {file} and try again"
        ) from error
    return state


def _read_file(path: Path) -> object:
    if not path.is_file():
        raise ConfigError(f"model.weights: no such file: {path}", hint="give the path of a state dict")
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"model.weights: {path} has none of the known suffixes {', '.join(_SUFFIXES)}",
            hint="rename the file to what it is",
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what it cannot read is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.weights: {path} cannot be read: {error}") from error
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {path} is a pickle of more than tensors, and is not loaded: it could run any code",
            hint="save the network's state dict: torch.save(network.state_dict(), path)",
        ) from error
    except Exception as error:  # the unpickler raises whatever it stumbles over: IndexError, KeyError, struct.error
        raise ConfigError(f"model.weights: {path} is damaged or no such file format: {error}") from error


def _fit(raw: object, model: ModelConfig, where: str) -> LoadedWeights:
    state = _require_state(_unpack_checkpoint(raw, model, where), where)
    with torch.device("meta"):
        expected = torchvision.models.get_model(model.backbone, weights=None).state_dict()
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
    wanted = {name: tensor for name, tensor in expected.items() if not name.startswith(_HEAD)}
    missing = [name for name in wanted if name not in backbone and not name.endswith(_COUNTER)]
    unexpected = [name for name in backbone if name not in wanted]
    shapes = [
        f"{name} is {tuple(backbone[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in backbone and backbone[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {what}: {_shorten(names)}"
        for what, names in (
            ("missing keys", missing),
            ("unexpected keys", unexpected),
            ("tensors of another shape", shapes),
        )
        if names
    ]
    if problems:
        raise ConfigError(
            f"model.weights: {where} does not fit {model.backbone}: {'; '.join(problems)}",
            hint="the keys are those of torchvision's network; check model.backbone, or convert the file",
        )
    fitted = {
        name: backbone[name].to(tensor.dtype) if name in backbone else torch.zeros((), dtype=tensor.dtype)
        for name, tensor in wanted.items()
    }
    return LoadedWeights(state=fitted, notes=_notes(state, where))


def _unpack_checkpoint(raw: object, model: ModelConfig, where: str) -> object:
    """Take the network out of a run's checkpoint; anything else stays as it is.

    Raises:
        ConfigError: It is of another backbone.
    """
    hparams = raw.get("hyper_parameters") if isinstance(raw, Mapping) else None
    if not (isinstance(raw, Mapping) and isinstance(hparams, Mapping) and isinstance(raw.get("state_dict"), Mapping)):
        return raw
    backbone = hparams.get("backbone")
    if backbone is not None and backbone != model.backbone:
        raise ConfigError(
            f"model.weights: {where} is a checkpoint of a {backbone}, and model.backbone is {model.backbone}",
            hint=f"set model.backbone to {backbone}, or name another checkpoint",
        )
    return {
        name.removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in raw["state_dict"].items()
        if str(name).startswith(NETWORK_PREFIX)
    }


def _require_state(raw: object, where: str) -> dict[str, Tensor]:
    if not isinstance(raw, Mapping):
        raise ConfigError(
            f"model.weights: {where} holds a {type(raw).__name__}, not a state dict",
            hint="save the network's state dict: torch.save(network.state_dict(), path)",
        )
    strange = [str(key) for key, value in raw.items() if not isinstance(value, Tensor)]
    if strange or not raw:
        what = f"entries that are no tensors: {_shorten(strange)}" if strange else "no entries"
        raise ConfigError(
            f"model.weights: {where} is not a state dict, it has {what}",
            hint="save the network's state dict alone: torch.save(network.state_dict(), path)",
        )
    return {str(key): value for key, value in raw.items()}


def _notes(state: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    notes = []
    low = sorted({str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()} - {"float32"})
    if low:
        notes.append(f"{where}: {', '.join(low)} cast to float32")
    head = state.get(f"{_HEAD}weight")
    if head is not None:
        notes.append(f"{where}: its head of {head.shape[0]} classes is dropped; each run trains a new head")
    return tuple(notes)


def _shorten(names: list[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
