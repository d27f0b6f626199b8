"""Files of weights, told by what they hold and not by their names, and checked before torch is loaded."""

import os
import stat
import zipfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, TypeVar

from orchestrator.backbones import BACKBONES, COUNTER, find_backbone
from orchestrator.errors import ConfigError
from orchestrator.training.network.tensor_heads import (
    DamagedError,
    FileContent,
    TensorHead,
    count_bad,
    count_negative,
    read_archive,
    read_legacy,
    read_safetensors,
)
from orchestrator.training.network.weight_matching import Match, Place, Shaped, list_states, match_states
from orchestrator.training.network.weight_matching import shorten as shorten

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""Types of tensors that become fp32 without a doubt; integers would need the scales of their quantisation."""
STATE_DICT_HINT = "save the network's state dict alone: torch.save(network.state_dict(), 'weights.pth')"
NETWORK_PREFIX = "network."
"""The network's place among the keys of a run's checkpoint."""
_AGAIN = "download or copy it again, and compare its size with the original's"
_HEAD_BYTES = 1024
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for", "fetch the file: git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, TensorFlow)", ""),
    (b"GGUF", "a GGUF file", ""),
    (b"\x93NUMPY", "an array of NumPy", ""),
    (b"\x1f\x8b", "packed with gzip", "unpack it: gunzip"),
    (b"BZh", "packed with bzip2", "unpack it: bunzip2"),
    (b"\xfd7zXZ", "packed with xz", "unpack it: unxz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x89PNG", "an image", ""),
    (b"\xff\xd8\xff", "an image", ""),
    (b"%PDF", "a PDF document", ""),
)
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "weights.pth", "model.pth", "model.pt")
_VARIANCE = ".running_var"

T = TypeVar("T", bound=Shaped)


def read_weight_file(path: Path) -> FileContent:
    """Read what a file of weights holds, whatever its suffix, without its values.

    Raises:
        ConfigError: It is not there, cannot be read, is damaged, or of another kind; in words.
    """
    _require_file(path)
    try:
        return _read(path)
    except DamagedError as error:
        _refuse(path, str(error), _AGAIN)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror or error}", "check its owner and mode (ls -l)")


def is_safetensors(path: Path) -> bool:
    """True where the file is in the format of safetensors: the length of a head, and the head, which is JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 100 * 2**20


def check_weight_file(path: Path, backbone: str) -> FileContent:
    """Make sure that a file holds a backbone's tensors, with finite values; return what it holds. Torch is not loaded.

    Raises:
        ConfigError: It does not; everything that is wrong is named at once.
    """
    content = read_weight_file(path)
    states = find_states(content.value, backbone, str(path), TensorHead, content.foreign)
    known = find_backbone(backbone)
    if known.tensors is not None:
        match = match_states(states, known.tensors(), backbone, str(path))
        heads = match.take(states[match.place])
        problems = [*match.problems, *list_wrong_types({name: head.dtype for name, head in heads.items()})]
        problems += _list_bad_values(content, path, heads)
        raise_problems(problems, str(path), backbone, match, states)
    return content


def unpack_checkpoint(value: object, backbone: str, where: str) -> object:
    """Take the network out of a checkpoint of one of this project's runs; anything else is returned as it is.

    Raises:
        ConfigError: The checkpoint is of another backbone.
    """
    hparams = value.get("hyper_parameters") if isinstance(value, Mapping) else None
    if not (
        isinstance(value, Mapping) and isinstance(hparams, Mapping) and isinstance(value.get("state_dict"), Mapping)
    ):
        return value
    state = value["state_dict"]
    if not any(str(name).startswith(NETWORK_PREFIX) for name in state):
        return value
    made_of = hparams.get("backbone")
    if made_of is not None and made_of != backbone:
        _refuse(
            where,
            f"is a checkpoint of a {made_of}, and model.backbone is {backbone}",
            f"set model.backbone to {made_of}, or name another checkpoint",
        )
    return {
        str(name).removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in state.items()
        if str(name).startswith(NETWORK_PREFIX)
    }


def find_states(  # noqa: RET503 - the last one never returns
    value: object, backbone: str, where: str, kind: type[T], foreign: tuple[str, ...] = ()
) -> dict[Place, dict[str, T]]:
    """Find the state dicts, of tensors of the type `kind`, that a file holds, by their place in it.

    Raises:
        ConfigError: It holds none, or a run of another backbone.
    """
    value = unpack_checkpoint(value, backbone, where)
    if states := list_states(value, kind):
        return states
    if foreign and not isinstance(value, Mapping):
        _refuse(
            where,
            f"holds a whole pickled object ({foreign[0]}), not a state dict, and is not loaded: it could run any code",
            f"where it was made, and if you trust it: network = torch.load('{where}', weights_only=False); "
            "torch.save(network.state_dict(), 'weights.pth')",
        )
    if not isinstance(value, Mapping):
        what = "Tensor" if isinstance(value, kind) else type(value).__name__
        _refuse(where, f"holds a {what}, not a state dict", STATE_DICT_HINT)
    if not value:
        _refuse(where, "is not a state dict, it has no entries", STATE_DICT_HINT)
    strange = [str(key) for key, item in value.items() if not isinstance(item, kind)]
    if foreign:
        _refuse(
            where,
            f"is a pickle of more than tensors ({shorten(list(foreign))}), and is not loaded: it could run any code",
            STATE_DICT_HINT,
        )
    _refuse(where, f"is not a state dict, it has entries that are no tensors: {shorten(strange)}", STATE_DICT_HINT)


def list_wrong_types(dtypes: Mapping[str, str]) -> list[str]:
    """List tensors whose values cannot be read as floats, by name and type (without `torch.`)."""
    wrong = [
        f"{name} is {dtype}" for name, dtype in dtypes.items() if dtype not in FLOATS and not name.endswith(COUNTER)
    ]
    return [f"{len(wrong)} tensors of a type that is no plain float: {shorten(wrong)}"] if wrong else []


def raise_problems(
    problems: list[str],
    where: str,
    backbone: str,
    match: Match,
    states: Mapping[Place, Mapping[str, object]],
) -> None:
    """Raise what is wrong with the tensors that were matched in the state dicts of a file, if anything is.

    Raises:
        ConfigError: Something is.
    """
    if problems:
        how = f" ({match.how})" if match.how else ""
        raise ConfigError(
            f"model.weights: {where} does not fit {backbone}{how}: {'; '.join(problems)}",
            hint=_hint(problems, list(states[match.place]), backbone),
        )


def describe_bad_values(infinite: Mapping[str, int], negative: Mapping[str, int]) -> list[str]:
    """List tensors with which a network gives NaN.

    Args:
        infinite: Values that are NaN or infinite, by name.
        negative: Values below zero, by name; those of variances are wrong.
    """
    bad = [f"{name} ({count:,})" for name, count in infinite.items() if count]
    below = [f"{name} ({count:,})" for name, count in negative.items() if count and name.endswith(_VARIANCE)]
    return [
        *([f"{len(bad)} tensors with values that are NaN or infinite: {shorten(bad)}"] if bad else []),
        *([f"{len(below)} variances with values below zero, which give NaN: {shorten(below)}"] if below else []),
    ]


def _require_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        near = get_close_matches(path.name, os.listdir(path.parent), n=1) if path.parent.is_dir() else []  # noqa: PTH208
        hint = f"did you mean {path.parent / near[0]}?" if near else "give the path of a state dict"
        raise ConfigError(f"model.weights: no such file: {path}", hint=hint) from None
    except OSError as error:
        _refuse(path, f"cannot be reached: {error.strerror}", "check the path (ls -l)")
    if stat.S_ISDIR(mode):
        inside = [path / name for name in _IN_FOLDERS if (path / name).is_file()]
        what = "a SavedModel of TensorFlow, which" if (path / "saved_model.pb").exists() else "a folder, which"
        _refuse(path, f"is {what} is no state dict", f"give the file: {inside[0]}" if inside else STATE_DICT_HINT)
    if not stat.S_ISREG(mode):
        _refuse(path, "is no regular file but a device, pipe or socket", "give the path of a state dict")


def _read(path: Path) -> FileContent:  # noqa: RET503 - the last one never returns
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        _refuse(path, "is damaged: it is empty", _AGAIN)
    if is_safetensors(path):
        return read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            _refuse(path, f"is {what}", hint or STATE_DICT_HINT)
    _refuse_text(path, head)
    if head[:1] == b"\x80" and head[1] <= 5:
        return _read_pickle(path)
    _refuse_model(path, head)


def _refuse_model(path: Path, head: bytes) -> NoReturn:
    """Refuse what has no mark of its own at its beginning."""
    kinds: tuple[tuple[bool, str], ...] = (
        (head[257:262] == b"ustar", "a tar archive"),
        (head[4:8] == b"TFL3", "a model of TensorFlow Lite"),
        # the first fields of the message: its version, and the name of the program that wrote it
        (path.suffix == ".onnx" or (head[0] == 8 and head[1] < 20 and head[2:3] == b"\x12"), "an ONNX model"),
        (path.suffix in {".pb", ".index"} or ".data-0" in path.name, "a file of TensorFlow"),
    )
    for fits, what in kinds:
        if fits:
            _refuse(path, f"is {what}, not a state dict", STATE_DICT_HINT)
    _refuse(
        path,
        f"is damaged or no such file format: it begins with {head[:8]!r}, which is neither torch's nor safetensors'",
        f"{_AGAIN}; {STATE_DICT_HINT}",
    )


def _read_pickle(path: Path) -> FileContent:
    content = read_legacy(path)
    if not content.places and not content.foreign and not isinstance(content.value, Mapping):
        raise DamagedError("is damaged: it is a pickle, but not one that torch.save writes")
    return content


def _read_zip(path: Path) -> FileContent:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise DamagedError(
            "is damaged: it begins like a file of torch.save, and its end is missing (a download that was cut off?)"
        ) from error
    with archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
        kinds: tuple[tuple[bool, str, str], ...] = (
            (
                "constants.pkl" in names or any(name.startswith("code/") for name in names),
                "a TorchScript archive, which is a program",
                f"torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), 'weights.pth')",
            ),
            (
                "archive_format" in names or any(name.endswith(".pt2") for name in names),
                "a program of torch.export",
                "",
            ),
            (any(name.endswith(".weights.h5") for name in archive.namelist()), "a model of Keras", ""),
            (any(name.endswith(".npy") for name in archive.namelist()), "an archive of NumPy arrays", ""),
            ("data.pkl" not in names, "a zip archive that torch.save did not write", "unpack it"),
        )
        for fits, what, hint in kinds:
            if fits:
                _refuse(path, f"is {what}, not a state dict", hint or STATE_DICT_HINT)
        return read_archive(path, archive)


def _refuse_text(path: Path, head: bytes) -> None:
    """Refuse web pages and other text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        page = "a web page, not the file that a link on it leads to"
        _refuse(
            path, f"is {page}", "download the file itself: on Hugging Face and GitHub `raw` or `resolve`, not `blob`"
        )
    first = start[:60].splitlines()[0].decode(errors="replace") if start else ""
    if len(first) > 5 and first.isprintable() and b"\0" not in head and "\N{REPLACEMENT CHARACTER}" not in first:
        _refuse(path, f"is damaged or no such file format: it is a text that begins with {first!r}", _AGAIN)


def _list_bad_values(content: FileContent, path: Path, heads: Mapping[str, TensorHead]) -> list[str]:
    infinite, negative = {}, {}
    try:
        for name, head in heads.items():
            if (values := content.read_values(head)) is not None:
                infinite[name] = count_bad(values, head.dtype)
                negative[name] = count_negative(values, head.dtype) if name.endswith(_VARIANCE) else 0
    except DamagedError as error:
        _refuse(path, str(error), _AGAIN)
    return describe_bad_values(infinite, negative)


def _hint(problems: list[str], names: list[str], backbone: str) -> str:
    if all("NaN" in problem for problem in problems):
        return "training would give NaN only: export the weights again, from a checkpoint before they diverged"
    if all("plain float" in problem for problem in problems):
        return "export the weights as float32: quantised values mean nothing without their scales"
    fitting = [each for each in BACKBONES.shipped if _fits(names, each)]
    if fitting and backbone not in fitting:
        return f"the keys are those of {' and of '.join(fitting)}: set model.backbone"
    return "the keys are those of torchvision's network; check model.backbone, or convert the file"


def _fits(names: list[str], backbone: str) -> bool:
    known = find_backbone(backbone)
    wanted = {name for name in (known.tensors or dict)() if not name.endswith(COUNTER)}
    return wanted == {name for name in names if not known.is_of_head(name) and not name.endswith(COUNTER)}


def _refuse(where: Path | str, what: str, hint: str) -> NoReturn:
    raise ConfigError(f"model.weights: {where} {what}", hint=hint)
