"""Networks: a backbone in named blocks, and a head."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from orchestrator.blocks import BLOCKS, FrozenSet
from orchestrator.config.models import ModelConfig
from orchestrator.errors import NotFoundError, RunError
from orchestrator.training.freezing import freeze
from orchestrator.training.seeds import derive_seed
from orchestrator.training.weight_files import NETWORK_PREFIX
from orchestrator.training.weights import LoadedWeights, load_weights

_PARTS = ("state_dict", "hyper_parameters")
_TRAIN_AGAIN = "delete its folder to train it again"
POOL = "pool"
"""What follows the last block and has nothing to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInfo:
    """What is known of a backbone's weights once they are loaded.

    Attributes:
        sha256: Hash of the tensors (hex), wherever they come from; None for random weights.
        notes: What the user should hear, a sentence each.
    """

    sha256: str | None = None
    notes: tuple[str, ...] = ()


def build_network(
    model: ModelConfig, num_classes: int, head_seed: int, frozen: FrozenSet, weights: LoadedWeights | None = None
) -> nn.Module:
    """Build the network: a new head, frozen blocks frozen.

    Args:
        model: The network's configuration.
        num_classes: Outputs of the head.
        head_seed: Seed of the head; random backbone weights take theirs from it. Neither depends on `frozen`.
        frozen: Blocks that do not train.
        weights: What the backbone starts from, as `load_weights` gives it; None: random weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(head_seed, "backbone"))
        # weights cover all but the head: to draw what they replace takes four times as long as the rest
        with torch.device("cpu" if weights is None else "meta"):
            network: nn.Module = torchvision.models.get_model(model.backbone, weights=None, num_classes=num_classes)
        if weights is not None:
            network.to_empty(device="cpu")
        torch.manual_seed(derive_seed(head_seed, "head"))
        network.get_submodule("fc").reset_parameters()  # type: ignore[operator]
    if weights is not None:
        network.load_state_dict(weights.state, strict=False)
    freeze(frozen_modules(network, model, frozen), model.frozen_batchnorm)
    return network


def block_modules(network: nn.Module, backbone: str) -> dict[str, list[nn.Module]]:
    """List the modules of each block, in network order."""
    parts = {"stem": ["conv1", "bn1"]}
    return {block: [network.get_submodule(name) for name in parts.get(block, [block])] for block in BLOCKS[backbone]}


def network_stages(network: nn.Module, backbone: str) -> dict[str, nn.Module]:
    """Cut a network into parts that give the same as the whole, one after the other: its blocks, pool and head."""
    parts = {"stem": ("conv1", "bn1", "relu", "maxpool")}
    blocks = {
        block: nn.Sequential(*(network.get_submodule(name) for name in parts.get(block, (block,))))
        for block in BLOCKS[backbone]
    }
    pool = nn.Sequential(network.get_submodule("avgpool"), nn.Flatten())
    return {**blocks, POOL: pool, "head": network.get_submodule("fc")}


def frozen_modules(network: nn.Module, model: ModelConfig, frozen: FrozenSet) -> list[nn.Module]:
    """List the modules of the frozen blocks."""
    return [
        module for block, parts in block_modules(network, model.backbone).items() if block in frozen for module in parts
    ]


def describe_weights(model: ModelConfig, file: str | None = None) -> WeightsInfo:
    """Load the backbone's weights, make sure that they fit, and say what they are.

    Args:
        model: The backbone, and its weights.
        file: Where they lie, if they are those of a sweep.

    Raises:
        ConfigError: The weights do not fit.
        SetupError: The weights cannot be brought.
    """
    weights = load_weights(model, file)
    return WeightsInfo() if weights is None else WeightsInfo(sha256=weights.sha256, notes=weights.notes)


def load_checkpoint_network(path: Path) -> nn.Module:
    """Load the network of a run's checkpoint, in eval mode on the CPU. It takes normalised images.

    Raises:
        NotFoundError: There is no such file.
        RunError: The file is damaged, or no checkpoint of a run.
    """
    checkpoint = read_checkpoint(path)
    backbone, classes = _name_network(checkpoint, path)
    network: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=classes)
    try:
        network.load_state_dict(network_state(checkpoint))
    except RuntimeError as error:  # it lists what is missing, unknown, or of another shape
        lines = str(error).splitlines()
        raise RunError(
            f"the checkpoint {path} does not hold the {backbone} of {classes} classes that it names: "
            f"{lines[min(1, len(lines) - 1)].strip()}",
            hint=_TRAIN_AGAIN,
        ) from error
    return network.eval()


def _name_network(checkpoint: Mapping[str, dict[str, object]], path: Path) -> tuple[str, int]:
    """Read which network a checkpoint holds. Its head says how many classes there are, before anything is made."""
    hparams = checkpoint["hyper_parameters"]
    backbone, classes = hparams.get("backbone"), hparams.get("num_classes")
    if not isinstance(backbone, str) or backbone not in BLOCKS:
        raise RunError(
            f"the checkpoint {path} names the network {backbone!r:.80}, not one of {', '.join(BLOCKS)}",
            hint=_TRAIN_AGAIN,
        )
    head = checkpoint["state_dict"].get(f"{NETWORK_PREFIX}fc.weight")
    rows = head.shape[0] if isinstance(head, Tensor) and head.ndim == 2 else None
    if type(classes) is not int or classes != rows:
        found = "none" if rows is None else f"one of {rows}"
        raise RunError(
            f"the checkpoint {path} names {classes!r:.80} classes, and the head that it holds is {found}",
            hint=_TRAIN_AGAIN,
        )
    return backbone, classes


def read_checkpoint(path: Path) -> Mapping[str, dict[str, object]]:
    """Read a run's checkpoint: plain types and tensors only, and no more than the file holds.

    Raises:
        NotFoundError: There is no such file.
        RunError: It is damaged, or no checkpoint of a run.
    """
    try:
        _require_stored(path)
        checkpoint: dict[str, dict[str, object]] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no checkpoint at {path}", hint="the run has not finished, or its folder was deleted"
        ) from error
    except Exception as error:  # the unpickler raises whatever it stumbles over: IndexError, KeyError, struct.error
        raise RunError(f"the checkpoint {path} is damaged: {error}", hint=_TRAIN_AGAIN) from error
    parts = [checkpoint.get(key) for key in _PARTS] if isinstance(checkpoint, dict) else []
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise RunError(f"{path} is no checkpoint of a run", hint="give the best.ckpt of a run")
    for name, tensor in checkpoint["state_dict"].items():
        held = tensor.untyped_storage().nbytes() if isinstance(tensor, Tensor) else 0
        if isinstance(tensor, Tensor) and tensor.numel() * tensor.element_size() > held:
            raise RunError(
                f"the checkpoint {path} is damaged: {name} has the shape {tuple(tensor.shape)} and {held} bytes",
                hint=_TRAIN_AGAIN,
            )
    return checkpoint


def _require_stored(path: Path) -> None:
    """Refuse a file that would unpack to more than it is: a checkpoint is an archive that compresses nothing.

    Raises:
        OSError: It cannot be read; a `ValueError`, `BadZipFile` says that it is no such archive.
    """
    with path.open("rb") as opened, zipfile.ZipFile(opened) as file:
        unpacked = sum(info.file_size for info in file.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than it has")


def network_state(checkpoint: Mapping[str, Mapping[str, object]]) -> dict[str, Tensor]:
    """Take the network's tensors out of a checkpoint."""
    state = checkpoint["state_dict"]
    return {
        name.removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(NETWORK_PREFIX) and isinstance(tensor, Tensor)
    }
