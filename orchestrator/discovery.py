"""Networks that no `Backbone` describes: their names, and their blocks, which torch finds in a process of its own.

What was found is kept in a small file for each network, so that torch is loaded for it once: in the folder
`ORCHESTRATOR_NETWORKS`, or the user's cache. What a function of the user builds may change, and is not kept.
"""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from orchestrator.errors import ConfigError, OrchestratorError, SetupError

Granularity = Literal["stage", "unit"]
Blocks = tuple[tuple[str, tuple[str, ...]], ...]
"""Paths of the modules of each block, in pairs, so that they can be looked up by."""
Found = Mapping[str, Any]
"""Fields of a `Backbone`, as plain values."""

TIMM: Final = "timm/"
"""Begins the name of a network of timm."""
OWN: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""Name of a function that builds a network: package.module:function."""
_NAMES = """
alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50
resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13
vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""
TORCHVISION: Final = tuple(_NAMES.split())
"""Classification networks of torchvision, which a test compares with it."""
_RULE: Final = 1
"""Raised when the same network would be cut into other blocks than before."""
_FINDER: Final = "orchestrator.training.network.finding"


def require_network_name(name: str) -> None:
    """Make sure that a name is one of torchvision, `timm/<name>` or `package.module:function`.

    Raises:
        ConfigError: It is not.
    """
    if name in TORCHVISION or OWN.fullmatch(name) or (name.startswith(TIMM) and name != TIMM):
        return
    raise ConfigError(
        "must be a network of torchvision, timm/<name>, or package.module:function",
        hint="`orchestrator model list` lists them",
    )


@functools.cache
def discover(name: str, granularity: Granularity = "stage", blocks: Blocks | None = None) -> Found:
    """Find the blocks of a network, or what there is to know of given ones.

    Args:
        name: The network, as `model.backbone` takes it.
        granularity: How much a block holds.
        blocks: The blocks that it is to have; None: they are found.

    Raises:
        ConfigError: There is no such network, or the blocks are none of it.
        SetupError: A library is missing.
    """
    kept = None if OWN.fullmatch(name) else _kept_file(name, granularity, blocks)
    if kept is not None:
        with suppress(OSError, ValueError):
            found: Found = json.loads(kept.read_text())
            return found
    if "torch" in sys.modules:
        found = import_module(_FINDER).find_blocks(name, granularity, blocks)
    else:
        found = _ask_another_process(name, granularity, blocks)
    if kept is not None:
        with suppress(OSError):  # it is found again next time
            _write(kept, json.dumps(found))
    return found


def _kept_file(name: str, granularity: Granularity, blocks: Blocks | None) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "freeze-orchestrator" / "networks"
    folder = Path(os.environ.get("ORCHESTRATOR_NETWORKS") or home)
    libraries = ["torch", "torchvision", *(["timm"] if name.startswith(TIMM) else [])]
    asked = [_RULE, name, granularity if blocks is None else None, blocks, [_version(each) for each in libraries]]
    return folder / f"{sha256(json.dumps(asked).encode()).hexdigest()[:24]}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)


def _ask_another_process(name: str, granularity: Granularity, blocks: Blocks | None) -> Found:
    """Let another process load torch: this one may only want to print a table."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", _FINDER, json.dumps([name, granularity, blocks]), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this package
        try:
            found: dict[str, Any] = json.loads(answer.read_text())
        except (OSError, ValueError) as error:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ConfigError(f"model.backbone: the blocks of {name} cannot be found: {said[-1]}") from error
    kinds: dict[str, type[OrchestratorError]] = {"ConfigError": ConfigError, "SetupError": SetupError}
    if "error" in found:
        raise kinds[found["error"]](found["message"], hint=found["hint"])
    return found
