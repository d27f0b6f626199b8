"""Runs that misbehave, each in a way of its own. None of them trains; what they saw stands in the result's texts."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from orchestrator.errors import ConfigError, RunError
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RungResult, RunResult
from orchestrator.records.spec import RunSpec
from tests.factories import make_history, make_result, make_spec

HERE = "tests.execution.targets"
LONG_S = 600


def spec(seed: int = 0) -> RunSpec:
    return make_spec("stem", seed)


def report(run: RunSpec, **seen: object) -> RunResult:
    """A result whose `device` holds what the target saw."""
    return make_result("stem", seed=run.seed, device=json.dumps(seen))


def read(result: RunResult) -> dict:
    return json.loads(result.device)


def free_a_block(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Say how many MiB the process still holds after it freed 256."""
    before = psutil.Process().memory_info().rss
    block = np.ones(256 * 2**20, dtype=np.uint8)
    del block
    return report(run, held_mb=(psutil.Process().memory_info().rss - before) / 2**20)


def write_pid(workplace: Workplace, name: str, pid: int) -> None:
    """Tell a process id, so that a reader sees it whole."""
    path = Path(workplace.directory) / name
    path.with_suffix(".tmp").write_text(str(pid))
    path.with_suffix(".tmp").rename(path)


def count(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    for epoch in make_history((0.1, 0.2, 0.3, 0.4)):
        on_epoch(epoch)
    return report(run, seed=run.seed)


def pause(run: RunSpec, workplace: Workplace, on_epoch) -> RungResult:
    """Pause where it is told to."""
    history = make_history((0.1, 0.2, 0.3, 0.4)[: workplace.until_epoch])
    for epoch in history:
        on_epoch(epoch)
    return RungResult(fingerprint=run.fingerprint, val_correct=(True, False), history=history)


def look(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    time.sleep(0.2)  # long enough for the runs beside it to be beside it
    return report(
        run,
        pid=os.getpid(),
        group=os.getpgid(0),
        threads=workplace.threads,
        gpu=workplace.gpu,
        ignores_ctrl_c=signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        began=time.time() - 0.2,
        ended=time.time(),
        main=sys.modules["__main__"].__name__,
    )


def fail(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    raise ValueError("the fake broke")


def fail_as_we_do(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    raise ConfigError("data.source: no such folder", hint="give another")


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


def fail_unpicklably(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    raise UnpicklableError("this", "that")


def leave(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    sys.exit(3)


def vanish(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    os._exit(7)


def speak_and_die(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    on_epoch(make_history((0.1,))[0])
    sys.stdout.write("last words on stdout\n")
    sys.stderr.write("last words on stderr\n")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_of_an_unnamed_signal(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    os.kill(os.getpid(), signal.SIGRTMIN + 1)
    time.sleep(LONG_S)
    raise AssertionError


def speak(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    sys.stdout.write("said by the run\n")
    subprocess.run([sys.executable, "-c", "print('said by its child')"], check=True)
    return report(run)


def sleep(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Sleep beside a child that does not hear SIGTERM."""
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep({LONG_S})"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    write_pid(workplace, "child", child.pid)
    write_pid(workplace, "worker", os.getpid())
    time.sleep(LONG_S)
    return report(run)


def wait_for_go(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Run until the file `go` is there."""
    write_pid(workplace, "worker", os.getpid())
    deadline = time.monotonic() + 30
    while not (Path(workplace.directory) / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return report(run, pid=os.getpid())


def die_beside_a_fork(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Die while a forked child, such as a loader worker, holds the pipe to the parent open."""
    child = os.fork()
    if child == 0:
        time.sleep(LONG_S)
        os._exit(0)
    write_pid(workplace, "child", child)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def leave_a_thread(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Give a result, and do not end: a thread still runs."""
    threading.Thread(target=time.sleep, args=(LONG_S,), daemon=False).start()
    return report(run)


def leave_a_child(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG_S})"])
    write_pid(workplace, "child", child.pid)
    child.returncode = 0  # else its destructor warns
    return report(run)


def fail_with_a_cause(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    raise RunError("the loss is nan", hint="lower it", cause="diverged")


def go_on_for_ever(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Report an epoch every 50 ms, and tell who is here; a child beside it tells whether it heard SIGTERM."""
    code = (
        f"import pathlib, signal, time; heard = pathlib.Path({workplace.directory!r}, 'child_heard');"
        "signal.signal(15, lambda *_: heard.touch()); print('ready', flush=True);"
        f"[time.sleep(0.05) for _ in range({LONG_S * 20})]"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            write_pid(workplace, "child", child.pid)
            write_pid(workplace, "worker", os.getpid())
            first = make_history((0.1,))[0]
            for epoch in range(LONG_S * 20):
                time.sleep(0.05)
                on_epoch(first.model_copy(update={"epoch": epoch}))
        finally:
            child.kill()
    raise AssertionError


def hang(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Hang in foreign code that never lets Python work, so that neither signals nor threads are heard."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it would end the sleep
    write_pid(workplace, "worker", os.getpid())
    ctypes.PyDLL(None).sleep(LONG_S)
    raise AssertionError


def take_its_time(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Report four epochs, one every 0.6 s, and then hang where the seed is not 0."""
    for epoch in make_history((0.1, 0.2, 0.3, 0.4)):
        time.sleep(0.6)
        on_epoch(epoch)
    sys.stdout.write("said before\n")
    if run.seed:
        sleep(run, workplace, on_epoch)
    return report(run)


def fork_and_look(run: RunSpec, workplace: Workplace, on_epoch) -> RunResult:
    """Fork a child, as a loader does, and end it by SIGTERM."""
    child = os.fork()
    if child == 0:
        time.sleep(LONG_S)
        os._exit(0)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return report(run, signal=os.WTERMSIG(status))


def parent(folder: str, target: str) -> None:
    """Run two workers that do not end; the test kills this process."""
    with ProcessExecutor(f"{HERE}:{target}", workers=2) as executor:
        for seed in range(2):
            executor.submit(spec(seed), Workplace(directory=f"{folder}/{seed}"), print)
        time.sleep(LONG_S)


def ignore(epoch: EpochMetrics) -> None:
    """Hear an epoch."""


if __name__ == "__main__":
    parent(*sys.argv[1:])
