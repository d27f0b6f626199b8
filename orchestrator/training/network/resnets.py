"""What torchvision's ResNets hold and where their weights come from, known without loading torch.

Loading torch takes longer than reading a file of weights; what does not fit is refused before. The tests compare all of
this with torchvision.
"""

import os
from collections.abc import Iterator
from pathlib import Path

PRETRAINED: dict[str, dict[str, str]] = {
    "resnet18": {"IMAGENET1K_V1": "resnet18-f37072fd.pth", "DEFAULT": "resnet18-f37072fd.pth"},
    "resnet34": {"IMAGENET1K_V1": "resnet34-b627a593.pth", "DEFAULT": "resnet34-b627a593.pth"},
    "resnet50": {
        "IMAGENET1K_V1": "resnet50-0676ba61.pth",
        "IMAGENET1K_V2": "resnet50-11ad3fa6.pth",
        "DEFAULT": "resnet50-11ad3fa6.pth",
    },
}
"""File of each of torchvision's weights, by backbone and name."""
COUNTER = ".num_batches_tracked"
"""End of the name of BatchNorm's counters: they change no result, and a file may lack them."""
HEAD = "fc."
"""Beginning of the names of the head, which each run replaces."""

_DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
_BOTTLENECK = {"resnet50": 4}
"""Factor by which the blocks of a network widen at their end."""

Shape = tuple[int, ...]


def cached_file(backbone: str, name: str) -> Path:
    """Name the file in which torch's hub keeps torchvision's weights `name`."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    hub = Path(os.environ.get("TORCH_HOME", home)).expanduser() / "hub"
    return hub / "checkpoints" / PRETRAINED[backbone][name]


def list_tensors(backbone: str) -> dict[str, Shape] | None:
    """List the shapes of a backbone's tensors by name, without the head; None where it is not known here."""
    return dict(_tensors(backbone)) if backbone in _DEPTHS else None


def _tensors(backbone: str) -> Iterator[tuple[str, Shape]]:
    factor = _BOTTLENECK.get(backbone, 1)
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm("bn1", 64)
    before = 64
    for layer, (depth, width) in enumerate(zip(_DEPTHS[backbone], _WIDTHS, strict=True), start=1):
        for number in range(depth):
            place = f"layer{layer}.{number}"
            # (output channels, kernel size) of its convolutions
            convolutions = [(width, 3), (width, 3)] if factor == 1 else [(width, 1), (width, 3), (width * factor, 1)]
            channels = before
            for order, (out, kernel) in enumerate(convolutions, start=1):
                yield f"{place}.conv{order}.weight", (out, channels, kernel, kernel)
                yield from _norm(f"{place}.bn{order}", out)
                channels = out
            if number == 0 and (layer > 1 or factor > 1):
                yield f"{place}.downsample.0.weight", (channels, before, 1, 1)
                yield from _norm(f"{place}.downsample.1", channels)
            before = channels


def _norm(place: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{place}.{part}", (channels,)
    yield f"{place}{COUNTER}", ()
