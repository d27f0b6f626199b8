"""Who died for want of memory: told by the system's counters, v1 and v2, and by nothing else."""

import signal

import pytest

from orchestrator.execution.child import describe_death
from orchestrator.execution.shortage import count_memory_kills


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_nothing_is_counted_where_the_system_says_nothing(tmp_path):
    assert count_memory_kills(tmp_path) == 0


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("0::/", "sys/fs/cgroup/memory.events"),
        ("0::/a/b", "sys/fs/cgroup/a/b/memory.events"),
        ("7:cpu,memory:/docker/x", "sys/fs/cgroup/memory/docker/x/memory.oom_control"),
    ],
)
def test_kills_of_the_machine_and_of_the_own_group_are_counted(tmp_path, group, file):
    write(tmp_path, "proc/vmstat", "nr_free_pages 7\noom_kill 2\n")
    write(tmp_path, "proc/self/cgroup", f"3:pids:/elsewhere\n{group}\n")
    assert count_memory_kills(tmp_path) == 2
    write(tmp_path, file, "low 0\noom 9\noom_kill 3\n")
    assert count_memory_kills(tmp_path) == 5


@pytest.mark.parametrize(
    ("code", "short", "cause"),
    [
        (-signal.SIGKILL, True, "out_of_memory"),
        (-signal.SIGKILL, False, "died"),
        (-signal.SIGSEGV, True, "died"),
        (1, True, "died"),
    ],
)
def test_only_who_was_killed_while_memory_was_short_died_of_that(tmp_path, code, short, cause):
    assert describe_death(code, tmp_path, memory_was_short=short).cause == cause
