"""What is trained: frozen sets, and all that decides how much work they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet, all_sets, prefix_sets

BACKBONE = "resnet18"
_ORDER = find_backbone(BACKBONE).blocks

FROZEN_SETS: dict[str, list[FrozenSet]] = {
    "prefixes": prefix_sets(_ORDER),
    "subsets": all_sets(_ORDER),
    "head": [FrozenSet.of(_ORDER, order=_ORDER)],
}
"""The frozen sets of each workload by its name: the six prefixes, all 32 sets, the head alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The work that all competitors do alike.

    Attributes:
        name: What it is called.
        frozen: Keys of the frozen sets, a trial each.
        image_size: Pixels square that images are resized to.
        epochs: Epochs of each trial; none stops early.
        batch_size: Images a step.
        lr: Learning rate of Adam.
        seed: Seed of each trial.
        loader_workers: Processes, or threads, that decode.
        threads: CPU threads; None: as many as there are cores.
        accelerator: `cpu` or `gpu`.
        precision: As Lightning names it.
    """

    name: str
    frozen: tuple[str, ...]
    image_size: int = 64
    epochs: int = 3
    batch_size: int = 16
    lr: float = 1e-4
    seed: int = 0
    loader_workers: int = 2
    threads: int | None = None
    accelerator: str = "cpu"
    precision: str = "32-true"


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """Images in each split."""

    train: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        """Images of all splits."""
        return self.train + self.validation + self.test

    def times(self, factor: int) -> "SplitSizes":
        """Multiply each split."""
        return SplitSizes(self.train * factor, self.validation * factor, self.test * factor)


BEANS = SplitSizes(1034, 133, 128)
"""Sizes of the published Beans data set. Source: https://huggingface.co/datasets/AI-Lab-Makerere/beans"""


def frozen_keys(workload: str, own: Sequence[str] = ()) -> tuple[str, ...]:
    """List the keys of a workload's frozen sets; `own` keys, in any order of their blocks, replace them."""
    if own:
        return tuple(dict.fromkeys(parse(key).key for key in own))
    return tuple(frozen.key for frozen in FROZEN_SETS[workload])


def parse(key: str) -> FrozenSet:
    """Read the key of a frozen set of the backbone."""
    return FrozenSet.parse(key, order=_ORDER)
