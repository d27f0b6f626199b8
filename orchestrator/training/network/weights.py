"""What a backbone starts from: torchvision weights or a file, as a checked state dict in fp32."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.backbones import COUNTER, Shape, find_backbone
from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError, SetupError
from orchestrator.training.network.architectures import build_empty, named_weights
from orchestrator.training.network.tensor_heads import FileContent, TensorHead
from orchestrator.training.network.weight_files import (
    STATE_DICT_HINT,
    check_weight_file,
    describe_bad_values,
    find_states,
    is_safetensors,
    list_wrong_types,
    raise_problems,
)
from orchestrator.training.network.weight_matching import match_states
from orchestrator.training.network.weight_names import RANDOM_WEIGHTS, is_weight_path, unknown_name


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
            if not name.endswith(COUNTER):
                tensor = self.state[name]
                digest.update(f"{name}:{tuple(tensor.shape)}:".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_weights(model: ModelConfig, file: str | None = None, image_size: int | None = None) -> LoadedWeights | None:
    """Load what `model.weights` names; None for random weights.

    The head is left out always: each run trains a new one, from its seed.

    Args:
        model: The backbone, and its weights.
        file: Where they lie, if `model.weights` names a sweep: who started this run has looked it up.
        image_size: Pixels square of the images, where the network is built for one size; None: that of its weights.

    Raises:
        ConfigError: The name is unknown, the file is not there, or it does not hold this backbone's state dict.
        SetupError: Weights to download, and neither network nor cache.
    """
    if model.weights == RANDOM_WEIGHTS:
        return None
    if model.source_sweep is not None:
        return _fit(_read_file(_require_file(model, file), model.backbone), model, str(file), image_size)
    names = named_weights(model.backbone)
    if model.weights in names:
        raw: object = _download(names[model.weights])
        where = f"{model.backbone} {model.weights}"
    elif is_weight_path(model.weights):
        path = Path(model.weights).expanduser()
        raw, where = _read_file(path, model.backbone), str(path)
    else:
        raise unknown_name(model, list(names))
    return _fit(raw, model, where, image_size)


def _require_file(model: ModelConfig, file: str | None) -> Path:
    if file is None:
        raise ConfigError(
            f"model.weights: {model.weights} lies under a root, and none is known here",
            hint="a sweep looks it up; elsewhere give the path of its best.ckpt",
        )
    return Path(file)


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
    except Exception as error:  # the unpickler raises whatever it stumbles over: IndexError, KeyError, struct.error
        raise SetupError(
            f"the cached weights {file} are damaged: {error}", hint=f"delete {file} and try again"
        ) from error
    return state


def _read_file(path: Path, backbone: str) -> object:
    """Read a file that was found to fit; what only torch itself can tell is refused here."""
    content = check_weight_file(path, backbone)
    try:
        if is_safetensors(path):
            return load_file(path)
        if content.foreign:  # torch refuses the whole file; nothing of it runs here either
            return _build_tensors(content.value, content)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what it cannot read is refused below
            with path.open("rb") as file:  # of a path torch would look at the suffix
                return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.weights: {path} cannot be read: {error}") from error
    except Exception as error:  # as in `_download`
        raise ConfigError(
            f"model.weights: {path} is damaged or holds more than tensors: {str(error).splitlines()[0]}",
            hint=STATE_DICT_HINT,
        ) from error


def _build_tensors(value: object, content: FileContent) -> object:
    """Build the tensors in nested mappings from their raw values; all else stays as it was read."""
    if isinstance(value, Mapping):
        return {key: _build_tensors(item, content) for key, item in value.items()}
    values = content.read_values(value) if isinstance(value, TensorHead) else None
    if not isinstance(value, TensorHead) or values is None:
        return value
    tensor = torch.from_numpy(values.copy())
    return tensor.view(torch.bfloat16) if value.dtype == "bfloat16" else tensor


def _fit(raw: object, model: ModelConfig, where: str, image_size: int | None) -> LoadedWeights:
    states = find_states(raw, model.backbone, where, Tensor)
    expected = build_empty(model.backbone, image_size=image_size).state_dict()
    wanted = {name: tensor for name, tensor in expected.items() if not find_backbone(model.backbone).is_of_head(name)}
    match = match_states(states, _shapes(expected), model.backbone, where)
    state = states[match.place]
    taken = {name: tensor.detach() for name, tensor in match.take(state).items()}  # of a file of parameters, too
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in taken.items()}
    raise_problems([*match.problems, *list_wrong_types(dtypes)], where, model.backbone, match, states)
    fitted = {}
    for name, tensor in wanted.items():
        parts = [taken[source].to(tensor.dtype) for source in match.sources.get(name, ())]
        joined = torch.cat(parts) if len(parts) > 1 else (parts or [torch.zeros((), dtype=tensor.dtype)])[0]
        fitted[name] = joined.reshape(tensor.shape)
    infinite = {name: int((~tensor.isfinite()).sum()) for name, tensor in fitted.items()}
    negative = {name: int((tensor < 0).sum()) for name, tensor in fitted.items()}
    raise_problems(describe_bad_values(infinite, negative), where, model.backbone, match, states)
    notes = _note_types(taken, where)
    if not match.is_plain:
        notes.append(f"{where}: {match.describe(len(expected))}")
    elif (head := find_head(state, model.backbone)) is not None:
        notes.append(f"{where}: its head of {head.shape[0]} classes is dropped; each run trains a new head")
    return LoadedWeights(state=fitted, notes=tuple(notes))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def find_head(state: Mapping[str, object], backbone: str) -> Tensor | None:
    """Return the last matrix of a state dict's head, which has a row for each class; None: it has none."""
    is_of_head = find_backbone(backbone).is_of_head
    found = [each for name, each in state.items() if is_of_head(name) and isinstance(each, Tensor) and each.ndim == 2]
    return found[-1] if found else None


def _note_types(taken: Mapping[str, Tensor], where: str) -> list[str]:
    low = sorted({str(t.dtype).removeprefix("torch.") for t in taken.values() if t.is_floating_point()} - {"float32"})
    return [f"{where}: {', '.join(low)} cast to float32"] if low else []
