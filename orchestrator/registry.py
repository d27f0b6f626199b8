"""A kind whose members are known by name: those that ship with this package, and those that installed packages add."""

import functools
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from orchestrator.errors import ConfigError


class Named(Protocol):
    """A member of a registry."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""


MemberT = TypeVar("MemberT", bound=Named)


class Registry(Generic[MemberT]):
    """The members of a kind by name.

    A package adds one by an entry point that has the member's name and leads to the member. It is loaded when it is
    asked for. Those that ship cannot be replaced.

    Args:
        kind: Type of the members.
        shipped: Those that ship with this package.
        group: Group of the entry points.
    """

    def __init__(self, kind: type[MemberT], shipped: Iterable[MemberT], *, group: str) -> None:
        self._kind = kind
        self._group = group
        self._shipped = {member.name: member for member in shipped}
        self._loaded: dict[str, MemberT] = {}

    @property
    def shipped(self) -> tuple[str, ...]:
        """Names of the members that ship with this package."""
        return tuple(self._shipped)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, those of installed packages last."""
        return tuple(dict.fromkeys([*self._shipped, *sorted(find_entry_points(self._group))]))

    def __contains__(self, name: str) -> bool:
        return name in self._shipped or name in find_entry_points(self._group)

    def find(self, name: str) -> MemberT:
        """Return the member called `name`.

        Raises:
            ConfigError: There is none, or the package that adds it cannot be used.
        """
        member = self._shipped.get(name) or self._loaded.get(name)
        if member is not None:
            return member
        entry = find_entry_points(self._group).get(name)
        if entry is None:
            close = get_close_matches(name, self.names, n=1)
            raise ConfigError(
                f"must be one of {', '.join(self.names)}", hint=f"did you mean {close[0]!r}?" if close else None
            )
        return self._loaded.setdefault(name, self._load(entry))

    def _load(self, entry: EntryPoint) -> MemberT:
        where = f"{entry.name!r} of the installed package {entry.dist.name if entry.dist else entry.module}"
        try:
            member = entry.load()
        except Exception as error:  # a foreign module raises whatever it likes
            raise ConfigError(f"{where} cannot be loaded ({entry.value}): {type(error).__name__}: {error}") from error
        if not isinstance(member, self._kind) or member.name != entry.name:
            raise ConfigError(f"{where} leads to no {self._kind.__name__} of that name ({entry.value})")
        return member


@functools.cache
def find_entry_points(group: str) -> dict[str, EntryPoint]:
    """Find the entry points of a group in the installed packages, by name; looked up once a process."""
    return {entry.name: entry for entry in entry_points(group=group)}
