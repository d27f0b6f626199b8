"""Images in batches: mapped from the cache, or decoded into memory where they fit, else each epoch."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from orchestrator.config.transforms import Transform
from orchestrator.training.images.cache import RowsOf
from orchestrator.training.images.decoding import Pixels


class Images(Protocol):
    """One split: labels at once, pixels on demand."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels by row."""

    @property
    def ids(self) -> list[str]:
        """What tells images apart, by row: the same in all runs on the same data."""

    def __len__(self) -> int: ...

    def read(self, index: int, size: int) -> Pixels:
        """Decode or draw one image."""


Batch = tuple[Tensor, Tensor]
"""Images (uint8, [n, 3, size, size]) and labels (int64, [n])."""


Draw = Callable[[np.random.Generator], NDArray[np.int64]]
"""Draws as many rows as there are."""


class BatchOrder:
    """Which rows form each batch of an epoch. A seed makes a new permutation for each epoch.

    A single row left over joins the batch before it.

    Has what Lightning looks for in a batch sampler: `sampler` with `set_epoch`.

    Args:
        length: Number of rows.
        batch_size: Rows of a batch.
        seed: Seed of the order; None: rows come as they lie.
        draw: Draws the rows of an epoch instead, from a generator; a row may come several times.
    """

    def __init__(self, length: int, batch_size: int, seed: int | None, draw: Draw | None = None) -> None:
        self._length = length
        self._batch_size = batch_size
        self._seed = seed
        self._draw = draw
        self._epoch = 0

    @property
    def sampler(self) -> "BatchOrder":
        """The object that is told the epoch."""
        return self

    @property
    def epoch(self) -> int:
        """Epoch of the next iteration, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.bounds())

    def __iter__(self) -> Iterator[list[int]]:
        rows = self.rows()
        for start, stop in self.bounds():
            yield rows[start:stop].tolist()

    def rows(self) -> NDArray[np.int64]:
        """Order the rows of the epoch; `bounds` cuts it into batches."""
        if self._seed is None:
            return np.arange(self._length)
        rng = np.random.default_rng([self._seed, self._epoch])
        return rng.permutation(self._length) if self._draw is None else self._draw(rng)

    def numbers(self) -> NDArray[np.int64]:
        """Number what comes: by row where each comes once, else by its place in the order."""
        return self.rows() if self._draw is None else np.arange(self._length)

    def bounds(self) -> list[tuple[int, int]]:
        """List where each batch begins and ends, by place in the order."""
        starts = list(range(0, self._length, self._batch_size))
        # BatchNorm has no statistics of a single image, and convolutions compute one another way, to the last bit:
        # one left over joins the batch before it
        if len(starts) > 1 and self._length - starts[-1] == 1 and self._batch_size > 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self._length], strict=True))


class DecodedImages(Protocol):
    """One split, ready to be computed with, in memory or in the cache: images, or what frozen blocks gave for them."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Copy rows: images (uint8, [n, 3, size, size]), or activations."""


class MappedImages:
    """Decoded images that lie in the cache. All runs of a machine share the memory that they take."""

    def __init__(self, images: RowsOf) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        return torch.from_numpy(self._images.take(rows.numpy()))


class MemoryBatches:
    """Batches of a split that is decoded already.

    Where there are several times as many images as labels they are views of them, all of the first view before all of
    the second, and each epoch takes the next one. The order goes to where images and labels lie once an epoch: no batch
    waits for a copy of its own.
    """

    def __init__(self, images: DecodedImages, labels: Tensor, order: BatchOrder) -> None:
        self._images = images
        self._labels = labels
        self.batch_sampler = order

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        order = self.batch_sampler
        rows = torch.from_numpy(order.rows()).to(self._labels.device)
        views = len(self._images) // len(self._labels) if len(self._labels) else 1
        view = order.epoch % views * len(self._labels)
        for start, stop in order.bounds():
            index = rows[start:stop]
            yield self._images[view + index], self._labels[index]


class _Decoding(Dataset[tuple[Tensor, int]]):
    """A split that is decoded image by image."""

    def __init__(self, images: Images, size: int) -> None:
        self._images = images
        self._size = size

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self._images.read(index, self._size)), int(self._images.labels[index])


PlainBatches = MemoryBatches | DataLoader[tuple[Tensor, int]]


Drawing = Callable[[BatchOrder], NDArray[np.generic]]
"""Draws what becomes of the images of an epoch, one after the other as they come."""


class AugmentedBatches:
    """Batches whose images a transform changes, on the device on which they are trained on.

    Args:
        batches: The batches, in the order of `order`.
        order: Which rows they hold; it knows the epoch.
        transform: What changes the images.
        drawing: Draws what becomes of them.
        device: Where they are trained on.
    """

    def __init__(
        self,
        batches: PlainBatches,
        order: BatchOrder,
        transform: Transform,
        drawing: Drawing,
        device: torch.device,
    ) -> None:
        self._batches = batches
        self._transform = transform
        self._drawing = drawing
        self._device = device
        self.batch_sampler = order

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        order = self.batch_sampler
        drawn = torch.from_numpy(self._drawing(order)).to(self._device)
        for (start, stop), (images, labels) in zip(order.bounds(), self._batches, strict=True):
            images = images.to(self._device, non_blocking=True)
            yield self._transform.apply(images, drawn[start:stop]), labels


Batches = PlainBatches | AugmentedBatches
