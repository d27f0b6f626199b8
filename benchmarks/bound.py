"""The time below which a sweep cannot go, if this machine computes as fast as it was measured to.

What is counted, for a frozen set whose first trainable stage is k (the stages are the blocks and the head):

- training: epochs x training images x the measured seconds of forward and backward of the stages from k on. A trainable
  stage computes the gradients of its weights; every stage after k computes those of its input too; stage k does not;
- validation: epochs x validation images x forward of the stages from k on;
- test: test images x forward of the stages from k on, once;
- prefix: one forward pass of the stages before k over all images, once: their outputs never change. In the bound of a
  sweep it is counted once for all its trials, to the deepest k: shorter prefixes lie on its way.

What is not counted: reading and decoding images, optimizer steps, losses and metrics, checkpoints, tracking, start-up.
So no program attains 1 unless it computes a stage faster than it was measured here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate

from benchmarks.workloads import SplitSizes
from orchestrator.blocks import FrozenSet

HEAD = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """What a stage of the network takes, in seconds an image.

    Attributes:
        forward: Forward pass without gradients, in eval mode.
        weights: Forward and backward pass with the gradients of its weights only.
        weights_and_input: With those of its input besides.
        input: With those of its input only: it is frozen, and a stage before it trains.
    """

    forward: float
    weights: float
    weights_and_input: float
    input: float

    def faster(self, other: "StageSeconds") -> "StageSeconds":
        """Take the lower of two measurements, pass by pass."""
        return StageSeconds(
            forward=min(self.forward, other.forward),
            weights=min(self.weights, other.weights),
            weights_and_input=min(self.weights_and_input, other.weights_and_input),
            input=min(self.input, other.input),
        )

    @classmethod
    def at_the_same_time(cls, measured: Sequence["StageSeconds"]) -> "StageSeconds":
        """Return the seconds an image of processes that compute at the same time: their images a second add up."""
        return cls(
            **{each.name: 1 / sum(1 / getattr(one, each.name) for one in measured) for each in fields(cls)},
        )

    def training(self, *, trains: bool, needs_input: bool) -> float:
        """Return the seconds of a training image; a stage that does neither runs forward only."""
        if trains:
            return self.weights_and_input if needs_input else self.weights
        return self.input if needs_input else self.forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The least seconds of one trial, or of a sweep, by what they go to."""

    prefix: float = 0.0
    training: float = 0.0
    validation: float = 0.0
    test: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.prefix + self.training + self.validation + self.test


def bound_trial(frozen: FrozenSet, stages: Mapping[str, StageSeconds], sizes: SplitSizes, epochs: int) -> Bound:
    """Predict the seconds of one trial; the module's docstring says what counts.

    Args:
        frozen: The frozen set.
        stages: Measured seconds by stage, in network order, the head last.
        sizes: Images in each split.
        epochs: Epochs.
    """
    trains = [name not in frozen for name in stages]
    needs_input = list(accumulate(trains[:-1], lambda before, this: before or this, initial=False))
    started = [each or before for each, before in zip(trains, needs_input, strict=True)]
    rows = list(zip(stages.values(), trains, needs_input, started, strict=True))
    prefix = sum(stage.forward for stage, _, _, after in rows if not after)
    suffix = sum(stage.forward for stage, _, _, after in rows if after)
    step = sum(stage.training(trains=own, needs_input=needed) for stage, own, needed, after in rows if after)
    return Bound(
        prefix=prefix * sizes.total,
        training=epochs * sizes.train * step,
        validation=epochs * sizes.validation * suffix,
        test=sizes.test * suffix,
    )


def bound_sweep(
    frozen: Iterable[FrozenSet], stages: Mapping[str, StageSeconds], sizes: SplitSizes, epochs: int
) -> Bound:
    """Predict the seconds of a sweep: those of its trials, the deepest prefix once."""
    trials: Sequence[Bound] = [bound_trial(each, stages, sizes, epochs) for each in frozen]
    return Bound(
        prefix=max(trial.prefix for trial in trials),
        training=sum(trial.training for trial in trials),
        validation=sum(trial.validation for trial in trials),
        test=sum(trial.test for trial in trials),
    )
