"""A data set as its runs load it: batches by split, and what is known of it."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from orchestrator.config.models import DataConfig
from orchestrator.config.samplers import SAMPLERS
from orchestrator.config.sources import SOURCES
from orchestrator.records.facts import DatasetInfo
from orchestrator.storage.cache import Cache
from orchestrator.training.data.collection import open_collection
from orchestrator.training.data.folds import note_folds, take_cached, take_fold
from orchestrator.training.data.sources import Source, open_source
from orchestrator.training.data.splits import SPLITS, TRAIN, VALIDATION
from orchestrator.training.images.augmentation import (
    Views,
    build_transform,
    draw_epoch,
    draw_views,
    require_transform,
)
from orchestrator.training.images.batches import (
    AugmentedBatches,
    Batches,
    BatchOrder,
    DecodedImages,
    Images,
    MappedImages,
    MemoryBatches,
    PlainBatches,
    _Decoding,
)
from orchestrator.training.images.cache import RowsOf, open_drawn
from orchestrator.training.seeds import derive_seed

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """A data set that is ready to be read in batches.

    Attributes:
        info: What is known of it.
        pixels: The images, where they are decoded already.
        device: Where they lie, and the labels of the batches with them.
        pinned: Batches that are decoded each epoch are put where a GPU copies them from without waiting.
        computed_on: Where images are augmented.
        viewed: Fixed views stand in the place of the training images (`data.augment_views`), or what was made of them.
    """

    info: DatasetInfo
    config: DataConfig
    images: dict[str, Images]
    pixels: Mapping[str, DecodedImages]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    pinned: bool = False
    computed_on: torch.device = field(default_factory=lambda: torch.device("cpu"))
    viewed: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether the images are decoded already."""
        return bool(self.pixels)

    @property
    def resident_bytes(self) -> int:
        """Bytes of a GPU's memory that images and labels take all through the run."""
        if self.device.type == "cpu":
            return 0
        pixels = sum(images.nbytes for images in self.pixels.values() if isinstance(images, Tensor))
        return pixels + sum(self.images[split].labels.nbytes for split in self.pixels)

    def to(self, device: torch.device) -> "LoadedData":
        """Make ready to train on a device.

        What is decoded goes into the memory of a GPU, where it takes no more than half of what is free there.
        """
        if device.type == "cpu":
            return self
        size = sum(len(images) * images[torch.tensor([0])].nbytes for images in self.pixels.values())
        if not self.in_memory or (device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 2):
            return replace(self, pinned=True, computed_on=device)
        moved = {split: images[torch.arange(len(images))].to(device) for split, images in self.pixels.items()}
        return replace(self, pixels=moved, device=device, computed_on=device)

    def with_views(self) -> "LoadedData":
        """Put the fixed views of training images in their place, where `data.augment_views` asks for them."""
        views, transform = self.config.augment_views, build_transform(self.config)
        if views is None or transform is None or not self.in_memory:
            return self
        viewed = Views(self.pixels[TRAIN], transform, views)
        return replace(self, pixels={**self.pixels, TRAIN: viewed}, viewed=True)

    def size(self, split: str) -> int:
        """Count the images of a split."""
        return len(self.images[split])

    def batches(self, split: str, *, seed: int | None = None) -> Batches:
        """Batches of a split: to train on with a seed, as `data.sampler` has it each epoch; as they lie without.

        Args:
            split: `train`, `validation` or `test`.
            seed: Seed of the order, and of `data.augment`.
        """
        draw = SAMPLERS.get(self.config.sampler)
        labels = self.images[split].labels
        chosen = None if draw is None else partial(draw, labels=labels)
        order = BatchOrder(len(labels), self.config.batch_size, seed, chosen)
        batches = self._batches(split, order)
        transform = None if seed is None else build_transform(self.config)
        if seed is None or transform is None or self.viewed:
            return batches
        views = self.config.augment_views
        if views is None:
            drawing = partial(draw_epoch, transform, derive_seed(seed, "augmentation"))
        else:
            drawing = partial(draw_views, transform, views)
        return AugmentedBatches(batches, order, transform, drawing, self.computed_on)

    def _batches(self, split: str, order: BatchOrder) -> PlainBatches:
        images = self.images[split]
        if self.in_memory:
            return MemoryBatches(self.pixels[split], torch.from_numpy(images.labels).to(self.device), order)
        workers = self.config.loader_workers
        return DataLoader(
            _Decoding(images, self.config.image_size),
            batch_sampler=order,
            num_workers=workers,
            # whoever runs in a worker process would start them as that was started, and each would load torch again
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            persistent_workers=workers > 0,
            pin_memory=self.pinned,
        )


def describe_data(config: DataConfig, *, decode: bool = True, cache: Cache | None = None) -> DatasetInfo:
    """Load a data set, make sure that it can be used, and say what it is.

    Args:
        config: Which, and how.
        decode: Decode every image once, so that broken ones are found before anything trains.
        cache: Keeps the decoded images; what it has already is known to be whole. None: none is kept.

    Raises:
        ConfigError: The data set is not as it must be; all problems at once.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    images: Mapping[str, Images]
    require_transform(config)
    if config.source in SOURCES:
        images, info = open_collection(config)
    else:
        source = open_source(config, decode=decode, cache=cache)
        images, info = source.splits, _describe(config, source)
    if config.folds is None:
        return info
    divided, _ = take_fold(images, config, 0)
    sizes = {split: len(part) for split, part in divided.items()}
    note = note_folds(config, len(images[TRAIN]) + len(images[VALIDATION]))
    return info.model_copy(update={"split_sizes": sizes, "notes": (*info.notes, note)})


def load_data(
    config: DataConfig, splits: Sequence[str] = SPLITS, *, cache: Cache | None = None, fold: int | None = None
) -> LoadedData:
    """Load a data set; map the splits named from the cache, or decode them where they fit `memory_mb`.

    Where `on_corrupt` is `fail`, images that do not fit are not looked at: `describe_data` has done so.

    Args:
        config: Which, and how.
        splits: Those that are needed.
        cache: Keeps decoded images, and gets those that it has not; None: none is kept.
        fold: Which of `data.folds` is validated; None: train and validation are those of the data set.

    Raises:
        ConfigError: The data set is not as it must be.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    images: dict[str, Images]
    if config.source in SOURCES:
        images, info = open_collection(config)
        cached = open_drawn(cache, images, info.fingerprint, config) if cache else None
    else:
        source = open_source(config, cache=cache)
        images, info = dict(source.splits), _describe(config, source)
        cached = _select(source)
    if fold is not None:
        images, rows = take_fold(images, config, fold)
        cached = None if cached is None else take_cached(cached, rows)
        info = info.model_copy(update={"split_sizes": {split: len(part) for split, part in images.items()}})
    images = {split: images[split] for split in splits}
    if cached is not None:
        mapped = {split: MappedImages(cached[split]) for split in splits}
        return LoadedData(info=info, config=config, images=images, pixels=mapped)
    needed = sum(len(part) for part in images.values()) * 3 * config.image_size**2
    fits = needed <= config.memory_mb * _MIB
    pixels = {split: _decode(part, config) for split, part in images.items()} if fits else {}
    return LoadedData(info=info, config=config, images=images, pixels=pixels)


def order_seed(seed: int) -> int:
    """Derive the seed of the data order from a run's seed."""
    return derive_seed(seed, "data order")


def _describe(config: DataConfig, source: Source) -> DatasetInfo:
    return DatasetInfo(
        source=config.source,
        fingerprint=source.fingerprint,
        class_names=source.class_names,
        split_sizes={split: len(images) for split, images in source.splits.items()},
        value_range=source.value_range,
        notes=source.notes,
    )


def _select(source: Source) -> dict[str, RowsOf] | None:
    """Return the cached images of each split; None where they are not all there."""
    if source.decoded is None:
        return None
    found = {split: source.decoded.select(images.digests) for split, images in source.splits.items()}
    whole = {split: rows for split, rows in found.items() if rows is not None}
    return whole if len(whole) == len(found) else None


def _decode(images: Images, config: DataConfig) -> Tensor:
    size = config.image_size
    pixels = torch.empty((len(images), 3, size, size), dtype=torch.uint8)

    def fill(index: int) -> None:
        pixels[index] = torch.from_numpy(images.read(index, size))

    with ThreadPoolExecutor(max(1, config.loader_workers)) as pool:
        for _ in pool.map(fill, range(len(images))):
            pass
    return pixels
