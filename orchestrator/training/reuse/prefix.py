"""The frozen prefix: computed once for all images, kept in the cache, and trained on by whoever freezes as much.

The blocks from the first one to the last one before anything trains give the same activations for an image in every
epoch, seed and trial, as long as they stay in eval mode. They are computed here in batches of the run's size, short
ones filled up to it, and in its precision, so a run gives the same with them as without, on a CPU in fp32 to the last
bit.
"""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.backbones import Backbone
from orchestrator.errors import CacheError, RunError
from orchestrator.records.place import CachePlace
from orchestrator.records.spec import RECIPE_VERSION, RunSpec
from orchestrator.storage.arrayfile import Array, Write
from orchestrator.storage.cache import Cache
from orchestrator.storage.files import hash_parts
from orchestrator.training.data.loading import LoadedData
from orchestrator.training.data.splits import TRAIN
from orchestrator.training.device import AUTOCAST, autocast
from orchestrator.training.images.batches import BatchOrder, DecodedImages
from orchestrator.training.network.backbones import block_modules, network_span
from orchestrator.training.reuse.padding import Axes, compute_padded, lay_out, memory_axes, pads_batches
from orchestrator.training.reuse.plan import find_uncut, plan_prefix

KIND = "activations"


class Prefix:
    """The first parts of a network, none of which trains.

    Args:
        network: The network, with the weights that the run starts from, on the device of the run.
        parts: Names of the parts, as in `network_stages`.
        known: The network's blocks.
        image_size: Pixels square of its images.

    Attributes:
        digests: sha256 (hex) of the tensors of the first part, of the first two, and so on.
    """

    def __init__(
        self, network: nn.Module, parts: tuple[str, ...], known: Backbone, image_size: int | None = None
    ) -> None:
        self.parts = parts
        self.known = known
        self._network = network
        self._image_size = image_size
        blocks = block_modules(network, known)
        self.modules = tuple(nn.ModuleList(blocks.get(part, ())) for part in parts)
        self.digests = self._compute_digests()

    def span(self, start: int, stop: int) -> nn.Module:
        """Return what the parts from one place up to another compute."""
        return network_span(self._network, self.known, start, stop, self._image_size)

    def can_end(self, depth: int) -> bool:
        """Return whether the network can begin from what its first `depth` parts give."""
        return find_uncut(self.known, self.parts[:depth]) is None

    def require_unmoved(self) -> None:
        """Make sure that no tensor of the parts changed: what was trained on their activations would be of no network.

        Raises:
            RunError: One did.
        """
        if self._compute_digests() != self.digests:
            raise RunError(
                f"the frozen blocks {'+'.join(self.parts)} changed while the others trained",
                hint="this is a defect of orchestrator: please report it; cache.activations=false goes around it",
            )

    def _compute_digests(self) -> tuple[str, ...]:
        digest = hashlib.sha256()
        digests = []
        for part, module in zip(self.parts, self.modules, strict=True):
            for name, tensor in module.state_dict().items():
                digest.update(f"{part}.{name}:{tuple(tensor.shape)}:{tensor.dtype}:".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().data)
            digests.append(digest.hexdigest())
        return tuple(digests)


class MappedActivations:
    """Activations of a split that lie in the cache; rows are copied out of it.

    Args:
        rows: They.
        dtype: What they are computed in.
        axes: Their axes in the order in which they lie in memory where the network computes them; None: as they are.
    """

    def __init__(self, rows: Array, dtype: torch.dtype, axes: Axes | None = None) -> None:
        self._rows = rows
        self._dtype = dtype
        self._axes = axes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        values = torch.from_numpy(self._rows[rows.numpy()]).to(self._dtype)
        return values if self._axes is None else lay_out(values, self._axes)


def find_prefix(network: nn.Module, data: LoadedData, spec: RunSpec, place: CachePlace | None) -> Prefix | None:
    """Find the first parts of a network whose activations are kept; None where they are computed each epoch."""
    if place is None or not data.in_memory:
        return None
    images = sum(map(len, data.pixels.values()))
    plan = plan_prefix(spec.model, spec.data, spec.frozen, trainer=spec.trainer, cache=place, images=images)
    if not plan.kept:
        return None
    prefix = Prefix(network, plan.parts, spec.model.network, spec.data.image_size)
    if prefix.known.chained or _is_replayed(network, prefix, spec):
        return prefix
    Cache.at(place).say(f"{'+'.join(plan.parts)} is not replayed to the last bit here, and computed each epoch")
    return None


def _is_replayed(network: nn.Module, prefix: Prefix, spec: RunSpec) -> bool:
    """Look whether the network gives the same, to the last bit, in one pass and from what its prefix gives."""
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    size, depth = spec.data.image_size, len(prefix.parts)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        network.eval()
        with torch.inference_mode(), autocast(device.type, spec.trainer.precision):
            between = prefix.span(0, depth)(images)
            kept = lay_out(between.contiguous(), memory_axes(between))
            rest = network_span(network, prefix.known, depth, image_size=size)
            return torch.equal(rest(kept), network(images))
    finally:
        for module, mode in modes.items():
            module.training = mode


def open_activations(
    cache: Cache,
    prefix: Prefix,
    data: LoadedData,
    spec: RunSpec,
    device: torch.device,
    boundaries: Sequence[int] = (),
) -> dict[str, MappedActivations] | None:
    """Map the activations that the prefix gives for each split; compute those that are not there.

    Args:
        cache: Where they lie.
        prefix: The first parts of the network.
        data: The decoded images.
        spec: Says how they are computed.
        device: On what.
        boundaries: Numbers of first parts after which other runs begin: what is computed on the way is kept there.

    Returns:
        They, by split; None where the cache cannot keep them, which it has said.
    """
    computing = Computing(cache=cache, prefix=prefix, data=data, spec=spec, device=device, boundaries=tuple(boundaries))
    try:
        return {split: computing.open(split, len(prefix.parts)) for split in data.pixels}
    except CacheError as error:
        cache.say(f"{error.message}; the frozen blocks are computed each epoch")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """How the activations of a run's prefix are computed."""

    cache: Cache
    prefix: Prefix
    data: LoadedData
    spec: RunSpec
    device: torch.device
    boundaries: tuple[int, ...]

    def open(self, split: str, depth: int) -> MappedActivations:
        """Map what the first `depth` parts give; compute it where it is not there."""
        images = self.data.pixels[split]
        shape, axes = self._describe(images, depth)
        parts, size, source = self.prefix.parts[:depth], self.spec.data.image_size, self.spec.data.source
        entry = self.cache.open(
            KIND,
            self._key(split, depth),
            shape=shape,
            dtype=self._stored,
            of=f"{'+'.join(parts)} of {len(images)} {split} images of {source} at {size} px",
            build=lambda write: self._fill(split, depth, write),
        )
        return MappedActivations(entry.array, self._dtype, axes)

    @property
    def _dtype(self) -> torch.dtype:
        return AUTOCAST.get(self.spec.trainer.precision, torch.float32)

    @property
    def _stored(self) -> str:
        # numpy has no bfloat16: it is kept in fp32, which holds it exactly
        return "<f2" if self._dtype is torch.float16 else "<f4"

    def _key(self, split: str, depth: int) -> str:
        """Hash all that decides the activations of the first `depth` parts."""
        spec, data = self.spec, self.spec.data
        processor = platform.processor() or platform.machine()
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else processor
        parts = {
            "recipe": RECIPE_VERSION,
            "images": [spec.data_fingerprint, split, *self._fold],
            "transform": [data.image_size, list(data.mean), list(data.std), *self._value_range],
            "prefix": [spec.model.backbone, self.prefix.digests[depth - 1]],
            "arithmetic": [spec.trainer.precision, name, torch.backends.cpu.get_cpu_capability(), torch.__version__],
        }
        if self.prefix.known.any_batch:
            parts["alone"] = data.batch_size == 1  # a batch of one is computed another way
        else:
            parts["batch_size"] = data.batch_size
        if self.device.type == "cuda":
            parts["matmul_precision"] = spec.trainer.matmul_precision
        if self.data.viewed and split == TRAIN:
            written = data.model_dump(mode="json", include={"augment"})
            parts["views"] = [written["augment"], data.augment_views, version("torchvision"), np.__version__]
        if spec.trainer.convolutions != "auto":
            parts["convolutions"] = spec.trainer.convolutions
        return hash_parts(parts)[:32]

    @property
    def _fold(self) -> list[int]:
        """What decides the images of a split besides the data set; nothing without folds."""
        data, fold = self.spec.data, self.spec.fold
        return [] if data.folds is None or fold is None else [data.folds, fold, data.split_seed]

    @property
    def _value_range(self) -> list[float]:
        """What becomes black and white; nothing where no image has more than 8 bits a channel."""
        told = self.spec.data.value_range
        return list(told) if isinstance(told, tuple) else []

    @property
    def _pads(self) -> bool:
        return pads_batches(self.prefix.known, self.spec.trainer.accelerator)

    def _describe(self, images: DecodedImages, depth: int) -> tuple[tuple[int, ...], Axes | None]:
        """Return the shape of what the first parts give for all images, and how it lies in memory where that counts."""
        with self.computing():
            value = self.prefix.span(0, depth)(self._normalise(images[torch.tensor([0])]))
        return (len(images), *value.shape[1:]), memory_axes(value) if self._pads else None

    def _fill(self, split: str, depth: int, write: Write) -> None:
        """Compute the activations of the first `depth` parts, from those of as many as the cache has or is to have."""
        images = self.data.pixels[split]
        begun, given = self._open_boundary(split, depth)
        source = images if given is None else given
        span, batch_size = self.prefix.span(begun, depth), self.spec.data.batch_size
        for rows in BatchOrder(len(images), batch_size, None):
            with self.computing():
                value = source[torch.tensor(rows)].to(self.device)
                value = value if begun else self._normalise(value)
                value = compute_padded(span, value, batch_size) if self._pads else span(value)
            write(rows[0], value.to(torch.float16 if self._stored == "<f2" else torch.float32).cpu().numpy())

    def _open_boundary(self, split: str, depth: int) -> tuple[int, MappedActivations | None]:
        """Return the activations of the most parts, fewer than `depth`, that the cache has or that other runs need."""
        for parts in filter(self.prefix.can_end, range(depth - 1, 0, -1)):
            if parts in self.boundaries:
                with suppress(CacheError):  # without room for them they are computed on the way, and not kept
                    return parts, self.open(split, parts)
            shape, axes = self._describe(self.data.pixels[split], parts)
            entry = self.cache.find(KIND, self._key(split, parts), shape=shape, dtype=self._stored)
            if entry is not None:
                return parts, MappedActivations(entry.array, self._dtype, axes)
        return 0, None

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute as a run does; what is written is not within."""
        with torch.inference_mode(), autocast(self.device.type, self.spec.trainer.precision):
            yield

    def _normalise(self, images: Tensor) -> Tensor:
        data = self.spec.data
        mean, std = (255 * torch.tensor(each).view(1, 3, 1, 1).to(self.device) for each in (data.mean, data.std))
        return (images.to(self.device).float() - mean) / std
