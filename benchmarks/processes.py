"""A program as a process of its own: how long it takes, and how much memory it and its children hold."""

import compileall
import os
import subprocess
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Self

import psutil

_SAMPLE_S = 0.5
"""Seconds from one look at the memory to the next: a look takes two milliseconds from the program."""
_HIGHER = 1.02
"""Rise of the resident sets from which shared pages are counted again: that takes a tenth of a second, of a core and of
the programs' own memory locks."""
_MIB = 2**20
_TAIL = 3000
"""Characters of a failed program's output that its error shows."""


class ProgramError(Exception):
    """A program of the benchmark failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program took.

    Attributes:
        seconds: Wall time from its start to its exit, start-up included.
        peak_memory_mb: Highest sum over its processes in MiB, pages that they share counted once (PSS, Linux;
            elsewhere what each has for itself).
        peak_rss_mb: Highest sum of their resident sets in MiB, shared pages counted in each.
    """

    seconds: float
    peak_memory_mb: float
    peak_rss_mb: float


def run_program(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Usage:
    """Run a program in `folder` to its end; its output goes to `program.log` there.

    Raises:
        ProgramError: It ended with another exit code than 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "program.log"
    with log.open("wb") as output:
        began = perf_counter()
        process = psutil.Popen(list(command), cwd=folder, env=dict(env), stdout=output, stderr=subprocess.STDOUT)
        with _MemorySampler(process) as memory:
            try:
                code = process.wait()
            except BaseException:
                _kill(process)
                raise
            seconds = perf_counter() - began
    if code != 0:
        tail = log.read_text(errors="replace")[-_TAIL:]
        raise ProgramError(f"{' '.join(command)}\nended with exit code {code}; its last output:\n{tail}")
    return Usage(seconds=seconds, peak_memory_mb=memory.peak_mb, peak_rss_mb=memory.peak_rss_mb)


def program_environment(folder: Path, repository: Path, threads: int | None) -> dict[str, str]:
    """Build the environment of a program: this repository's code, caches of its own, nothing of the user's stores."""
    left_out = ("MLFLOW_", "ORCHESTRATOR_", "PYTHONDONTWRITEBYTECODE")  # the last: all imports are compiled each time
    env = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    env |= {
        "PYTHONPATH": str(repository),
        "HF_DATASETS_CACHE": str(folder / "datasets-cache"),  # else the second program finds what the first prepared
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return env if threads is None else env | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def compile_libraries() -> None:
    """Compile the installed packages, as most installers do: else the first program that runs pays for it."""
    compileall.compile_dir(sysconfig.get_path("purelib"), quiet=2, workers=0)


class _MemorySampler:
    """Looks at the memory of a process and its descendants while the context lasts."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_mb = 0.0
        self.peak_rss_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        counted = 0.0
        while not self._done.wait(_SAMPLE_S):
            tree = _tree(self._process)
            resident = sum(_resident(process) for process in tree)
            self.peak_rss_mb = max(self.peak_rss_mb, resident / _MIB)
            if resident > _HIGHER * counted:
                counted = resident
                self.peak_mb = max(self.peak_mb, sum(_own(process) for process in tree) / _MIB)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    """Return the resident set in bytes; 0 for a process that is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _own(process: psutil.Process) -> int:
    """Return proportional bytes, elsewhere than on Linux the process's own; 0 for one that is gone."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", info.uss))


def _kill(process: psutil.Process) -> None:
    for each in reversed(_tree(process)):
        try:
            each.kill()
        except psutil.Error:
            continue
