"""Print the part of requirements.lock that the package needs to run here: `make test-minimal`."""

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "requirements.lock"


def find_needed(project: str) -> set[str]:
    """Return the names of the installed packages that `project` needs, and those that these need, on this platform."""
    needed: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(project, frozenset())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        for requirement in map(Requirement, requires(name) or ()):
            if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                continue
            needed.add(canonicalize_name(requirement.name))
            further = (requirement.name, frozenset(requirement.extras))
            if further not in seen:
                seen.add(further)
                waiting.append(further)
    return needed


def select_entries(lock: str, names: set[str]) -> str:
    """Return the entries of a lock file, with their hashes, that are called by one of `names`."""
    entries = re.split(r"\n(?=\S)", lock.strip())
    return "\n".join(entry for entry in entries if entry.partition("==")[0] in names) + "\n"


if __name__ == "__main__":
    print(select_entries(LOCK.read_text(), find_needed("freeze-orchestrator")), end="")
