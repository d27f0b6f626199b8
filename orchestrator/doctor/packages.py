"""Python and the packages that this one asks for, by their metadata: none of them is imported."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from orchestrator.doctor.finding import Finding, fail, ok, warn

_OURS = "freeze-orchestrator"
_SHOWN = ("torch", "torchvision", "pytorch-lightning", "mlflow", "optuna", "datasets")
_LARGE = ("torch", "mlflow", "matplotlib")
"""Packages whose compilation takes seconds."""
_REPAIR = "run `make setup`: it installs the versions of requirements.lock"
MALICIOUS = {"pytorch-lightning": ("2.6.2", "2.6.3"), "lightning": ("2.6.2", "2.6.3")}
"""Releases that steal credentials when they are imported.

Source: https://github.com/Lightning-AI/pytorch-lightning/security/advisories/GHSA-w37p-236h-pfx3
"""


def check_python() -> Finding:
    """Compare Python's version with what the package asks for."""
    here = platform.python_version()
    try:
        wanted = metadata.metadata(_OURS)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        return warn("python", f"{here}; {_OURS} is not installed, so nothing says which versions it needs", _REPAIR)
    if SpecifierSet(wanted).contains(here, prereleases=True):
        return ok("python", f"{here} ({platform.python_implementation()}, {platform.system()} {platform.machine()})")
    return fail("python", f"{here}, and {wanted} is needed", "make the environment again with a newer Python")


def check_packages() -> Iterator[Finding]:
    """Compare the versions of the packages with what is asked for, and refuse malicious releases."""
    for name, versions in MALICIOUS.items():
        if (found := _version(name)) in versions:
            yield fail(
                "packages",
                f"{name} {found} is a malicious release that steals credentials when it is imported",
                "do not run it; make the environment again (`make setup`), and renew every credential of this machine",
            )
    try:
        wanted = [Requirement(line) for line in metadata.requires(_OURS) or ()]
    except metadata.PackageNotFoundError:
        return
    wanted = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    wrong = []
    for each in wanted:
        version = _version(each.name)
        if version is None:
            wrong.append(f"{each.name} is missing")
        elif not each.specifier.contains(version, prereleases=True):
            wrong.append(f"{each.name} is {version}, and {each.specifier} is needed")
    if wrong:
        yield fail("packages", "; ".join(wrong), _REPAIR)
        return
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    yield ok("packages", f"all {len(wanted)} as needed: {shown}")


def check_bytecode() -> Finding:
    """Look whether processes find the large packages compiled, or will after the first one."""
    sources = {name: spec.origin for name in _LARGE if (spec := find_spec(name)) is not None and spec.origin}
    missing = [name for name, source in sources.items() if not Path(cache_from_source(source)).exists()]
    if not missing:
        return ok("bytecode", "packages are compiled")
    folder = Path(sources[missing[0]]).parents[1]
    if not sys.dont_write_bytecode and os.access(folder, os.W_OK):
        return ok("bytecode", "the first sweep compiles the packages; later ones start sooner")
    cause = "PYTHONDONTWRITEBYTECODE is set" if sys.dont_write_bytecode else f"{folder} cannot be written"
    return warn(
        "bytecode",
        f"each process compiles {', '.join(missing)} again, since {cause}: a sweep starts many seconds later",
        f"once, as a user who may write there: {sys.executable} -m compileall -q {folder}",
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
