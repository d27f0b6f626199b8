"""Signals, a second sweep, damage, a wrong clock: what stops a sweep stops it in order, and loses nothing."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.auditor import read_mlflow
from tests.faults.sweeps import Command, Place, Whole, Zygote

pytestmark = pytest.mark.faults
Inject = Callable[[str], None]
DAY_S = 86_400


def kept_checkpoints(place: Place) -> list[Path]:
    return sorted(path for path in place.root.glob("checkpoints/*/last-*.ckpt"))


def resuming_line(command: Command) -> str:
    """Find the command that a stopped sweep prints."""
    _, _, rest = command.said.partition("this goes on with it:\n")
    return rest.splitlines()[0].strip()


@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143), (signal.SIGHUP, True, 129)],
)
def test_one_signal_stops_it_at_the_end_of_the_epoch(
    number: signal.Signals, to_all: bool, code: int, place: Place, whole: Whole, inject: Inject
):
    """Ctrl-C and the end of a terminal reach the whole group, `kill` the parent alone."""
    command = place.start()
    assert command.hears("epoch 1/3")
    asked = time.monotonic()
    (os.killpg if to_all else os.kill)(command.pid, number)
    inject(f"{number.name}, once")
    assert command.wait() == code, command.said
    print(f"{number.name}: ended after {time.monotonic() - asked:.1f} s")  # noqa: T201 - shown where it fails
    assert "Traceback" not in command.said
    assert resuming_line(command) == f"orchestrator {' '.join(place.words())}"
    (kept,) = kept_checkpoints(place)
    assert "RUNNING" not in {run["status"] for run in read_mlflow(place.root)}
    assert place.wait_for_deaths() == []
    again = place.finish()
    assert f"continues after epoch {int(kept.stem[-3:]) + 1}" in again.said
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_signals_end_it_at_once(
    number: signal.Signals, code: int, pause_s: float, place: Place, whole: Whole, inject: Inject
):
    command = place.start()
    assert command.hears("starts,")
    os.killpg(command.pid, number)
    time.sleep(pause_s)
    os.killpg(command.pid, number)
    inject(f"{number.name}, twice")
    asked = time.monotonic()
    assert command.wait() == code, command.said
    # without a pause the system may make one signal of the two: then the run has its ten seconds
    assert time.monotonic() - asked < (10 if pause_s else 20)
    assert "Traceback" not in command.said
    assert place.wait_for_deaths() == []
    place.finish()
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2])
def test_a_signal_before_anything_runs(share: float, place: Place, zygote: Zygote, whole: Whole, inject: Inject):
    command = zygote.start(place)
    command.sleep_until_spent(share * whole.spent)
    os.killpg(command.pid, signal.SIGINT)
    inject("SIGINT while it starts")
    assert command.wait() == 130, command.said
    place.finish()
    assert place.audit(whole.found) == []


def test_two_sweeps_at_once(place: Place, whole: Whole, inject: Inject):
    first = place.start()
    assert first.hears("starts,")
    second = place.start()
    inject("a second sweep at once")
    told = place.status()
    assert (told["alive"], told["pid"]) == (True, first.pid)
    assert second.wait() == 5
    assert f"is being swept already, by process {first.pid} on " in second.said
    assert "Traceback" not in second.said
    assert first.wait() == 0, first.said
    assert place.status()["alive"] is False
    assert place.audit(whole.found) == []


def test_two_sweeps_in_the_same_moment(place: Place, whole: Whole, inject: Inject):
    both = [place.start(), place.start()]
    inject("two sweeps in the same moment")
    assert sorted(command.wait() for command in both) == [0, 5], [command.said for command in both]
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("damage", ["a bit", "its end", "its digest", "all digests"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_over(
    damage: str, place: Place, whole: Whole, inject: Inject
):
    command = place.start()
    assert command.hears("epoch 2/3")
    assert command.kill()
    assert place.wait_for_deaths() == []
    (path,) = kept_checkpoints(place)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "its end":
        path.write_bytes(content[: len(content) // 2])
    else:
        for digest in path.parent.glob("*.sha256") if damage == "all digests" else [Path(f"{path}.sha256")]:
            digest.unlink()
    inject("damaged checkpoint")
    again = place.finish()
    assert "are damaged; set aside: " in again.said
    assert "continues after" not in again.said
    assert place.audit(whole.found) == []


def test_a_best_checkpoint_that_is_damaged_costs_a_start_over(place: Place, whole: Whole, inject: Inject):
    command = place.start()
    assert command.hears("epoch 2/3")
    assert command.kill()
    assert place.wait_for_deaths() == []
    for path in place.root.glob("checkpoints/*/best-*.ckpt"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        inject("damaged checkpoint")
    place.finish()
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("damage", ["result.json", "best.ckpt", "record.json"])
def test_a_finished_run_that_is_damaged_is_trained_again(damage: str, place: Place, whole: Whole, inject: Inject):
    """Between the end of the first run and that of the sweep; a sweep that is complete is not looked through again."""
    command = place.start()
    assert command.hears("1 of 2 trials done")
    assert command.kill()
    assert place.wait_for_deaths() == []
    path = next(place.root.glob(f"checkpoints/*/{damage}"))
    path.write_bytes(path.read_bytes()[:-20])
    inject("damaged record of a finished run")
    # the trial is complete: nobody asks for the folder again, and nobody may be misled by it
    assert place.start().wait() == 0


@pytest.mark.parametrize("when", ["epoch 1/3", "1 of 2 trials done"])
def test_the_clock_steps_back(when: str, place: Place, zygote: Zygote, whole: Whole, inject: Inject):
    clock = place.folder / "clock"
    command = zygote.start(place, FAULT_CLOCK=str(clock))
    assert command.hears(when)
    clock.write_text(str(-DAY_S))
    inject("clock stepped back")
    assert command.wait() == 0, command.said
    assert place.audit(whole.found) == []


def test_a_sweep_goes_on_with_a_clock_that_is_a_day_behind(place: Place, zygote: Zygote, whole: Whole, inject: Inject):
    clock = place.folder / "clock"
    first = zygote.start(place)
    assert first.hears("epoch 2/3")
    assert first.kill()
    clock.write_text(str(-DAY_S))
    second = zygote.start(place, FAULT_CLOCK=str(clock))
    assert second.hears("epoch 3/3")
    assert second.kill()
    clock.write_text(str(-2 * DAY_S))
    inject("clock stepped back between two calls")
    zygote.finish(place, FAULT_CLOCK=str(clock))
    assert place.audit(whole.found) == []
