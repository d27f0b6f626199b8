"""What libraries read of the environment when they are imported, put right before they are imported."""

import os
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_BACKEND = "MPLBACKEND"
_FILES_ONLY = "agg"
"""The backend of matplotlib that draws into files; it needs no display, and always ships with the library."""
_MODULE = "module://"
_BACKENDS = frozenset(
    {
        "agg",
        "cairo",
        "pdf",
        "pgf",
        "ps",
        "svg",
        "template",
        "gtk3agg",
        "gtk3cairo",
        "gtk4agg",
        "gtk4cairo",
        "macosx",
        "nbagg",
        "notebook",
        "qtagg",
        "qtcairo",
        "qt5agg",
        "qt5cairo",
        "tkagg",
        "tkcairo",
        "webagg",
        "wx",
        "wxagg",
        "wxcairo",
    }
)
"""Backends that matplotlib brings along, in lower case."""
_SETTINGS = "MPLCONFIGDIR"
_WIDTH = "TERMINAL_WIDTH"
_WARNINGS = "PYTHONWARNINGS"


def repair_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Replace a `MPLBACKEND` with which matplotlib cannot be imported by `agg`; leave one that works as it is.

    Jupyter and Colab set it, for every process that a cell starts, to a module which only their own Python has.
    matplotlib, and with it whatever imports it, then ends in a `ValueError`.
    """
    backend = environment.get(_BACKEND)
    if backend and not _is_backend(backend):
        environment[_BACKEND] = _FILES_ONLY


def claim_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Settle what the process of a command inherits, and passes on to its workers.

    Pictures go to files, whatever a notebook around this process asks for. Where the home cannot be written, matplotlib
    keeps its list of fonts in a temporary folder, which all processes share and which goes with this one. A warning of
    a library that is made an error (`PYTHONWARNINGS=error`, for somebody's own tests) is a warning again. A width that
    is no number is none.
    """
    environment[_BACKEND] = _FILES_ONLY
    if not _can_keep_files(_find_matplotlib_folder(environment)):
        environment[_SETTINGS] = _make_temporary_folder()
    if not environment.get(_WIDTH, "0").isdecimal():
        del environment[_WIDTH]
    if any(_raises(option) for option in sys.warnoptions):
        sys.warnoptions[:] = [option for option in sys.warnoptions if not _raises(option)]
        environment[_WARNINGS] = ",".join(sys.warnoptions)
        warnings.filters[:] = [each for each in warnings.filters if each[0] != "error"]  # type: ignore[index]
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)


def _is_backend(name: str) -> bool:
    from importlib.metadata import entry_points  # not before: few processes need them, and each would pay
    from importlib.util import find_spec

    if not name.startswith(_MODULE):
        return name.lower() in _BACKENDS or name in {each.name for each in entry_points(group="matplotlib.backend")}
    try:
        return find_spec(name.removeprefix(_MODULE)) is not None
    except (ImportError, ValueError):  # a parent package is missing, or this is no name of a module
        return False


def _find_matplotlib_folder(environment: Mapping[str, str]) -> Path:
    """Find where matplotlib keeps what it knows of the machine."""
    home = environment.get("HOME") or "/"
    if given := environment.get(_SETTINGS):
        return Path(given)
    if sys.platform.startswith(("linux", "freebsd")):
        return Path(environment.get("XDG_CONFIG_HOME") or f"{home}/.config", "matplotlib")
    return Path(home, ".matplotlib")


def _can_keep_files(folder: Path) -> bool:
    """True where a folder can be written, or made."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path("/"))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _make_temporary_folder() -> str:
    import atexit  # not before: few processes need them, and each would pay
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="orchestrator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _raises(option: str) -> bool:
    """True for an option of `-W` whose action is `error`, which may be shortened."""
    action = option.partition(":")[0].strip()
    return bool(action) and "error".startswith(action)
