"""Moments that are drawn, and the death of a worker at one of them."""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from tests.faults.sweeps import Command

SEED = int(os.environ.get("FAULT_SEED", "20260301"))


def draw_moment(kind: str, number: int, of: int) -> float:
    """Draw a moment, as a share of the whole, from the `number`th of `of` equal parts; print it."""
    share = (number + random.Random(f"{SEED} {kind} {number}").random()) / of
    print(f"seed {SEED}: {kind} {number} at {share:.3f} of the whole")  # noqa: T201 - shown where it fails
    return share


def kill_worker(command: Command, share: float, lives: Sequence[float], age: Callable[[psutil.Process], float]) -> bool:
    """Kill a worker once the workers have lived this share of what they live together."""
    offset = share * sum(lives)
    for life in lives:
        if not command.wait_until(lambda: command.worker() is not None):
            return False
        worker = command.worker()
        if worker is None or offset >= life:
            command.wait_until(lambda: worker is None or not lives_on(worker))  # noqa: B023 - called at once
            offset -= life
            continue
        while lives_on(worker) and age(worker) < offset:
            time.sleep(0.02)
        if lives_on(worker):
            worker.kill()
            return True
        offset = 0.0  # it was quicker than usual: the next one dies at birth
    return False


def seconds_of(worker: psutil.Process) -> float:
    with suppress(psutil.Error):
        return time.time() - worker.create_time()
    return 0.0


def lives_on(worker: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    return False
