"""Problems are gathered and reported at once, so that nobody repairs them one by one."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import ConfigError


class Problems:
    """What is wrong with a data set, in the order in which it was found."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def messages(self) -> tuple[str, ...]:
        """A sentence each."""
        return tuple(error.message for error in self._found)

    def add(self, message: str, *, hint: str | None = None) -> None:
        """Note a problem."""
        self._found.append(ConfigError(message, hint=hint))

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what the body raises as `ConfigError`, and go on."""
        try:
            yield
        except ConfigError as error:
            self._found.append(error)

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            ConfigError: With all problems, a line each, if there are any.
        """
        if not self._found:
            return
        hints = dict.fromkeys(error.hint for error in self._found if error.hint)
        count = "" if len(self._found) == 1 else f"{len(self._found)} problems\n"
        raise ConfigError(count + "\n".join(self.messages), hint="; ".join(hints) or None)
