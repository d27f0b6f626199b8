"""Which GPU a run gets, and when."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.seats import Seats


def test_each_run_gets_the_gpu_with_the_fewest():
    seats = Seats(2)
    assert [seats.take(run) for run in "abcd"] == [0, 1, 0, 1]
    seats.leave(1)
    seats.leave(1)
    assert [seats.take(run) for run in "ef"] == [1, 1]  # else both would go beside a and c


def test_a_run_can_ask_for_its_gpu():
    seats = Seats(3)
    assert [seats.take(run, only=2) for run in "ab"] == [2, 2]


def test_a_run_that_must_be_alone_keeps_a_gpu_until_it_is_empty():
    seats = Seats(2)
    assert [seats.take(run) for run in "abc"] == [0, 1, 0]
    alone = object()
    assert seats.take(alone, alone=True) is None  # 1 has one run, 0 has two
    assert seats.take("d") == 0
    seats.leave(1)
    assert seats.take("e") == 0  # 1 is kept
    assert seats.take(alone, alone=True) == 1
    assert seats.take("f") == 0
    seats.leave(1)
    assert seats.take("g") == 1


def test_without_a_gpu_the_machine_is_one_place():
    seats = Seats(0)
    assert seats.take("a") == 0
    assert seats.take("b", alone=True) is None
    assert seats.take("c") is None
    seats.leave(0)
    assert seats.take("b", alone=True) == 0
    assert seats.take("c") is None
    seats.leave(0)
    assert seats.take("c") == 0


@given(st.integers(0, 3), st.lists(st.booleans(), min_size=1, max_size=12), st.randoms())
def test_every_run_gets_its_turn_and_nobody_sits_beside_one_that_is_alone(gpus, runs, random):
    seats, waiting, sitting = Seats(gpus), list(enumerate(runs)), {}
    while waiting or sitting:
        for run, alone in list(waiting):
            place = seats.take(run, alone=alone)
            if place is not None:
                beside = [other for other, where in sitting.items() if where == place]
                assert not beside or not (alone or any(runs[other] for other in beside))
                sitting[run] = place
                waiting.remove((run, alone))
        assert sitting, "all wait for each other"
        seats.leave(sitting.pop(random.choice(sorted(sitting))))
