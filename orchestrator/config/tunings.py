"""What blocks that are not frozen do in a search: the values of `search.tunings`, and how many sets they make."""

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from orchestrator.blocks import Tuning
from orchestrator.config.fields import require_distinct

_MOST_SETS: Final = 5_000
"""Frozen sets of a search at the most: each is counted before anything trains."""


def _refuse_frozen(tuning: Tuning) -> Tuning:
    if tuning == Tuning.FROZEN:
        raise ValueError("is what search.mode varies: name what blocks do that are not frozen")
    return tuning


def _refuse_twice(tunings: tuple[Tuning, ...]) -> tuple[Tuning, ...]:
    require_distinct(tunings)
    return tunings


_TrainedTuning = Annotated[
    Tuning,
    AfterValidator(_refuse_frozen),
    WithJsonSchema({"type": "string", "pattern": "^(full|norm|bias|lora-[1-9][0-9]{0,5})$"}),
]
Tunings = Annotated[tuple[_TrainedTuning, ...], Field(min_length=1), AfterValidator(_refuse_twice)]
FULL_ONLY: Final = (Tuning.FULL,)


def explain_uncountable(tunings: Sequence[Tuning], blocks: int) -> str | None:
    """Return why tunings make more sets of so many blocks than can be searched; None: they do not."""
    sets = (1 + len(tunings)) ** blocks
    if sets <= _MOST_SETS:
        return None
    return (
        f"make {sets:,} frozen sets of {blocks} blocks, and {_MOST_SETS:,} can be searched: leave out a tuning, or use "
        "mode list"
    )
