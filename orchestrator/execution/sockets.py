"""Where `multiprocessing` keeps its sockets: a folder whose path is short enough for the system."""

import multiprocessing.util
import os
import sys
import tempfile
from pathlib import Path

from orchestrator.errors import SetupError

_LONGEST = 103 if sys.platform == "darwin" else 107
"""Bytes of a socket's path, without the zero at its end."""
_BELOW = len("/pymp-abcdefgh/listener-abcdefgh")
"""Bytes that `multiprocessing` adds to the folder of temporary files."""
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of one's own is made below


def settle_socket_folder() -> None:
    """Let `multiprocessing` keep its sockets in a shorter folder where that of temporary files is too long for them.

    Everything else that is temporary stays where `TMPDIR` says. The folder is this process's own, and goes with it.

    Raises:
        SetupError: There is no folder for temporary files, or none that is short enough.
    """
    try:
        wanted = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SetupError(
            f"there is no folder for temporary files that can be written: {error}",
            hint="name one with TMPDIR (in a container without one: a volume, or --tmpfs /tmp)",
        ) from error
    if _fits(wanted):
        return
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), *_OTHERS, str(Path.cwd())):
        if folder and _fits(folder) and _make_folder(folder, wanted):
            return
    raise SetupError(
        f"no process can be started: the path of a socket in TMPDIR={wanted} would have "
        f"{len(os.fsencode(wanted)) + _BELOW} bytes, and the system takes {_LONGEST}",
        hint=f"set TMPDIR to a folder whose path has at most {_LONGEST - _BELOW} bytes",
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + _BELOW <= _LONGEST


def _make_folder(folder: str, before: str) -> bool:
    """Make `multiprocessing`'s folder in another one than that of temporary files; False: nothing can be made there."""
    tempfile.tempdir = folder
    try:
        multiprocessing.util.get_temp_dir()
    except OSError:
        return False
    finally:
        tempfile.tempdir = before
    return True
