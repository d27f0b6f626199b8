"""The fast half: sweeps whose training takes a second, killed and stopped; one of each kind in the default run."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.auditor import read_mlflow
from tests.faults.cases import one_of
from tests.faults.moments import draw_moment, kill_worker, seconds_of
from tests.faults.sweeps import Place, Whole, Zygote

pytestmark = pytest.mark.slow
QUICK_MOMENTS = 3


INTERRUPT, TERMINATE = (signal.SIGINT, 130), (signal.SIGTERM, 143)
Inject = Callable[[str], None]


@pytest.mark.parametrize("number", one_of(1, 0, 2))
def test_the_parent_of_a_quick_sweep_is_killed(
    number: int, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    command = zygote.start(quick_place)
    command.sleep_until_spent(0.9 * draw_moment("quick parent", number, QUICK_MOMENTS) * quick_whole.spent)
    if not command.kill():
        pytest.skip("it ended before the moment came")
    inject("parent killed")
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []


@pytest.mark.parametrize("number", one_of(1, 0, 2))
def test_a_worker_of_a_quick_sweep_is_killed(
    number: int, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    retries = number % 2
    command = zygote.start(quick_place, "-s", f"execution.retries={retries}")
    assert kill_worker(command, draw_moment("quick worker", number, QUICK_MOMENTS), (0.25,) * 3, seconds_of)
    inject("worker killed")
    assert command.wait() == (0 if retries else 4), command.said
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []


@pytest.mark.parametrize(("number", "code"), one_of(INTERRUPT, TERMINATE))
def test_one_signal_stops_a_quick_sweep(
    number: signal.Signals, code: int, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    command = zygote.start(quick_place)
    assert command.hears("epoch 1/")
    os.killpg(command.pid, number)
    inject(f"{number.name}, once")
    assert command.wait() == code, command.said
    assert "RUNNING" not in {run["status"] for run in read_mlflow(quick_place.root)}
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []


@pytest.mark.parametrize(("number", "code"), one_of(TERMINATE, INTERRUPT))
def test_two_signals_end_a_quick_sweep_at_once(
    number: signal.Signals, code: int, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    command = zygote.start(quick_place)
    assert command.hears("starts,")
    os.killpg(command.pid, number)
    time.sleep(0.05)
    os.killpg(command.pid, number)
    inject(f"{number.name}, twice")
    assert command.wait() == code, command.said
    assert "this goes on with it" in command.said
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []
