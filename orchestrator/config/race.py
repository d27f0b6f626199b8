"""How a race spends epochs where they decide: when it drops trials, and how much it may cost."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from orchestrator.config.fields import Section, no_bool

Rung = Annotated[int, Field(ge=1, le=100_000), no_bool]


class RaceConfig(Section):
    """When a race drops trials, and how many seeds it gives those that it keeps."""

    rungs: tuple[Rung, ...] = Field(default=(3, 9, 30), min_length=1)
    """Epochs after which the runs wait for each other and trials are dropped, rising. Those from `trainer.max_epochs`
    on are left out: what is not dropped trains to its end."""
    drop_below: float = Field(default=0.02, gt=0, le=0.5)
    """A trial is dropped at a rung when the probability that it ends on the front is lower than this."""
    max_seeds: int = Field(default=5, ge=1, le=1000)
    """Seeds of a trial at the most: those of `search.seeds` in their order, then counting on from the highest."""

    @field_validator("rungs")
    @classmethod
    def _rungs_rise(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(value)):
            raise ValueError("each rung must come after the one before")
        return value


class BudgetConfig(Section):
    """What a race may spend before it gives no further seeds. Its rungs count, but run to their end in any case.

    Where nothing is given, it may train as many epochs as the full sweep would: trials x seeds x `trainer.max_epochs`.
    """

    epochs: int | None = Field(default=None, ge=1)
    """Epochs of all runs together; null: no limit of its own."""
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Minutes of training of all runs together, as if one ran after the other; null: no limit of its own."""
    gflops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Training GFLOPs (10^9 floating-point operations) of all runs together; null: no limit of its own."""

    @property
    def is_given(self) -> bool:
        """Whether it limits anything."""
        return any(limit is not None for limit in (self.epochs, self.minutes, self.gflops))
