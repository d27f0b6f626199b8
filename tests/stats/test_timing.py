"""How much longer a trial takes is stated no more than its spread supports. Numbers are worked out by hand."""

import math

import pytest

from orchestrator.stats.timing import Timing, estimate_time
from orchestrator.sweep.jobs import Job, JobsUnderWay, TrialRuns
from tests.factories import make_run_start

# two-sided 95 % quantiles of Student's t, from a printed table: 1 and 2 degrees of freedom
T1, T2 = 12.706, 4.303


def timings(*seconds: float, at_once: float = 2.0, machine: str = "cpu") -> dict[int, Timing]:
    return {seed: Timing(seconds=each, at_once=at_once, machine=machine) for seed, each in enumerate(seconds)}


def test_seeds_of_one_pair_by_hand():
    # differences -4, -2, -9: mean -5, squares 1 + 9 + 16 = 26, variance 13, error sqrt(13 / 3) = 2.0817
    found = estimate_time([(timings(26, 30, 21), timings(30, 32, 30))])
    assert (found.mean, found.n_pairs) == (-5, 1)
    assert (found.low, found.high) == pytest.approx(
        (-5 - T2 * math.sqrt(13 / 3), -5 + T2 * math.sqrt(13 / 3)), abs=1e-2
    )
    assert not found.is_told_from_zero  # -13.96 to 3.96


def test_pairs_count_once_each_with_the_mean_of_their_seeds():
    # pairs: (-4 - 6) / 2 = -5 and (-7 - 9) / 2 = -8; mean -6.5, deviations 1.5: variance 4.5, error sqrt(4.5 / 2) = 1.5
    found = estimate_time([(timings(26, 24), timings(30, 30)), (timings(13, 11), timings(20, 20))])
    assert (found.mean, found.n_pairs) == (-6.5, 2)
    assert (found.low, found.high) == pytest.approx((-6.5 - T1 * 1.5, -6.5 + T1 * 1.5), abs=1e-2)


def test_noise_is_not_told_from_zero_and_a_steady_difference_is():
    noise = estimate_time([(timings(10, 90, 40), timings(60, 30, 77))])
    assert not noise.is_told_from_zero
    steady = estimate_time([(timings(20, 21, 20), timings(30, 30.5, 31))])
    assert steady.is_told_from_zero
    assert steady.high < 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (timings(10), timings(37)),  # one seed: no spread
        ({}, timings(37, 38)),
        (timings(10, 11), timings(37)),
        (timings(10, 11, at_once=1.0), timings(37, 38, at_once=2.0)),  # the one had the machine for itself
        (timings(10, 11, machine="cuda"), timings(37, 38)),
    ],
)
def test_without_a_spread_of_runs_that_compare_nothing_is_stated(one, other):
    assert estimate_time([(one, other)]) is None


def test_a_tenth_of_a_run_more_beside_it_is_alike():
    assert Timing(seconds=1, at_once=1.8).is_like(Timing(seconds=1, at_once=2.0))
    assert not Timing(seconds=1, at_once=1.79).is_like(Timing(seconds=1, at_once=2.0))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_job(**start) -> Job:
    return Job(trial=TrialRuns(proposal=None), start=make_run_start(**start), attempts=1)


def test_each_job_knows_how_many_were_under_way_beside_it():
    clock = Clock()
    active = JobsUnderWay(clock)
    first, second, third = make_job(), make_job(), make_job()
    active.add(first)
    clock.now += 1  # first alone
    active.add(second)
    clock.now += 2  # both
    active.discard(first)
    clock.now += 4  # second alone
    active.add(third)
    clock.now += 1
    active.discard(second)
    active.discard(second)
    assert first.record("complete").at_once == pytest.approx((1 * 1 + 2 * 2) / 3)
    assert second.record("complete").at_once == pytest.approx((2 * 2 + 1 * 4 + 2 * 1) / 7)
    assert (len(active), third in active, second in active, [*active]) == (1, True, False, [third])


def test_what_was_not_trained_in_one_piece_compares_with_nothing():
    clock = Clock()
    again = make_job()
    again.attempts = 2
    for job, pieces in ((make_job(), 2), (make_job(resumes_from=1), 1), (again, 1), (make_job(), 0)):
        active = JobsUnderWay(clock)
        for _ in range(pieces):
            active.add(job)
            clock.now += 1
            active.discard(job)
        assert job.record("complete").at_once is None
