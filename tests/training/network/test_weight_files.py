"""What is refused without torch, in words; the files are written with torch, as people do."""

import gzip
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from orchestrator.backbones import BACKBONES, find_backbone
from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.training.network.weight_files import check_weight_file
from orchestrator.training.network.weight_names import cached_file
from orchestrator.training.network.weights import load_weights


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=2).state_dict()


def refuse(path: Path, backbone: str = "resnet18") -> ConfigError:
    """Make sure that the quick check and the loading refuse a file alike."""
    with pytest.raises(ConfigError, match=r"^model\.weights: ") as caught:
        check_weight_file(path, backbone)
    assert str(path) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ConfigError) as loading:
        load_weights(ModelConfig(weights=str(path), backbone=backbone))
    assert loading.value.message == caught.value.message
    return caught.value


@pytest.mark.parametrize("backbone", BACKBONES.shipped)
def test_the_shapes_and_files_are_torchvisions(backbone, own_caches):
    with torch.device("meta"):
        expected = torchvision.models.get_model(backbone, weights=None).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items() if not name.startswith("fc.")}
    known = find_backbone(backbone)
    assert known.tensors() == shapes
    members = torchvision.models.get_model_weights(backbone).__members__
    assert known.files == {name: Path(each.url).name for name, each in members.items()}
    file = Path(torch.hub.get_dir()) / "checkpoints" / known.files["DEFAULT"]
    assert cached_file(backbone, "DEFAULT") == file


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_every_way_of_saving_is_read_whatever_the_suffix(backbone, tmp_path):
    network = torchvision.models.get_model(backbone, weights=None)
    state = network.state_dict()
    torch.save(state, tmp_path / "zip.safetensors")
    torch.save(state, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "safe.pth")
    torch.save(OrderedDict(network.named_parameters()) | dict(network.named_buffers()), tmp_path / "parameters.pth")
    torch.save({name: t.half() if t.is_floating_point() else t for name, t in state.items()}, tmp_path / "half.pt")
    save_file({n: t.bfloat16() if t.is_floating_point() else t for n, t in state.items()}, tmp_path / "bf16.pth")
    torch.save({n: t.double() if t.is_floating_point() else t for n, t in state.items()}, tmp_path / "double.pt")
    torch.save({n: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in state.items()},
               tmp_path / "last.pth")  # fmt: skip
    for path in tmp_path.iterdir():
        check_weight_file(path, backbone)
        loaded = load_weights(ModelConfig(weights=str(path), backbone=backbone)).state
        tolerance = 1e-2 if path.stem in {"half", "bf16"} else 0.0
        assert loaded.keys() == find_backbone(backbone).tensors().keys()
        for name, tensor in loaded.items():
            assert not tensor.requires_grad
            torch.testing.assert_close(tensor, state[name], rtol=tolerance, atol=tolerance)


FILES = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer", "lfs pull"),
    "html": (b"\n<!DOCTYPE html><html>", "is a web page", "resolve"),
    "empty": (b"", "is damaged: it is empty", "download"),
    "gzip": (gzip.compress(b"x"), "is packed with gzip", "gunzip"),
    "keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "is an HDF5 file", "state_dict"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x05", "is an ONNX model", "state_dict"),
    "tflite": (b"\x1c\0\0\0TFL3" + b"\0" * 16, "is a model of TensorFlow Lite", "state_dict"),
    "gguf": (b"GGUF\3\0\0\0", "is a GGUF file", "state_dict"),
    "error": (b'{"error": "Access denied"}', "a text that begins with '{\"error\": \"Access denied\"}'", "download"),
    "noise": (b"\xde\xad\xbe\xef" * 9, r"begins with b'\xde\xad\xbe\xef\xde\xad\xbe\xef'", "download"),
    "short-safetensors": (struct.pack("<Q", 5000) + b'{"a', "is cut off: 11 bytes, and its head alone has 5,0", "size"),
    "odd-safetensors": (struct.pack("<Q", 9) + b'{"a": [1]' + b" " * 9, "is damaged: its head is not", "download"),
    "number": (pickle.dumps(3), "is a pickle, but not one that torch.save writes", "download"),
    "bomb": (b"\x80\x04\x96" + struct.pack("<Q", 2**50) + b"x.", "is damaged: it cannot be read", "download"),
    "memo": (b"\x80\x02Nr\xff\xff\xff\xff.", "is a pickle, but not one that torch.save writes", "download"),
    "zip": (b"PK\3\4rubbish", "its end is missing", "size"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_of_weights_is_called_by_its_name(name, suffix, tmp_path):
    content, message, hint = FILES[name]
    (tmp_path / f"w{suffix}").write_bytes(content)
    error = refuse(tmp_path / f"w{suffix}")
    assert message in error.message
    assert hint in error.hint
    assert "could run" not in error.message


def bend(state, name, place, value):
    changed = state[name].clone()
    changed.flatten()[place] = value
    return dict(state) | {name: changed}


def test_values_that_would_cost_every_trial_are_refused(state, tmp_path):
    wrong = bend(state, "conv1.weight", [0, 1], float("nan"))
    wrong = bend(wrong, "layer4.0.bn1.bias", 3, float("inf"))
    wrong = bend(wrong, "bn1.running_var", 0, -1.0)
    torch.save(wrong, tmp_path / "w.pth")
    save_file(wrong, tmp_path / "w.safetensors")
    low = {name: t.bfloat16() if t.is_floating_point() else t for name, t in wrong.items()}
    torch.save(low, tmp_path / "low.pth")
    torch.save(wrong, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        message = refuse(path).message
        assert "2 tensors with values that are NaN or infinite: conv1.weight (2), layer4.0.bn1.bias (1)" in message
        assert "1 variances with values below zero, which give NaN: bn1.running_var (1)" in message


def test_a_nan_in_the_head_does_not_matter(state, tmp_path):
    torch.save(bend(state, "fc.weight", 0, float("nan")), tmp_path / "w.pth")
    check_weight_file(tmp_path / "w.pth", "resnet18")


def test_everything_that_is_wrong_is_named_at_once(state, tmp_path):
    wrong = bend(state, "layer1.0.conv1.weight", 0, float("nan")) | {
        "conv1.weight": torch.zeros(64, 1, 7, 7),
        "layer2.0.conv1.weight": torch.zeros(128, 64, 3, 3, dtype=torch.int8),
        "extra": torch.zeros(1),
    }
    del wrong["bn1.bias"]
    torch.save(wrong, tmp_path / "w.pth")
    error = refuse(tmp_path / "w.pth")
    assert error.hint.startswith("the keys are those of torchvision's network")
    message = error.message
    for part in (
        "1 missing keys: bn1.bias",
        "1 unexpected keys: extra",
        "conv1.weight is (64, 1, 7, 7) instead of (64, 3, 7, 7)",
        "1 tensors of a type that is no plain float: layer2.0.conv1.weight is int8",
        "layer1.0.conv1.weight (1)",
    ):
        assert part in message


def test_another_network_is_named(tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "w.pth")
    error = refuse(tmp_path / "w.pth")
    assert "unexpected keys: layer1.2.conv1.weight" in error.message
    assert error.hint == "the keys are those of resnet34: set model.backbone"


def follow(line: str) -> None:
    """Run the line that a hint shows."""
    import safetensors.torch

    exec(line, {"torch": torch, "safetensors": safetensors})


class Evil:
    def __reduce__(self):
        return (os.system, ("touch ran",))


def test_nothing_of_a_file_runs(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": state["conv1.weight"], "x": Evil()}, tmp_path / "zip.pth")
    torch.save(Evil(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(), protocol=4))
    for path in [*tmp_path.iterdir()]:
        assert "(posix.system" in refuse(path).message
    assert not (tmp_path / "ran").exists()


def test_a_whole_network_and_a_program_are_named_and_the_hint_leads_on(tmp_path, monkeypatch):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "w.pth")
    error = refuse(tmp_path / "w.pth")
    assert "holds a whole pickled object (torch.nn.modules.container.Sequential), not a state dict" in error.message
    assert "if you trust it" in error.hint
    monkeypatch.chdir(tmp_path)
    torch.save(torchvision.models.resnet18(weights=None), tmp_path / "network.pth")
    follow(refuse(tmp_path / "network.pth").hint.removeprefix("where it was made, and if you trust it: "))
    check_weight_file(tmp_path / "weights.pth", "resnet18")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:  # as torch.jit.save writes
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"")
    error = refuse(tmp_path / "script.pt")
    assert "is a TorchScript archive" in error.message
    assert "torch.jit.load" in error.hint


@pytest.mark.parametrize("share", [0.1, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "safe.safetensors"])
def test_a_download_that_was_cut_off_is_called_so(share, name, state, tmp_path):
    path = tmp_path / name
    if name == "safe.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "zip.pth")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refuse(path).message
    assert "cut off" in message
    assert "damaged" in message or f"{path.stat().st_size:,} of" in message


def test_a_flipped_bit_is_found(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    data = bytearray((tmp_path / "w.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "w.pth").write_bytes(data)
    assert "is damaged: the checksum of its part" in refuse(tmp_path / "w.pth").message


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    began = time.monotonic()
    assert "no regular file but a device, pipe" in refuse(tmp_path / "w.pth").message
    assert refuse(tmp_path / "folder").hint == f"give the file: {tmp_path}/folder/model.safetensors"
    assert "a SavedModel of TensorFlow" in refuse(tmp_path / "saved").message
    assert "cannot be reached: Too many levels" in refuse(tmp_path / "loop.pth").message
    (tmp_path / "mine.pth").touch()
    assert refuse(tmp_path / "mien.pth").hint == f"did you mean {tmp_path}/mine.pth?"
    assert time.monotonic() - began < 5


def test_an_archive_of_numpy_is_named(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    assert "is an archive of NumPy arrays" in refuse(tmp_path / "w.npz").message


def test_a_size_that_is_claimed_and_not_there_allocates_nothing(state, tmp_path):
    huge = dict(state) | {"conv1.weight": torch.zeros(1).expand(2**20, 2**20)}
    torch.save(huge, tmp_path / "w.pth")
    assert "conv1.weight is (1048576, 1048576) instead of (64, 3, 7, 7)" in refuse(tmp_path / "w.pth").message


def test_no_torch_is_loaded(state, tmp_path):
    torch.save(bend(state, "conv1.weight", 0, float("nan")), tmp_path / "w.pth")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from orchestrator.training.network.weight_files import check_weight_file\n"
        "try:\n check_weight_file(Path(sys.argv[1]), 'resnet18')\nexcept Exception as error:\n print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "w.pth"], capture_output=True, text=True)
    assert "NaN or infinite: conv1.weight (1)" in done.stdout
    assert done.stdout.endswith("False\n")
