"""The text of a configuration file: a regular file, of a bounded size, in UTF-8."""

import os
import stat
from pathlib import Path

from orchestrator.errors import ConfigError

_MAX_BYTES = 2**20
"""Bytes of a configuration; reading more takes seconds."""
_SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """Read a file.

    Raises:
        ConfigError: It is missing, no regular file, too large, or not UTF-8.
    """
    data = _read_bytes(path)
    hint = "save it as UTF-8"
    if data.startswith(_UTF_16) or data[1:4:2] == b"\0\0":
        raise ConfigError(f"{path}: not valid UTF-8 but UTF-16", hint=hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not valid UTF-8 at byte {error.start}", hint=hint) from error
    if (place := text.find("\0")) >= 0:
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        why = "the character U+0000 may not stand in a configuration"
        raise ConfigError(f"{path}:{line}:{column}: {why}", hint="is it the right file? -c/--config names another")
    return text


def _read_bytes(path: Path) -> bytes:
    try:
        # a pipe would be waited for
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if stat.S_ISREG(found.st_mode):
                data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="name the configuration with -c/--config") from error
    except (IsADirectoryError, ValueError) as error:  # `fdopen` refuses a directory; a path may hold no NUL
        raise _no_file(path) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", hint="check the path, its owner and mode (ls -l)"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            f"{path}: is {_SPECIAL.get(stat.S_IFMT(found.st_mode), 'something else')}, not a regular file",
            hint="write it to a file, and name that with -c/--config",
        )
    if len(data) > _MAX_BYTES:
        raise ConfigError(
            f"{path}: has {found.st_size:,} bytes; a configuration has at most {_MAX_BYTES:,}",
            hint="is it the right file? -c/--config names another",
        )
    return data


def _no_file(path: Path) -> ConfigError:
    inside = path / "experiments.yaml"
    if path.is_dir() and inside.exists():
        return ConfigError(f"{path}: is a directory, not a file", hint=f"did you mean {inside}?")
    what = "is a directory, not a file" if path.is_dir() else "is no path"
    return ConfigError(f"{path}: {what}", hint="name the configuration with -c/--config")
