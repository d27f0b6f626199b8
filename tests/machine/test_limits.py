"""Limits of control groups, read from trees as Docker, systemd and Kubernetes leave them in both versions."""

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.machine.limits import Cores, Memory, read_cores, read_memory

GIB = 2**30
MACHINE = Memory(total=64 * GIB, available=40 * GIB)
V1 = "36 31 0:33 {mounted} /sys/fs/cgroup/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}\n"
V2 = "30 24 0:26 {mounted} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
NO_LIMIT = "9223372036854771712\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GIB, available=40 * GIB))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)


def grow(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v1(root: Path, group: str, files: dict[str, str], mounted: str = "/") -> Path:
    mounts = "".join(V1.format(mounted=mounted, name=name) for name in ("cpu", "memory"))
    proc = {"proc/self/cgroup": f"4:memory:{group}\n1:cpu,cpuacct:{group}\n0::/\n", "proc/self/mountinfo": mounts}
    return grow(root, proc | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def v2(root: Path, group: str, files: dict[str, str], mounted: str = "/") -> Path:
    proc = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": V2.format(mounted=mounted)}
    return grow(root, proc | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def stat(**fields: int) -> str:
    return "".join(f"{key} {value}\n" for key, value in fields.items())


# Memory


def test_without_groups_the_machine_is_the_limit(tmp_path):
    assert read_memory(tmp_path) == MACHINE
    assert read_memory(grow(tmp_path, {"proc/self/mountinfo": "garbage\n\n", "proc/self/cgroup": "x\n"})) == MACHINE


def test_a_container_of_version_2_sees_its_own_group_as_the_top(tmp_path):
    used = {"memory.current": f"{3 * GIB}\n", "memory.stat": stat(active_file=GIB, inactive_file=GIB // 2, anon=7)}
    root = v2(tmp_path, "/", {"memory.max": f"{8 * GIB}\n", "memory.high": "max\n", **used})
    # 8 GiB less 3 GiB that are held, of which 1.5 GiB are files that are given up
    expected = Memory(total=8 * GIB, available=int(6.5 * GIB), limited_by=root / "sys/fs/cgroup/memory.max")
    assert read_memory(root) == expected


def test_max_is_no_limit_and_missing_files_are_none(tmp_path):
    assert read_memory(v2(tmp_path / "max", "/", {"memory.max": "max\n", "memory.current": "5\n"})) == MACHINE
    assert read_memory(v2(tmp_path / "none", "/user.slice/session-1.scope", {"cgroup.procs": ""})) == MACHINE
    assert read_memory(v1(tmp_path / "v1", "/", {"memory/memory.limit_in_bytes": NO_LIMIT})) == MACHINE


def test_the_group_around_may_be_the_narrower_one(tmp_path):
    root = v2(
        tmp_path,
        "/kubepods/pod7/box",
        {
            "kubepods/memory.max": f"{32 * GIB}\n",
            "kubepods/pod7/memory.max": f"{4 * GIB}\n",
            "kubepods/pod7/memory.current": f"{3 * GIB}\n",
            "kubepods/pod7/box/memory.max": f"{6 * GIB}\n",
            "kubepods/pod7/box/memory.current": f"{GIB}\n",
        },
    )
    # what its neighbours in the pod hold is not to be had either
    limit = root / "sys/fs/cgroup/kubepods/pod7/memory.max"
    assert read_memory(root) == Memory(total=4 * GIB, available=GIB, limited_by=limit)


def test_a_high_mark_below_the_limit_slows_down_before_it(tmp_path):
    root = v2(tmp_path, "/", {"memory.max": f"{8 * GIB}\n", "memory.high": f"{2 * GIB}\n"})
    assert read_memory(root) == Memory(total=2 * GIB, available=2 * GIB, limited_by=root / "sys/fs/cgroup/memory.high")


def test_a_container_of_version_1_has_the_names_of_the_outside_in_proc(tmp_path):
    files = {
        "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/memory.usage_in_bytes": f"{GIB}\n",
        "memory/memory.stat": stat(active_file=1, total_active_file=GIB // 4, total_inactive_file=GIB // 4),
    }
    root = v1(tmp_path, "/docker/abc", files, mounted="/docker/abc")
    limit = root / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert read_memory(root) == Memory(total=2 * GIB, available=int(1.5 * GIB), limited_by=limit)


def test_version_1_tells_the_limit_of_groups_that_cannot_be_seen(tmp_path):
    files = {
        "memory/memory.limit_in_bytes": NO_LIMIT,
        "memory/memory.stat": stat(hierarchical_memory_limit=3 * GIB, total_inactive_file=0),
        "memory/memory.usage_in_bytes": f"{GIB}\n",
    }
    root = v1(tmp_path, "/docker/abc/x", files, mounted="/docker/abc")
    assert read_memory(root).total == 3 * GIB
    assert read_memory(root).available == 2 * GIB


def test_a_group_within_another_of_version_1(tmp_path):
    files = {
        "memory/a/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/a/b/memory.limit_in_bytes": f"{GIB}\n",
        "memory/a/b/memory.usage_in_bytes": f"{2 * GIB}\n",
    }
    found = read_memory(v1(tmp_path, "/a/b", files))
    assert (found.total, found.available) == (GIB, 0)  # nothing is left, and no less


def test_a_limit_above_the_machine_is_none_but_what_the_group_holds_counts(tmp_path):
    files = {"memory.max": f"{100 * GIB}\n", "memory.current": f"{90 * GIB}\n"}
    assert read_memory(v2(tmp_path, "/", files)) == Memory(total=64 * GIB, available=10 * GIB)


def test_a_path_that_leads_out_of_what_is_mounted_is_its_top(tmp_path):
    root = v2(tmp_path, "/../other", {"memory.max": f"{5 * GIB}\n"})
    assert read_memory(root).total == 5 * GIB


# Cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("250000 100000", 2.5), ("50000 100000", 0.5), ("1600000 100000", None), ("", None)],
)
def test_the_quota_of_version_2(tmp_path, text, expected):
    root = v2(tmp_path, "/", {"cpu.max": f"{text}\n"})
    if expected is None:
        assert read_cores(root) == Cores(usable=16)
    else:
        limit = root / "sys/fs/cgroup/cpu.max"
        assert read_cores(root) == Cores(usable=max(1, int(expected)), quota=expected, limited_by=limit)


def test_the_quota_of_version_1_and_of_the_groups_around(tmp_path):
    files = {
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/a/cpu.cfs_quota_us": "300000\n",
        "cpu/a/cpu.cfs_period_us": "100000\n",
        "cpu/a/b/cpu.cfs_quota_us": "800000\n",
        "cpu/a/b/cpu.cfs_period_us": "100000\n",
    }
    root = v1(tmp_path, "/a/b", files)
    assert read_cores(root) == Cores(usable=3, quota=3.0, limited_by=root / "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us")


def test_without_quota_it_is_the_cores_that_the_process_is_bound_to(tmp_path, monkeypatch):
    assert read_cores(tmp_path) == Cores(usable=16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    assert read_cores(v2(tmp_path, "/", {"cpu.max": "400000 100000\n"})) == Cores(usable=1)
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert read_cores(tmp_path / "mac") == Cores(usable=8)
