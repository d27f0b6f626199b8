"""What this machine lets this process have: memory and cores, within the limits of its container.

A container's limits are those of its control group, of version 1 or 2 of that interface, and of every group around it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 2**60
"""Bytes from which a limit is none: version 1 writes the largest multiple of a page."""
_FIELDS_BEFORE_TYPE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory that this process can have.

    Attributes:
        total: Bytes in all.
        available: Bytes that can still be had without swapping, files that the system keeps in memory included.
        limited_by: File with the limit of the control group; None where the machine itself is the limit.
    """

    total: int
    available: int
    limited_by: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """CPU cores that this process can use.

    Attributes:
        usable: Whole cores, at least 1.
        quota: Cores' worth of time that the control group has, such as 1.5; None: no limit.
        limited_by: File with that quota.
    """

    usable: int
    quota: float | None = None
    limited_by: Path | None = None


def read_memory(root: Path = Path("/")) -> Memory:
    """Read how much memory there is, in the machine and in the control groups of this process.

    Args:
        root: Where `proc` and the control groups are found.
    """
    import psutil

    machine = psutil.virtual_memory()
    found = Memory(total=machine.total, available=machine.available)
    for folder, version in _find_groups("memory", root):
        limit, file = _read_memory_limit(folder, version)
        if limit is None or file is None:
            continue
        left = max(0, min(found.available, limit - _count_held(folder, version)))
        if limit < found.total:
            found = Memory(total=limit, available=left, limited_by=file)
        else:
            found = Memory(total=found.total, available=left, limited_by=found.limited_by)
    return found


def read_cores(root: Path = Path("/")) -> Cores:
    """Read how many cores this process may use: those it is bound to, and no more than its control groups pay for.

    Args:
        root: Where `proc` and the control groups are found.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    quotas = [
        (quota, file)
        for folder, version in _find_groups("cpu", root)
        for quota, file in [_read_quota(folder, version)]
        if quota is not None
    ]
    quota, file = min(quotas, default=(None, None), key=lambda each: each[0])
    if quota is None or quota >= bound:
        return Cores(usable=bound)
    return Cores(usable=max(1, int(quota)), quota=quota, limited_by=file)


def _find_groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """List the folders of this process's groups, each with its version: from its own group up to the outermost."""
    own = _read_own_groups(root)
    for version, mounted, mount in _read_mounts(controller, root):
        path = own.get(controller if version == 1 else "")
        if path is None:
            continue
        # a container sees its own group as the top, or the names that its groups have outside of it
        below = path.removeprefix(mounted) if mounted != "/" and f"{path}/".startswith(f"{mounted}/") else path
        top = root / mount.lstrip("/")
        folder = top / below.strip("/")
        if not folder.is_dir() or ".." in below.split("/"):
            folder = top
        while True:
            yield folder, version
            if folder == top:
                break
            folder = folder.parent


def _read_own_groups(root: Path) -> dict[str, str]:
    """Read the path of this process's group by controller; that of version 2 has an empty name."""
    groups = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            groups.update(dict.fromkeys(fields[1].split(","), fields[2]))
    return groups


def _read_mounts(controller: str, root: Path) -> Iterator[tuple[int, str, str]]:
    """List where the groups of a controller are mounted: version, path of the group that is mounted, mount point."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < _FIELDS_BEFORE_TYPE or not kind:
            continue
        if kind[0] == "cgroup2":
            yield 2, fields[3], _unescape(fields[4])
        elif kind[0] == "cgroup" and controller in kind[-1].split(","):
            yield 1, fields[3], _unescape(fields[4])


def _read_memory_limit(folder: Path, version: int) -> tuple[int | None, Path | None]:
    if version == 2:
        files = [folder / "memory.max", folder / "memory.high"]
        known = [(limit, file) for file in files if (limit := _to_number(_read(file))) is not None]
    else:
        file = folder / "memory.limit_in_bytes"
        known = [(limit, file) for limit in [_to_number(_read(file))] if limit is not None]
        around = _read_stat(folder).get("hierarchical_memory_limit")  # also of groups that cannot be seen from here
        known += [] if around is None else [(around, folder / "memory.stat")]
    return min((each for each in known if each[0] < _UNLIMITED), default=(None, None), key=lambda each: each[0])


def _count_held(folder: Path, version: int) -> int:
    """Count the bytes that a group holds, without those of files, which are given up where memory is needed."""
    stat = _read_stat(folder)
    before = "" if version == 2 else "total_"
    used = _to_number(_read(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))) or 0
    return max(0, used - stat.get(f"{before}active_file", 0) - stat.get(f"{before}inactive_file", 0))


def _read_quota(folder: Path, version: int) -> tuple[float | None, Path | None]:
    if version == 2:
        file = folder / "cpu.max"
        quota, _, period = _read(file).partition(" ")
    else:
        file = folder / "cpu.cfs_quota_us"
        quota, period = _read(file), _read(folder / "cpu.cfs_period_us")
    time, of = _to_number(quota), _to_number(period)
    return (time / of, file) if time is not None and of and time > 0 else (None, None)


def _read_stat(folder: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(folder / "memory.stat").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _read(path: Path) -> str:
    """Read a small file; empty where it is not there, or is somebody else's."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _to_number(text: str) -> int | None:
    """Read a number; None for `max`, for nothing, and for what is none."""
    try:
        return int(text)
    except ValueError:
        return None


def _unescape(path: str) -> str:
    """Undo what `mountinfo` writes for a space, a tab, a line break and a backslash in a path."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, letter)
    return path


def count_cores() -> int:
    """Count the CPU cores that this process may use, within the limits of its container."""
    return read_cores().usable
