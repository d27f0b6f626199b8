"""The typed values of a data set: where images come from and how they are prepared."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from orchestrator.config.fields import BatchSize, Channel, ClassName, Section, Seed, blame, require_distinct
from orchestrator.config.samplers import RANDOM, SamplerName
from orchestrator.config.splits import SplitsConfig
from orchestrator.config.transforms import NO_TRANSFORM, Augment

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

IN_DATA_FINGERPRINT = frozenset(
    {
        "source",
        "revision",
        "splits",
        "class_folder",
        "on_unread",
        "follow_links",
        "on_corrupt",
        "synthetic",
        "classes",
        "max_train_images",
    }
)
"""Fields whose effect the fingerprint of the data holds."""
WITHOUT_EFFECT = frozenset({"loader_workers", "memory_mb"})
"""Fields that change no result."""

MOST_FOLDS = 100

ValueRange = tuple[Channel, Channel]
"""Lowest and highest value."""


class SyntheticConfig(Section):
    """Images that are drawn instead of loaded, when `data.source` is `synthetic`."""

    classes: int = Field(default=3, ge=2, le=100)
    """Number of classes."""
    train: int = Field(default=240, ge=2, le=1_000_000)
    """Number of training images."""
    validation: int = Field(default=90, ge=2, le=1_000_000)
    """Number of validation images."""
    test: int = Field(default=90, ge=2, le=1_000_000)
    """Number of test images."""
    seed: Seed = 0
    """Seed of the drawing."""


class DataConfig(Section):
    """Where images come from and how they are prepared."""

    source: str = Field(min_length=1)
    """A Hugging Face data set name, a local folder (one folder a class, Parquet files, or what `save_to_disk` wrote), a
    zip archive of one folder a class, a CSV of paths and labels (`csv:<path>` where it has another suffix),
    `sklearn/digits` (handwritten digits that come with scikit-learn), `synthetic`, or a name that an installed package
    adds."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face data set; null: the newest."""
    image_column: str | None = None
    """Column that holds the images; null: detected by its type."""
    label_column: str | None = None
    """Column that holds the labels; null: detected by its type."""
    splits: SplitsConfig | None = None
    """Which part of the source is which split; null: as folders and files are called."""
    class_folder: Literal["auto", "inner", "outer"] = "auto"
    """Which folder names the class where images lie several folders deep: the one that holds them (`inner`) or the one
    next to the split (`outer`); `auto` refuses to guess."""
    on_unread: Literal["fail", "skip"] = "fail"
    """What looks like an image and cannot be used where it lies refuses the data set (`fail`), or is left out and
    counted (`skip`)."""
    follow_links: bool = False
    """Read through symbolic links, and paths in tables and lists, that lead out of the data folder."""
    image_size: int = Field(default=224, ge=8, le=1024)
    """Images are resized to this many pixels square."""
    mean: tuple[Channel, Channel, Channel] = IMAGENET_MEAN
    """Mean of each RGB channel, of values in [0, 1]."""
    std: tuple[Channel, Channel, Channel] = IMAGENET_STD
    """Standard deviation of each RGB channel, of values in [0, 1]."""
    augment: Augment = NO_TRANSFORM
    """How training images change from epoch to epoch: `none`; `flip` (left and right swapped, each in half of the
    epochs); `crop-flip` (a part of 8 to 100 % of the image, resized, and flipped); `randaugment` or `trivialaugment`
    after these two; or a list of transforms of torchvision.transforms.v2 in order, each by its name or as
    `{RandomRotation: {degrees: 10}}`. The seed of a run decides; what frozen blocks give for an image is not kept then,
    unless `augment_views` says so."""
    augment_views: int | None = Field(default=None, ge=1, le=1000)
    """Fixed views of each training image, drawn once for runs of all seeds; the epochs take one after the other, and
    what frozen blocks give for each of them is kept. null: each epoch draws its own."""
    mixup: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Mixes images and labels of a training batch with those before them, by a share of Beta(a, a) for this a; 0: none.
    Where `cutmix` is given too, one of both is drawn for each batch."""
    cutmix: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Pastes a box of the image before it into each image of a training batch, and mixes the labels by its area, which
    is a share of Beta(a, a) for this a; 0: none."""
    sampler: SamplerName = RANDOM
    """Which training images an epoch has: `random`: each once, in random order; `balanced`: as many, drawn with
    replacement, so that all classes are as frequent."""
    batch_size: BatchSize = 16
    """Images a training step."""
    loader_workers: int = Field(default=4, ge=0, le=64)
    """Threads that decode images into memory, or loader processes where they do not fit `memory_mb`."""
    memory_mb: int = Field(default=4096, ge=0)
    """Decoded images that the cache has not are kept in memory up to this size (MiB a run); larger sets are decoded
    each epoch."""
    value_range: Literal["auto", "full"] | ValueRange | None = "auto"
    """Values that become black and white in images of more than 8 bits a channel: `auto`: the lowest and highest of the
    data set; `full`: 0 to 65535; or `[low, high]`. null: such images are broken. It is nothing to images of 8 bits."""
    on_corrupt: Literal["fail", "skip"] = "fail"
    """A broken image refuses the data set before anything trains (`fail`), or is left out and named (`skip`)."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training split that becomes the validation split where the data set has none."""
    split_seed: Seed = 0
    """Seed of that stratified split, and of the choice of `max_train_images`."""
    folds: int | None = Field(default=None, ge=2, le=MOST_FOLDS)
    """K-fold cross-validation: training and validation images together are divided into so many parts, stratified, by
    `split_seed`. Each trial trains as many networks a seed, each validated on another part, and its accuracy is that of
    all images. The test split stays as it is. null: the validation split is validated."""
    classes: tuple[ClassName, ...] | None = Field(default=None, min_length=2)
    """Names of the classes to use; null: all. They keep the order that they have in the data set, and each image the
    split that it has with all of them."""
    max_train_images: int | None = Field(default=None, ge=2)
    """Training images to use at the most, stratified by class; null: all. Fewer are always among more."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """What `source: synthetic` draws."""

    @field_validator("std")
    @classmethod
    def _std_is_positive(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0:
            raise ValueError("each standard deviation must be greater than 0")
        return value

    @field_validator("augment_views")
    @classmethod
    def _views_are_of_something(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("augment") == NO_TRANSFORM:
            raise ValueError("belongs to data.augment, which is none: choose an augmentation, or leave it out")
        return value

    @field_validator("value_range")
    @classmethod
    def _range_rises(cls, value: str | ValueRange | None) -> str | ValueRange | None:
        if isinstance(value, tuple) and value[0] >= value[1]:
            raise ValueError("must be [low, high] with low < high")
        return value

    @field_validator("max_train_images")
    @classmethod
    def _limit_goes_without_folds(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("folds") is not None:
            raise blame("limits the training split, and data.folds divides it anew", ("max_train_images",), value)
        return value

    @field_validator("classes")
    @classmethod
    def _classes_are_distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        require_distinct(value or ())
        return value

    def count_images(self, split_sizes: Mapping[str, int]) -> int:
        """Count the images of all splits, each fixed view of a training image for one.

        Args:
            split_sizes: Images in `train`, `validation` and `test`.
        """
        return sum(split_sizes.values()) + ((self.augment_views or 1) - 1) * split_sizes["train"]
