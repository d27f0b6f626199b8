"""A look at every image of a data set: what is there, what is broken, what is there twice."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import DataConfig
from orchestrator.config.sources import SOURCES
from orchestrator.storage.cache import Cache
from orchestrator.training.data.collection import open_collection
from orchestrator.training.data.duplicates import count_repeats, count_shared, group_equal
from orchestrator.training.data.encoded import NO_LABEL, EncodedImages, Survey, survey_images
from orchestrator.training.data.quality import WHOLE_SPLIT, BrokenImage, DataReport, EqualImage, Extent, Portion
from orchestrator.training.data.sources import examine_source
from orchestrator.training.images.batches import Images
from orchestrator.training.images.decoding import ImageFacts

_NO_CLASS = "(none)"


class _Inspected(Protocol):
    """A split whose images are known one by one."""

    @property
    def split(self) -> str:
        """Name of the split that they are stored in."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels by row; `NO_LABEL` where there is none."""

    @property
    def digests(self) -> list[bytes]:
        """Digests by row."""

    def locate(self, index: int) -> tuple[int, str | None]:
        """Return row and file of an image as it is stored."""


class _Drawn:
    """A split of drawn images, each drawn once."""

    def __init__(self, images: Images, split: str, size: int) -> None:
        self.split = split
        self.labels = images.labels
        self.digests = [hashlib.sha256(images.read(row, size).tobytes()).digest() for row in range(len(images))]

    def locate(self, index: int) -> tuple[int, str | None]:
        return index, None


def inspect_data(config: DataConfig, cache: Cache | None = None) -> DataReport:
    """Decode every image of a data set, and report what is there.

    Broken images are left out of all counts but their own, whatever `on_corrupt` says: it decides whether they are a
    problem.

    Args:
        config: Which, and how.
        cache: Gets the decoded images, for the sweeps that share it; None: none is kept.

    Raises:
        ConfigError: The data set cannot be read, or has no columns of images and labels.
        SetupError: It is on the hub, and neither network nor cache has it.
    """
    return _inspect_collection(config) if config.source in SOURCES else _inspect_stored(config, cache)


def _inspect_collection(config: DataConfig) -> DataReport:
    images, info = open_collection(config)
    size = config.image_size
    splits = {split: _Drawn(part, split, size) for split, part in images.items()}
    facts = {digest: ImageFacts(size, size, "RGB") for part in splits.values() for digest in part.digests}
    return DataReport(
        source=config.source,
        fingerprint=info.fingerprint,
        class_names=info.class_names,
        portions=_measure(splits, info.class_names, facts, []),
        broken=(),
        equal=_find_equal(splits, info.class_names),
        problems=(),
        notes=info.notes,
    )


def _inspect_stored(config: DataConfig, cache: Cache | None) -> DataReport:
    source = examine_source(config, decode=True, cache=cache)
    survey = source.survey
    if source.decoded is not None:  # the cache says which are broken, not what the others are
        survey = {**survey_images(source.splits.values(), config.loader_workers), **survey}
    splits = {name: _keep_whole(images, survey) for name, images in source.splits.items()}
    equal = _find_equal(splits, source.class_names)
    return DataReport(
        source=config.source,
        fingerprint=None if source.problems else source.fingerprint,
        class_names=source.class_names,
        portions=_measure(splits, source.class_names, survey, source.broken),
        broken=source.broken,
        equal=equal,
        problems=source.problems.messages,
        notes=(*source.notes, *_note_repeats(splits, equal, config)),
        reading=source.opened.reading,
        files=source.opened.files,
        left_out=source.opened.left_out,
    )


def _keep_whole(images: EncodedImages, survey: Survey) -> EncodedImages:
    whole = [isinstance(survey.get(digest), ImageFacts) for digest in images.digests]
    return images.select(np.flatnonzero(whole))


def _measure(
    splits: Mapping[str, _Inspected], names: Sequence[str], survey: Survey, broken: Sequence[BrokenImage]
) -> tuple[Portion, ...]:
    portions = []
    for split, images in splits.items():
        elsewhere = {digest for other, part in splits.items() if other != split for digest in part.digests}
        here = [image for image in broken if image.split == split]
        classes = dict(enumerate(names))
        if NO_LABEL in images.labels or any(image.label is None for image in here):
            classes[NO_LABEL] = _NO_CLASS
        for label, name in classes.items():
            digests = [images.digests[row] for row in np.flatnonzero(images.labels == label)]
            lost = sum((image.label or _NO_CLASS) == name for image in here)
            portions.append(_measure_portion(split, name, digests, lost, elsewhere, survey))
        portions.append(_measure_portion(split, WHOLE_SPLIT, images.digests, len(here), elsewhere, survey))
    return tuple(portions)


def _measure_portion(
    split: str, label: str, digests: Sequence[bytes], broken: int, elsewhere: set[bytes], survey: Survey
) -> Portion:
    facts = [found for digest in digests if isinstance(found := survey[digest], ImageFacts)]
    return Portion(
        split=split,
        label=label,
        images=len(digests),
        broken=broken,
        repeats=count_repeats(digests),
        shared=count_shared(elsewhere, digests),
        width=Extent.of([fact.width for fact in facts]),
        height=Extent.of([fact.height for fact in facts]),
        modes=dict(Counter(fact.mode for fact in facts).most_common()),
    )


def _find_equal(splits: Mapping[str, _Inspected], names: Sequence[str]) -> tuple[tuple[EqualImage, ...], ...]:
    return tuple(
        tuple(_describe(splits[split], split, index, names) for split, index in group) for group in group_equal(splits)
    )


def _describe(images: _Inspected, split: str, index: int, names: Sequence[str]) -> EqualImage:
    row, file = images.locate(index)
    label = int(images.labels[index])
    return EqualImage(
        split=split,
        stored_split=images.split,
        row=row,
        file=file,
        label=None if label == NO_LABEL else names[label],
    )


def _note_repeats(
    splits: Mapping[str, _Inspected], equal: Sequence[Sequence[EqualImage]], config: DataConfig
) -> list[str]:
    notes = [
        f"{config.source}: {count} of {len(images.digests)} images of split {split} repeat others of it and weigh more"
        for split, images in splits.items()
        if (count := count_repeats(images.digests))
    ]
    torn = [group for group in equal if len({image.label for image in group}) > 1]
    if torn:
        example = " and ".join(f"{image} is {image.label}" for image in torn[0][:2])
        notes.append(f"{config.source}: {len(torn)} groups of equal images have different labels, such as {example}")
    return notes
