"""What each block of a backbone does in a trial: tunings, frozen sets, and the canonical key of each such set."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from itertools import combinations, takewhile
from typing import Any, Self, final

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from orchestrator.errors import ConfigError

_NONE_KEY = "none"


class Tuning(Enum):
    """What one block does in a trial. `training/network/freezing.py` says what that means for its modules.

    Example:
        >>> from orchestrator import FrozenSet, Tuning
        >>> frozen = FrozenSet.parse("stem")
        >>> frozen.tuning("stem") is Tuning.FROZEN, frozen.tuning("layer1") is Tuning.FULL
        (True, True)
    """

    FROZEN = "frozen"
    """No parameter trains: for an image the block gives the same in every epoch."""
    FULL = "full"
    """Every parameter trains."""

    @property
    def is_fixed(self) -> bool:
        """Whether what the block gives for an image can be computed once for all epochs, seeds and trials."""
        return self is Tuning.FROZEN


@final
@dataclass(frozen=True, slots=True, eq=False)
class FrozenSet:
    """The blocks that do not train in a trial, with the tunings of all blocks that do not train in full.

    A set is equal to its canonical key, and hashes as the key does, so that results can be looked up by either:
    `trial.frozen == "stem+layer1"`. In JSON and as text it is its key; pydantic reads it from there.

    Example:
        >>> from orchestrator import FrozenSet
        >>> frozen = FrozenSet.parse("layer1+stem", order=("stem", "layer1", "layer2"))
        >>> frozen.key, frozen.blocks, "layer2" in frozen, frozen.tuning("layer2").value
        ('stem+layer1', ('stem', 'layer1'), False, 'full')

    Attributes:
        tunings: The blocks that do not train in full and what each does, in network order, each once.
    """

    tunings: tuple[tuple[str, Tuning], ...] = ()

    @classmethod
    def of(cls, parts: Iterable[str], *, order: tuple[str, ...]) -> Self:
        """Build the set from parts of a key in any order and repetition; `order` is the backbone's.

        Args:
            parts: Blocks to freeze, or `block:tuning`.
            order: Block names of the backbone, in network order.

        Raises:
            ConfigError: A name is not a block of the backbone, or not a tuning; or a block has two tunings.
        """
        return cls(_read(parts)).arrange(order)

    @classmethod
    def parse(cls, key: str, *, order: tuple[str, ...] | None = None) -> Self:
        """Read a key such as `stem+layer1` or `none`; order and repetition are normalised.

        Args:
            key: Parts as `of` takes them, joined by `+`.
            order: Block names of the backbone, in network order; None: the key was written by this class.

        Raises:
            ConfigError: A name in the key is not a block of the backbone, or not a tuning; or a block has two tunings.
        """
        parts = [part.strip() for part in key.split("+")]
        found = cls() if parts == [_NONE_KEY] else cls(_read(parts))
        return found if order is None else found.arrange(order)

    def arrange(self, order: tuple[str, ...]) -> Self:
        """Return the same set with its blocks in network order; `order` is the backbone's.

        Raises:
            ConfigError: A block of the set is not one of the backbone.
        """
        tunings = dict(self.tunings)
        unknown = sorted(set(tunings) - set(order))
        if unknown:
            raise ConfigError(
                f"unknown block {', '.join(repr(name) for name in unknown)}; valid blocks: {', '.join(order)}",
                hint=_suggest(unknown[0], order),
            )
        return type(self)(tuple((block, tunings[block]) for block in order if block in tunings))

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the frozen blocks, in network order."""
        return tuple(block for block, tuning in self.tunings if tuning is Tuning.FROZEN)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the key, in network order: `stem` is frozen, `stem:tuning` does something else."""
        return tuple(block if tuning is Tuning.FROZEN else f"{block}:{tuning.value}" for block, tuning in self.tunings)

    @property
    def key(self) -> str:
        """Canonical name: its parts in network order joined by `+`, or `none`."""
        return "+".join(self.parts) or _NONE_KEY

    def tuning(self, block: str) -> Tuning:
        """Return what a block does; the head, like every block that the key does not name, trains in full."""
        return dict(self.tunings).get(block, Tuning.FULL)

    def prefix_length(self, order: tuple[str, ...]) -> int:
        """Count the fixed blocks before the first that trains; `order` is the backbone's."""
        return len(list(takewhile(lambda block: self.tuning(block).is_fixed, order)))

    def __contains__(self, block: str) -> bool:
        return block in self.blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenSet):
            return self.tunings == other.tunings
        return self.key == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.key

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a set, or its key; write the key."""
        text = core_schema.no_info_after_validator_function(cls._from_text, core_schema.str_schema())
        return core_schema.no_info_wrap_validator_function(
            cls._accept, text, serialization=core_schema.to_string_ser_schema(when_used="always")
        )

    @classmethod
    def _accept(cls, value: object, read: ValidatorFunctionWrapHandler) -> Self:
        found: Self = value if isinstance(value, cls) else read(value)
        return found

    @classmethod
    def _from_text(cls, key: str) -> Self:
        try:
            return cls.parse(key)
        except ConfigError as error:
            raise ValueError(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from error


def _read(parts: Iterable[str]) -> tuple[tuple[str, Tuning], ...]:
    """Read parts of a key; those that train in full are left out."""
    tunings: dict[str, Tuning] = {}
    for part in parts:
        block, colon, name = part.partition(":")
        tuning = _find_tuning(name, block) if colon else Tuning.FROZEN
        if tunings.setdefault(block, tuning) is not tuning:
            raise ConfigError(f"the block {block!r} has two tunings: {tunings[block].value} and {tuning.value}")
    return tuple((block, tuning) for block, tuning in tunings.items() if tuning is not Tuning.FULL)


def _find_tuning(name: str, block: str) -> Tuning:
    valid = [tuning.value for tuning in Tuning]
    if name not in valid:
        raise ConfigError(
            f"unknown tuning {name!r} of block {block!r}; valid tunings: {', '.join(valid)}",
            hint=_suggest(name, valid),
        )
    return Tuning(name)


def _suggest(name: str, valid: Iterable[str]) -> str | None:
    close = get_close_matches(name, list(valid), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def prefix_sets(order: tuple[str, ...]) -> list[FrozenSet]:
    """List the sets that freeze the first k blocks, k = 0 to n: n + 1 sets."""
    return [FrozenSet.of(order[:k], order=order) for k in range(len(order) + 1)]


def all_sets(order: tuple[str, ...]) -> list[FrozenSet]:
    """List all 2^n frozen sets, by size, then in network order."""
    return [FrozenSet.of(blocks, order=order) for k in range(len(order) + 1) for blocks in combinations(order, k)]
