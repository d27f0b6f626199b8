"""The backbones that `model.backbone` may name: their blocks, and what is known of them without loading torch.

The blocks of most networks are found (`discovery.py`). Those in `BACKBONES` are known without that; a family is added
there and nowhere else. A package adds one by an entry point in the group `freeze_orchestrator.backbones`. The tests
compare what is stated here with torchvision, and with what is found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from orchestrator.discovery import TORCHVISION, Granularity, discover, require_network_name
from orchestrator.errors import ConfigError
from orchestrator.registry import Registry

Shape = tuple[int, ...]
POOL: Final = "pool"
"""What follows the last block and has nothing to train."""
HEAD: Final = "head"
"""What is trained in each run, behind the blocks."""
COUNTER: Final = ".num_batches_tracked"
"""End of the name of BatchNorm's counters: they change no result, and a file may lack them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A network in named blocks, with a pool and a head.

    Attributes:
        name: As `model.backbone` names it.
        modules: Paths of the modules of each block, in network order; of a network whose blocks were found also of
            parameters that no such module holds.
        pool: Paths of the modules that follow the last block and have nothing to train.
        head: Path of the module that each run replaces; its last matrix has a row for each class.
        builder: Builds the network with random weights, as a `torch.nn.Module`, from the number of classes; None:
            it follows from the name.
        chained: Blocks, pool, flattening and head, one after the other, compute what the network computes.
        cuts: Of a network that is not chained, the module at which a block, or the `head`, begins, where its input
            alone decides all that follows, to the last bit.
        any_batch: On a CPU in fp32 a block gives for an image the same, to the last bit, in a batch of any size but 1.
        image_size: Pixels square of the images that its published weights were made for.
        step_bytes: Bytes that a training step holds for each pixel of its batch, about.
        files: File of each of torchvision's weights, by name; empty: not known before torch is loaded.
        tensors: Lists the shapes of its tensors by name, without the head; None: not known before torch is loaded.

    Example:
        >>> from orchestrator import Backbone
        >>> Backbone(name="regnet_x_400mf", modules={"stem": ("stem",), "trunk": ("trunk_output",)}).blocks
        ('stem', 'trunk')
    """

    name: str
    modules: Mapping[str, tuple[str, ...]]
    pool: tuple[str, ...] = ("avgpool",)
    head: str = "fc"
    builder: Callable[[int], object] | None = None
    chained: bool = True
    cuts: Mapping[str, str] = field(default_factory=dict)
    any_batch: bool = False
    image_size: int = 224
    step_bytes: int = 4000
    files: Mapping[str, str] = field(default_factory=dict)
    tensors: Callable[[], Mapping[str, Shape]] | None = None

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks in network order. The head is no block: it always trains."""
        return tuple(self.modules)

    @property
    def parts(self) -> tuple[str, ...]:
        """The blocks, what pools what the last of them gives, and the head."""
        return (*self.modules, POOL, HEAD)

    def is_of_head(self, tensor: str) -> bool:
        """Return whether a tensor of that name belongs to the head."""
        return tensor.startswith(f"{self.head}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _ResNet:
    """The tensors of a ResNet of torchvision.

    Attributes:
        depths: Residual blocks of each layer.
        widening: Factor by which each of them widens at its end; 1: they are basic blocks, no bottlenecks.
    """

    depths: tuple[int, ...]
    widening: int = 1

    def __call__(self) -> dict[str, Shape]:
        return dict(self._list())

    def _list(self) -> Iterator[tuple[str, Shape]]:
        yield "conv1.weight", (64, 3, 7, 7)
        yield from _norm("bn1", 64)
        before = 64
        for layer, (depth, width) in enumerate(zip(self.depths, (64, 128, 256, 512), strict=True), start=1):
            for number in range(depth):
                place = f"layer{layer}.{number}"
                channels = before
                for order, (out, kernel) in enumerate(self._convolutions(width), start=1):
                    yield f"{place}.conv{order}.weight", (out, channels, kernel, kernel)
                    yield from _norm(f"{place}.bn{order}", out)
                    channels = out
                if number == 0 and (layer > 1 or self.widening > 1):
                    yield f"{place}.downsample.0.weight", (channels, before, 1, 1)
                    yield from _norm(f"{place}.downsample.1", channels)
                before = channels

    def _convolutions(self, width: int) -> list[tuple[int, int]]:
        """List (output channels, kernel size) of the convolutions of a residual block."""
        if self.widening == 1:
            return [(width, 3), (width, 3)]
        return [(width, 1), (width, 3), (width * self.widening, 1)]


def _norm(place: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{place}.{part}", (channels,)
    yield f"{place}{COUNTER}", ()


_RESNET_MODULES = {
    "stem": ("conv1", "bn1", "relu", "maxpool"),
    **{layer: (layer,) for layer in ("layer1", "layer2", "layer3", "layer4")},
}
_RESNETS = (
    Backbone(
        name="resnet18",
        modules=_RESNET_MODULES,
        any_batch=True,
        step_bytes=1200,
        files={"IMAGENET1K_V1": "resnet18-f37072fd.pth", "DEFAULT": "resnet18-f37072fd.pth"},
        tensors=_ResNet(depths=(2, 2, 2, 2)),
    ),
    Backbone(
        name="resnet34",
        modules=_RESNET_MODULES,
        any_batch=True,
        step_bytes=2000,
        files={"IMAGENET1K_V1": "resnet34-b627a593.pth", "DEFAULT": "resnet34-b627a593.pth"},
        tensors=_ResNet(depths=(3, 4, 6, 3)),
    ),
    Backbone(
        name="resnet50",
        modules=_RESNET_MODULES,
        step_bytes=4000,
        files={
            "IMAGENET1K_V1": "resnet50-0676ba61.pth",
            "IMAGENET1K_V2": "resnet50-11ad3fa6.pth",
            "DEFAULT": "resnet50-11ad3fa6.pth",
        },
        tensors=_ResNet(depths=(3, 4, 6, 3), widening=4),
    ),
)

BACKBONES: Final = Registry(Backbone, [*_RESNETS], group="freeze_orchestrator.backbones")


def find_backbone(
    name: str, granularity: Granularity = "stage", blocks: Mapping[str, Sequence[str]] | None = None
) -> Backbone:
    """Return the backbone called `name`.

    Args:
        name: As `model.backbone` takes it.
        granularity: How much a block holds; those in `BACKBONES` state the blocks of `stage`.
        blocks: The blocks that it is to have, as `Backbone.modules`; None: those that are stated or found.

    Raises:
        ConfigError: There is none, the package that adds it cannot be used, or the blocks are none of it.
        SetupError: A library is missing.
    """
    if name in BACKBONES:
        known = BACKBONES.find(name)
        if granularity == "stage" and blocks in (None, known.modules):
            return known
    if blocks is None:
        return Backbone(**discover(name, granularity))
    given = tuple((block, tuple(paths)) for block, paths in blocks.items())
    found = discover(name, granularity)
    if tuple((block, tuple(paths)) for block, paths in found["modules"].items()) == given:
        return Backbone(**found)
    return Backbone(**discover(name, granularity, given))


def require_backbone_name(name: str) -> str:
    """Return a name that a backbone may have; whether there is one is looked up for registered ones only.

    Raises:
        ConfigError: It is no such name, or the package that adds it cannot be used.
    """
    if name in BACKBONES:
        return BACKBONES.find(name).name
    try:
        require_network_name(name)
    except ConfigError as error:
        close = get_close_matches(name, [*BACKBONES.names, *TORCHVISION], n=1)
        raise ConfigError(error.message, hint=f"did you mean {close[0]!r}?" if close else error.hint) from error
    return name
