"""A place for a sweep, and its command as a process that can be watched, told and killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from tests.faults.auditor import Audit, Findings, Run, processes_of
from tests.racing import PARAMS

HERE = Path(__file__).parents[2]
ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")
DEATH_S = 60.0
"""Seconds that children may outlive their parent: a fork server that imports torch looks up only afterwards."""
LONG_S = 600.0
_LOOK_S = 0.04
"""Seconds between two looks, each of which costs milliseconds."""
CONFIG = """\
experiments:
  small:
    data:
      source: synthetic
      image_size: 32
      batch_size: 8
      loader_workers: 0
      synthetic: {train: 24, validation: 12, test: 9}
    model: {weights: none, num_classes: 3}
    trainer: {accelerator: cpu, max_epochs: 3, lr: 1.0e-3}
    search: {mode: list, frozen: [layer4, stem+layer1+layer2+layer3+layer4]}
    execution: {workers: 1, checkpoint_share: 1}
  quick:
    extends: small
    search: {mode: list, frozen: [none, stem, stem+layer1]}
  race:
    extends: small
    trainer: {max_epochs: 9}
    search:
      mode: list
      frozen: [RACED]
      strategy: race
      race: {rungs: [3, 6], max_seeds: 3}
      budget: {epochs: 1000}
    execution: {workers: 2}
""".replace("RACED", ", ".join(PARAMS))
QUICK = {"quick": "tests.faults.resuming:train", "race": "tests.racing:train"}
"""Experiments whose training takes a second or less, and that training."""
PLANNED: dict[str, tuple[Run, ...]] = {
    "small": (("layer4", 0), ("stem+layer1+layer2+layer3+layer4", 0)),
    "quick": (("none", 0), ("stem", 0), ("stem+layer1", 0)),
}


class Command:
    """A command that runs."""

    def __init__(self, pid: int, folder: Path, wait: Callable[[float], int]) -> None:
        self.pid = pid
        self.began = time.monotonic()
        self._folder = folder
        self._wait = wait
        self.code: int | None = None

    @property
    def said(self) -> str:
        """What it has written to stderr."""
        return (self._folder / "err").read_text(errors="replace")

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        with suppress(psutil.Error):
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        return False

    def wait(self, timeout_s: float = LONG_S) -> int:
        """Wait for its end; the exit code."""
        if self.code is None:
            self.code = self._wait(timeout_s)
        return self.code

    def wait_until(self, good: Callable[[], Any], timeout_s: float = LONG_S) -> bool:
        """Wait until something holds; False where the command ends before."""
        deadline = time.monotonic() + timeout_s
        while not good():
            if not self.lives:
                return bool(good())
            assert time.monotonic() < deadline, f"waited too long; it said:\n{self.said}"
            time.sleep(_LOOK_S)
        return True

    def hears(self, text: str, times: int = 1) -> bool:
        """Wait until it has said something so often; False where it ends before."""
        return self.wait_until(lambda: self.said.count(text) >= times)

    @property
    def spent(self) -> float:
        """CPU seconds that it and its children have used: a clock that another load on the machine does not move."""
        total = 0.0
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.Error):
                    total += sum(each.cpu_times()[:4])
        return total

    def sleep_until_spent(self, seconds: float) -> None:
        """Sleep until it has used so many CPU seconds, or has ended."""
        while self.lives and self.spent < seconds:
            time.sleep(_LOOK_S)

    def observe(self) -> tuple[float, tuple[float, ...]]:
        """Watch it to its end; the CPU seconds of all, and of each worker."""
        spent, workers = 0.0, dict[int, float]()
        while self.lives:
            spent = max(spent, self.spent)
            worker = self.worker()
            if worker is not None:
                workers[worker.pid] = max(workers.get(worker.pid, 0.0), age_of(worker))
            time.sleep(_LOOK_S)
        return spent, tuple(workers.values())

    def kill(self) -> bool:
        """Kill it with -9; False where it had ended before."""
        alive = self.lives
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL and alive

    def worker(self) -> psutil.Process | None:
        """Find a process that trains: a child of the fork server."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.pid).children():
                for grandchild in child.children():
                    if grandchild.status() != psutil.STATUS_ZOMBIE:
                        return grandchild
        return None


def age_of(worker: psutil.Process) -> float:
    """Give the CPU seconds of a worker."""
    with suppress(psutil.Error):
        return float(sum(worker.cpu_times()[:2]))
    return 0.0


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A sweep without faults: what it found, and the CPU seconds of all and of each worker."""

    found: Findings
    spent: float
    workers: tuple[float, ...]


class Place:
    """A root with a configuration, and the commands that run there."""

    def __init__(self, folder: Path, store: Path | None, *, name: str = "small", root: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self.root = root or folder / "root"
        self.token = uuid4().hex
        self.config = folder / "experiments.yaml"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(parents=True, exist_ok=True)
        self.config.write_text(CONFIG)
        self._calls = 0
        if store is not None:
            shutil.copyfile(store, self.root / "mlflow.db")

    def words(self, *more: str, command: str = "sweep") -> list[str]:
        """Give the words of a command here."""
        place = ["--root", str(self.root)]
        return [command, self.name, *(["-c", str(self.config)] if command == "sweep" else []), *place, *more]

    def environment(self, faults: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of a command: no knob of the one who tests gets in."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FAULT_", "ORCHESTRATOR_"))}
        once = str(self.folder / "once")
        return {**kept, "PYTHONPATH": str(HERE), "FAULT_TOKEN": self.token, "FAULT_ONCE": once, **faults}

    def start(
        self, *more: str, command: str = "sweep", limit: Callable[[], None] | None = None, **faults: str
    ) -> Command:
        """Start a command; with faults it goes through the launcher."""
        program = [sys.executable, "-m", "tests.faults.launcher"] if faults else [str(ORCHESTRATOR)]
        folder = self.next_call()
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            process = subprocess.Popen(
                [*program, *self.words(*more, command=command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=self.environment(faults),
                start_new_session=True,
                preexec_fn=limit,
            )
        return Command(process.pid, folder, lambda timeout_s: process.wait(timeout_s))

    def next_call(self) -> Path:
        """Make the folder of the next command's output."""
        self._calls += 1
        folder = self.folder / f"call-{self._calls}"
        folder.mkdir()
        return folder

    def finish(self, *more: str, **faults: str) -> Command:
        """Run the sweep to its end, which must be a good one."""
        command = self.start(*more, **faults)
        assert command.wait() == 0, command.said
        assert "Traceback" not in command.said
        return command

    def status(self) -> dict[str, Any]:
        """Ask how far the sweep is, as another shell would."""
        command = self.start("-f", "json", command="status")
        assert command.wait() == 0, command.said
        told: dict[str, Any] = json.loads((self.folder / f"call-{self._calls}" / "out").read_text())
        return told

    def wait_for_deaths(self) -> list[str]:
        """Wait until no process of the sweep is left; those that stay."""
        deadline = time.monotonic() + DEATH_S
        while (left := list(processes_of(self.root, self.token))) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [str(process) for process in left]

    def audit(self, reference: Findings | None = None, *, late: bool = False) -> list[str]:
        """Look whether the sweep is complete and everything agrees."""
        return Audit(
            root=self.root,
            name=self.name,
            planned=PLANNED[self.name],
            reference=reference,
            token=self.token,
            late=late,
        ).run()


class Zygote:
    """Forks commands from a process that has loaded all libraries."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "zygote").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=HERE,
        )
        assert self._read() == "ready"

    def start(self, place: Place, *more: str, **faults: str) -> Command:
        """Start a sweep there; a quick one has the training that takes a second."""
        folder = place.next_call()
        (folder / "err").touch()
        if place.name in QUICK:
            faults = {"FAULT_FUNCTION": QUICK[place.name], "FAULT_QUICK": "1", **faults}
        pid = int(
            self._ask(
                words=place.words(*more),
                env=place.environment(faults),
                folder=str(place.folder),
                out=str(folder / "out"),
                err=str(folder / "err"),
            )
        )
        return Command(pid, folder, lambda _: int(self._ask(wait=pid)))

    def finish(self, place: Place, *more: str, **faults: str) -> Command:
        """Run a sweep there to its end, which must be a good one."""
        command = self.start(place, *more, **faults)
        assert command.wait() == 0, command.said
        assert "Traceback" not in command.said
        return command

    def lose_parent(self, place: Place, point: str) -> None:
        """Run a sweep there until its parent dies at a point."""
        command = self.start(place, FAULT_POINT=point)
        assert command.wait() == -signal.SIGKILL, f"the point was never reached: {command.said}"

    def lose_worker(self, place: Place, point: str) -> Command:
        """Run a sweep there to its good end, while a worker dies at a point."""
        command = self.start(place, FAULT_WORKER_POINT=point)
        assert command.wait() == 0, command.said
        assert (place.folder / "once").exists(), "the point was never reached"
        return command

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()

    def _ask(self, **request: Any) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
