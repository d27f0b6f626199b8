"""Whether the system has killed for want of memory: a worker that it killed says nothing of that itself."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_KEY = "oom_kill"


def count_memory_kills(root: Path = Path("/")) -> int:
    """Count the processes that were killed for want of memory, on this machine and in the groups of this process.

    Only its rise means something: one kill may be counted more than once. 0 where the system does not say.

    Args:
        root: Where `proc` and `sys` lie.
    """
    return sum(_read_count(path) for path in _list_counters(root))


def _list_counters(root: Path) -> Iterator[Path]:
    yield root / "proc/vmstat"
    groups = root / "sys/fs/cgroup"
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield groups / group.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield groups / "memory" / group.lstrip("/") / "memory.oom_control"


def _read_count(path: Path) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == _KEY:
                return int(value)
    return 0
