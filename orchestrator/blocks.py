"""What each block of a backbone does in a trial: tunings, frozen sets, and the canonical key of each such set."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations, product, takewhile
from typing import Any, ClassVar, Final, Literal, Self, final

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from orchestrator.errors import ConfigError

_NONE_KEY = "none"


@final
@dataclass(frozen=True, slots=True)
class Tuning:
    """What one block does in a trial. `training/network/freezing.py` says what that means for its modules.

    In JSON and as text it is its key, such as `norm` or `lora-4`; pydantic reads it from there.

    Example:
        >>> from orchestrator import FrozenSet, Tuning
        >>> frozen = FrozenSet.parse("stem+layer2:lora-4")
        >>> frozen.tuning("stem") == Tuning.FROZEN, frozen.tuning("layer1") == Tuning.FULL
        (True, True)
        >>> frozen.tuning("layer2").kind, frozen.tuning("layer2").rank
        ('lora', 4)

    Attributes:
        kind: `frozen`: no parameter trains, and for an image the block gives the same in every epoch; `full`: every
            parameter trains; `norm`: the affine parameters of its normalisation; `bias`: its biases; `lora`: a change
            of low rank of the weights of its convolutions and linear layers.
        rank: Rank of that change; None for other kinds.
    """

    kind: Literal["frozen", "full", "norm", "bias", "lora"]
    rank: int | None = None

    FROZEN: ClassVar["Tuning"]
    FULL: ClassVar["Tuning"]

    def __post_init__(self) -> None:
        if (self.kind == "lora") != (self.rank is not None and self.rank > 0):
            raise ConfigError(f"lora has a rank of 1 or more and nothing else has one, not {self.kind} {self.rank}")

    @classmethod
    def parse(cls, key: str) -> "Tuning":
        """Read a key: `frozen`, `full`, `norm`, `bias`, or `lora-R` with a rank R of 1 or more.

        Raises:
            ConfigError: It is none of these.
        """
        ranked = _LORA.fullmatch(key)
        if ranked is not None:
            return cls("lora", int(ranked["rank"]))
        for kind in _KINDS:
            if key == kind:
                return cls(kind)
        raise ConfigError(f"unknown tuning {key!r}; valid tunings: {_VALID}", hint=_suggest_tuning(key))

    @property
    def key(self) -> str:
        """Canonical name: its kind, and its rank if it has one."""
        return self.kind if self.rank is None else f"{self.kind}-{self.rank}"

    @property
    def is_fixed(self) -> bool:
        """Whether what the block gives for an image can be computed once for all epochs, seeds and trials."""
        return self.kind == "frozen"

    def __str__(self) -> str:
        return self.key

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a tuning, or its key; write the key."""
        return _accept_key(cls, cls.parse)


_KINDS: Final = ("frozen", "full", "norm", "bias")
_LORA: Final = re.compile(r"lora-(?P<rank>[1-9][0-9]{0,5})")
_VALID: Final = f"{', '.join(_KINDS)}, lora-R (R is the rank)"

Tuning.FROZEN = Tuning("frozen")
Tuning.FULL = Tuning("full")


@final
@dataclass(frozen=True, slots=True, eq=False)
class FrozenSet:
    """The blocks that do not train in a trial, with the tunings of all blocks that do not train in full.

    A set is equal to its canonical key, and hashes as the key does, so that results can be looked up by either:
    `trial.frozen == "stem+layer1"`. In JSON and as text it is its key; pydantic reads it from there.

    Example:
        >>> from orchestrator import FrozenSet
        >>> frozen = FrozenSet.parse("layer1+stem", order=("stem", "layer1", "layer2"))
        >>> frozen.key, frozen.blocks, "layer2" in frozen, frozen.tuning("layer2").key
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
        return tuple(block for block, tuning in self.tunings if tuning == Tuning.FROZEN)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the key, in network order: `stem` is frozen, `stem:tuning` does something else."""
        return tuple(block if tuning == Tuning.FROZEN else f"{block}:{tuning}" for block, tuning in self.tunings)

    @property
    def tuned(self) -> tuple[str, ...]:
        """The parts of the key that are not frozen: blocks that train in part."""
        return tuple(f"{block}:{tuning}" for block, tuning in self.tunings if tuning != Tuning.FROZEN)

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
        return _accept_key(cls, cls.parse)


def _accept_key(kind: type, parse: Callable[[str], object]) -> CoreSchema:
    """Build the schema of a value that is its key in JSON: a value of that type or its key is read, the key written."""

    def accept(value: object, read: ValidatorFunctionWrapHandler) -> object:
        return value if isinstance(value, kind) else read(value)

    def read_key(key: str) -> object:
        try:
            return parse(key)
        except ConfigError as error:
            raise ValueError(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from error

    return core_schema.no_info_wrap_validator_function(
        accept,
        core_schema.no_info_after_validator_function(read_key, core_schema.str_schema()),
        serialization=core_schema.to_string_ser_schema(when_used="always"),
    )


def _read(parts: Iterable[str]) -> tuple[tuple[str, Tuning], ...]:
    """Read parts of a key; those that train in full are left out."""
    tunings: dict[str, Tuning] = {}
    for part in parts:
        block, colon, key = part.partition(":")
        try:
            tuning = Tuning.parse(key) if colon else Tuning.FROZEN
        except ConfigError as error:
            raise ConfigError(f"block {block!r}: {error.message}", hint=error.hint) from error
        if tunings.setdefault(block, tuning) != tuning:
            raise ConfigError(f"the block {block!r} has two tunings: {tunings[block]} and {tuning}")
    return tuple((block, tuning) for block, tuning in tunings.items() if tuning != Tuning.FULL)


def _suggest_tuning(key: str) -> str | None:
    if key.startswith("lora"):
        return "a rank is a whole number from 1 and follows a dash, as in lora-4"
    return _suggest(key, (*_KINDS, "lora-4"))


def _suggest(name: str, valid: Iterable[str]) -> str | None:
    close = get_close_matches(name, list(valid), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def prefix_sets(order: tuple[str, ...], tunings: Sequence[Tuning] = (Tuning.FULL,)) -> list[FrozenSet]:
    """List the sets that freeze the first k of n blocks, k = 0 to n, and let all others do one of the tunings.

    There are n times the tunings, and 1: where all blocks are frozen there is nothing left to tune.
    """
    some = [_combine(order, order[:k], [tuning] * (len(order) - k)) for k in range(len(order)) for tuning in tunings]
    return [*some, _combine(order, order, ())]


def all_sets(order: tuple[str, ...], tunings: Sequence[Tuning] = (Tuning.FULL,)) -> list[FrozenSet]:
    """List all (1 + t)^n sets of n blocks, each frozen or of one of t tunings: by frozen blocks, in network order."""
    return [
        _combine(order, frozen, chosen)
        for k in range(len(order) + 1)
        for frozen in combinations(order, k)
        for chosen in product(tunings, repeat=len(order) - k)
    ]


def _combine(order: tuple[str, ...], frozen: Sequence[str], tunings: Iterable[Tuning]) -> FrozenSet:
    """Freeze blocks, and let the others do what `tunings` say, one each."""
    rest = iter(tunings)
    does = [(block, Tuning.FROZEN if block in frozen else next(rest)) for block in order]
    return FrozenSet(tuple((block, tuning) for block, tuning in does if tuning != Tuning.FULL))
