"""Frozen sets: which blocks of a backbone do not train, and the canonical key of each such set."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations, takewhile
from typing import Self

from orchestrator.errors import ConfigError

NONE_KEY = "none"


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """A set of blocks that do not train.

    Attributes:
        blocks: Names of the frozen blocks, in network order, each once.
    """

    blocks: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], *, order: tuple[str, ...]) -> Self:
        """Build the set from names in any order and repetition; `order` is the backbone's.

        Raises:
            ConfigError: A name is not a block of the backbone.
        """
        wanted = set(names)
        unknown = sorted(wanted - set(order))
        if unknown:
            close = get_close_matches(unknown[0], order, n=1)
            raise ConfigError(
                f"unknown block {', '.join(repr(name) for name in unknown)}; valid blocks: {', '.join(order)}",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
        return cls(tuple(block for block in order if block in wanted))

    @classmethod
    def parse(cls, key: str, *, order: tuple[str, ...]) -> Self:
        """Read a key such as `stem+layer1` or `none`; order and repetition are normalised.

        Raises:
            ConfigError: A name in the key is not a block of the backbone.
        """
        names = [name.strip() for name in key.split("+")]
        return cls(()) if names == [NONE_KEY] else cls.of(names, order=order)

    @property
    def key(self) -> str:
        """Canonical name: block names in network order joined by `+`, or `none`."""
        return "+".join(self.blocks) or NONE_KEY

    def prefix_length(self, order: tuple[str, ...]) -> int:
        """Count the frozen blocks before the first that trains; `order` is the backbone's."""
        return len(list(takewhile(self.blocks.__contains__, order)))

    def __contains__(self, block: str) -> bool:
        return block in self.blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __str__(self) -> str:
        return self.key


def prefix_sets(order: tuple[str, ...]) -> list[FrozenSet]:
    """List the sets that freeze the first k blocks, k = 0 to n: n + 1 sets."""
    return [FrozenSet(order[:k]) for k in range(len(order) + 1)]


def all_sets(order: tuple[str, ...]) -> list[FrozenSet]:
    """List all 2^n frozen sets, by size, then in network order."""
    return [FrozenSet(blocks) for k in range(len(order) + 1) for blocks in combinations(order, k)]
