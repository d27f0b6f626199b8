"""What was downloaded before, and whether more may be."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants

from orchestrator.doctor.finding import Finding, ok, warn

_GIB = 2**30
_PATIENCE_S = 2.0
"""Seconds that counting the bytes of one cache may take."""
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_TRUE = {"1", "ON", "YES", "TRUE"}


def check_caches() -> Iterator[Finding]:
    """Return where downloads lie, and how large they are."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    data = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()
    torch = Path(os.environ.get("TORCH_HOME") or home / "torch").expanduser()
    yield _check_cache("hub cache", Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE")
    yield _check_cache("data cache", data, "HF_DATASETS_CACHE")
    yield _check_cache("weights cache", torch / "hub", "TORCH_HOME")


def check_offline() -> Finding:
    """Return whether downloads are forbidden."""
    given = [f"{name}={os.environ[name]}" for name in _OFFLINE if os.environ.get(name, "").upper() in _TRUE]
    if not given:
        return ok("downloads", "allowed: no offline flag is set")
    return warn(
        "downloads",
        f"forbidden by {', '.join(given)}: only data sets that are in the cache are found",
        f"unset {' '.join(each.split('=')[0] for each in given)} to download",
    )


def _check_cache(check: str, folder: Path, variable: str) -> Finding:
    if not folder.is_dir():
        there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return ok(check, f"{folder}: nothing yet")
        hint = f"name another folder with {variable}, if you download"
        return warn(check, f"{folder} is not there and cannot be made: {there} cannot be written", hint)
    size, whole = _measure(folder)
    text = f"{folder}: {'' if whole else 'more than '}{size / _GIB:.2f} GiB"
    if not os.access(folder, os.W_OK | os.X_OK):
        return warn(check, f"{text}, and it cannot be written", f"name another folder with {variable}, if you download")
    return ok(check, text)


def _measure(folder: Path) -> tuple[int, bool]:
    """Sum up the bytes of a folder; and whether the time was enough for all of them."""
    deadline = time.monotonic() + _PATIENCE_S
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).lstat().st_size
            except FileNotFoundError:  # somebody else clears up
                continue
        if time.monotonic() > deadline:
            return total, False
    return total, True
