"""Networks read back from the checkpoints of runs."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from orchestrator.backbones import require_backbone_name
from orchestrator.errors import ConfigError, NotFoundError, RunError
from orchestrator.training.network.architectures import build_random
from orchestrator.training.network.weight_files import NETWORK_PREFIX
from orchestrator.training.network.weights import find_head

_PARTS = ("state_dict", "hyper_parameters")
_TRAIN_AGAIN = "delete its folder to train it again"


def load_checkpoint_network(path: Path) -> nn.Module:
    """Load the network of a run's checkpoint, in eval mode on the CPU. It takes normalised images.

    Raises:
        NotFoundError: There is no such file.
        RunError: The file is damaged, or no checkpoint of a run.
    """
    checkpoint = read_checkpoint(path)
    backbone, classes = _name_network(checkpoint, path)
    size = checkpoint["hyper_parameters"].get("image_size")
    network = build_random(backbone, classes, size if isinstance(size, int) else None)
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
    try:
        if not isinstance(backbone, str):
            raise ConfigError("must be a name")
        require_backbone_name(backbone)
    except ConfigError as error:
        raise RunError(
            f"the checkpoint {path} names the network {backbone!r:.80}: it {error.message}", hint=_TRAIN_AGAIN
        ) from error
    head = find_head(network_state(checkpoint), backbone)
    rows = None if head is None else head.shape[0]
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
