"""The decisions of a race: against hand calculation, against brute force, and as properties of random sweeps."""

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.sweep import decisions as race
from orchestrator.sweep.decisions import (
    Entrant,
    Leg,
    Rules,
    Standing,
    best_so_far,
    next_move,
    weigh_finished,
)

IMAGES = 200
RULES = Rules(rungs=(3, 9, 30), drop_below=0.02, max_seeds=3, limits=(math.inf,))
NOTHING = frozenset()


def stand(error: float, curve=None, *, finished: bool = False, images: int = IMAGES) -> Standing:
    """A run that is wrong of the first images; without a curve it has had this error in each of 30 epochs."""
    wrong = round(error * images)
    return Standing(
        correct=np.arange(images) >= wrong, curve=tuple(curve or [1 - wrong / images] * 30), finished=finished
    )


def power_law(first_error: float, exponent: float, epochs: int, images: int = 10_000) -> Standing:
    curve = [1 - first_error * (epoch + 1) ** -exponent for epoch in range(epochs)]
    return stand(1 - curve[-1], curve, images=images)


def enter(params: float, *runs: Standing, rungs=None, spent: float = 30.0, **others) -> Entrant:
    return Entrant(
        params=params, frozen=NOTHING, runs=runs, rungs=rungs or {}, spent=(spent,), next_cost=(30.0,), **others
    )


# --- gains --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 0.25, 1.0])
def test_a_power_law_shows_its_exponent(exponent):
    run = power_law(0.4, exponent, 9)
    for start, end in ((1, 3), (3, 9), (2, 7)):
        # half an image more in 10,000 changes little
        assert race._exponent(run, start, end) == pytest.approx(exponent, abs=0.01)


def test_a_run_that_has_ended_gains_no_more():
    run = replace(power_law(0.4, 0.5, 5), finished=True)
    # from epoch 3 to 30 the error falls as from 3 to 5
    expected = math.log(3**-0.5 / 5**-0.5) / math.log(30 / 3)
    assert race._exponent(run, 3, 30) == pytest.approx(expected, abs=0.01)


def test_before_any_run_has_shown_more_the_prior_holds():
    mean, spread, freedom = race._learn([power_law(0.4, 0.5, 3)] * 10, RULES.rungs)
    # location 0; scale 0.25 with the uncertainty of a location that eight runs would give: 0.25 sqrt(1 + 1/8)
    assert (mean, freedom) == (0, 8)
    assert spread == pytest.approx(0.25 * math.sqrt(1 + 1 / 8))


def test_what_runs_have_shown_moves_the_expectation():
    """At epoch 9, six runs that are power laws of exponent 0.5: half of it was expected, so each missed by 0.25."""
    mean, spread, freedom = race._learn([power_law(0.4, 0.5, 9)] * 6, RULES.rungs)
    # weights: eight runs at 0 and six at 0.25
    assert freedom == 8 + 6
    located = 6 * 0.25 / 14
    assert mean == pytest.approx(located, abs=0.01)
    # squares: 8 x 0.25^2 of the prior, 8 x (0 - location)^2 of its location, 6 x (0.25 - location)^2 of the runs
    squares = 8 * 0.25**2 + 8 * located**2 + 6 * (0.25 - located) ** 2
    assert spread == pytest.approx(math.sqrt(squares / 14 * (1 + 1 / 14)), rel=0.03)


def test_a_trial_with_one_run_varies_between_seeds_as_those_with_several():
    # e = 0.1 and 0.1 exp(0.4): twice 0.2 from their mean, in logarithms; eight runs of the prior have 0.2 too
    pair = (stand(0.1, images=100_000), stand(0.1 * math.exp(0.4), images=100_000))
    spread, freedom = race._learn_seeds([pair, (stand(0.3),)])
    assert freedom == 8 + 1
    assert spread == pytest.approx(math.sqrt((8 * 0.2**2 + 2 * 0.2**2) / 9), rel=1e-3)
    assert race._learn_seeds([(stand(0.1),), (stand(0.2),)]) == (pytest.approx(0.2), 8)


def test_a_plateau_and_a_climb_from_the_same_accuracy_differ_in_their_prospects():
    """Both stand at an error of 0.2; the one that climbs is the more likely to end above the cheaper one at 0.15."""
    climbing = stand(0.2, [0.3, 0.6, 0.8])
    resting = stand(0.2, [0.8, 0.8, 0.8])
    cheap = stand(0.15, [0.85] * 3)
    chances = [
        race._estimate([enter(1), enter(2)], [(cheap,), (run,)], [cheap, run], RULES)[1] for run in (climbing, resting)
    ]
    assert chances[0] > chances[1] + 0.2


def test_the_best_weights_are_those_of_the_lowest_loss_and_the_first_of_equals():
    assert best_so_far([3.0, 2.0, 2.5, 2.0, 1.0]) == [0, 1, 1, 1, 4]


# --- drops --------------------------------------------------------------------------------------------


def at_rung(params: float, error: float, rung: int = 3, **others) -> Entrant:
    return enter(params, rungs={rung: stand(error, [1 - error] * rung)}, spent=float(rung), **others)


def test_what_is_far_behind_cheaper_trials_is_dropped_and_what_is_far_behind_dearer_ones_is_not():
    field = [at_rung(1, 0.9), at_rung(2, 0.05), at_rung(3, 0.9), at_rung(4, 0.045)]
    (drop,) = next_move(field, RULES).drops
    assert (drop.entrant, drop.rung) == (2, 3)
    assert drop.probability < RULES.drop_below


def test_nothing_is_decided_before_all_runs_have_come_to_the_rung():
    field = [at_rung(1, 0.1), at_rung(2, 0.9), enter(3)]
    assert next_move(field, RULES).legs == (Leg(entrant=2, seed=0, until=3),)


def test_who_has_gone_on_or_ended_or_was_dropped_is_not_dropped():
    hopeless = at_rung(2, 0.9)
    beyond = replace(hopeless, rungs={**hopeless.rungs, 9: hopeless.rungs[3]})
    ended = enter(2, stand(0.9, [0.1] * 3, finished=True))
    for other in (beyond, ended, replace(hopeless, dropped_at=3)):
        assert next_move([at_rung(1, 0.05), other], RULES).drops == ()


def test_the_decision_of_a_rung_is_the_same_once_some_of_it_are_dropped():
    field = [at_rung(1, 0.05), at_rung(2, 0.9), at_rung(3, 0.9)]
    assert [drop.entrant for drop in next_move(field, RULES).drops] == [1, 2]
    half = [field[0], replace(field[1], dropped_at=3), field[2]]
    assert next_move(half, RULES).drops == next_move(field, RULES).drops[1:]


def test_of_many_equally_cheap_trials_one_stays():
    rules = replace(RULES, drop_below=0.5)
    field = [at_rung(1, 0.1 + 0.01 * i) for i in range(20)]
    drops = {drop.entrant for drop in next_move(field, rules).drops}
    assert drops == set(range(20)) - {0}


def test_the_last_rung_is_the_end_of_the_runs():
    field = [enter(params, rungs={rung: stand(0.1, [0.9] * rung) for rung in (3, 9)}) for params in (1, 1)]
    assert next_move(field, RULES).legs == tuple(Leg(entrant=i, seed=0, until=None) for i in (0, 1))


# --- seeds --------------------------------------------------------------------------------------------


@pytest.fixture
def probabilities(monkeypatch):
    """Set the probability of each finished trial, and which are open in the recommendation."""

    def put(*values: float, undecided: Collection[int] = ()):
        monkeypatch.setattr(race, "weigh_finished", lambda entrants, rules: (np.array(values), frozenset(undecided)))

    return put


FINISHED = [enter(params, stand(0.1, finished=True)) for params in (1, 2, 3, 4)]


def test_seeds_go_to_the_least_certain_first(probabilities):
    probabilities(1.0, 0.3, 0.6, 0.01)
    assert next_move(FINISHED, RULES).legs == (Leg(entrant=2, seed=1, until=None),)
    at_once = replace(RULES, at_once=5)
    assert [leg.entrant for leg in next_move(FINISHED, at_once).legs] == [2, 1]


def test_what_was_decided_together_is_finished_before_more_is_decided(monkeypatch):
    """Of three seeds that were decided on together one was interrupted, or two: what the others showed counts later.

    What one more seed of a trial shows settles it here, so whoever looked at it too early would pick another one.
    """
    rules = replace(RULES, at_once=3)
    uncertain = [0.0, 0.3, 0.6, 0.35]

    def judge(entrants, _):
        pairs = zip(uncertain, entrants, strict=True)
        return np.array([p if len(each.runs) == 1 else 0.5 - p / 4 for p, each in pairs]), frozenset()

    monkeypatch.setattr(race, "weigh_finished", judge)
    assert [leg.entrant for leg in next_move(FINISHED, rules).legs] == [2, 3, 1]
    run = FINISHED[0].runs[0]
    for done in ([2], [3], [1], [2, 3], [1, 3], [1, 2]):
        field = [replace(each, runs=(run,) * (1 + (i in done))) for i, each in enumerate(FINISHED)]
        left = next_move(field, rules).legs
        assert [(leg.entrant, leg.seed) for leg in left] == [(i, 1) for i in (2, 3, 1) if i not in done]
    field = [replace(each, runs=(run,) * (1 + (i > 0))) for i, each in enumerate(FINISHED)]
    assert {leg.seed for leg in next_move(field, rules).legs} == {2}


@pytest.mark.parametrize("done", [[], [2], [1]])
def test_the_budget_holds_for_what_was_interrupted_as_for_what_was_not(probabilities, done):
    """Four runs of 30 epochs, and two more fit into 180: those two, whichever of them is there."""
    probabilities(1.0, 0.3, 0.6, 0.7)
    rules = replace(RULES, at_once=9, limits=(180,))
    run = FINISHED[0].runs[0]
    field = [
        replace(each, runs=(run, run), spent=(60.0,), costs=((30.0,), (30.0,))) if i in done else each
        for i, each in enumerate(FINISHED)
    ]
    expected = {2, 3} if not done else {2, 3} - set(done)
    assert {leg.entrant for leg in next_move(field, rules).legs} == expected


def test_a_race_is_over_when_all_is_settled_or_has_its_seeds(probabilities):
    probabilities(1.0, 0.985, 0.015, 0.0)
    assert next_move(FINISHED, RULES).is_end
    probabilities(1.0, 0.5, 0.5, 0.5)
    run = FINISHED[0].runs[0]
    assert next_move([replace(each, runs=(run,) * 3) for each in FINISHED], RULES).is_end
    assert not next_move([replace(each, runs=(run,) * 2) for each in FINISHED], RULES).is_end


@pytest.mark.parametrize(("limit", "seeds"), [(149, 0), (150, 1), (179, 1), (180, 2), (1000, 3)])
def test_seeds_keep_within_every_limit(probabilities, limit, seeds):
    """Four runs of 30 epochs have been trained; one more costs 30."""
    probabilities(1.0, 0.3, 0.6, 0.7)
    rules = replace(RULES, at_once=9, limits=(limit,))
    assert len(next_move(FINISHED, rules).legs) == seeds


def test_seeds_go_first_to_what_the_recommendation_does_not_know(probabilities):
    """The fourth is on the front for certain and the second misses it for certain; both may be what to use."""
    probabilities(1.0, 0.0, 0.5, 1.0, undecided={3, 1})
    rules = replace(RULES, at_once=9)
    assert [leg.entrant for leg in next_move(FINISHED, rules).legs] == [1, 3, 2]
    assert [leg.entrant for leg in next_move(FINISHED, RULES).legs] == [1]


def test_what_finished_trials_show_is_that_of_their_draws(monkeypatch):
    drawn = np.tile([[0.8, 0.9, 0.85], [0.8, 0.7, 0.9], [0.8, 0.8, 0.8], [0.7, 0.9, 0.95]], (1000, 1))
    monkeypatch.setattr(race, "draw_accuracies", lambda correct, frozen, **others: drawn)
    field = [replace(each, runs=each.runs * 2) for each in FINISHED]  # of one run the draws do not say all
    field[1] = replace(field[1], dropped_at=9)
    probabilities, undecided = weigh_finished(field, replace(RULES, margin=0.04, confidence=0.7))
    # of the second of the three, 0.9 > 0.8 and 0.9 > 0.7; of the third, 0.9 > 0.8 and 0.95 > 0.9
    assert probabilities.tolist() == [1.0, 0.0, 0.5, 0.5]
    # lost against the best of each draw, by the first: 0.1, 0.1, 0, 0.25, within the margin in 1 of 4 draws; by the
    # second: 0, 0.2, 0, 0.05, in 2; by the third: 0.05, 0, 0, 0, in 3, which is enough. 0.5 is open, and 0.25 is not
    assert undecided == {2, 3}


def test_nothing_is_known_before_a_run_has_finished():
    probabilities, undecided = weigh_finished([at_rung(1, 0.1), at_rung(2, 0.2)], RULES)
    assert (probabilities.tolist(), undecided) == ([0.0, 0.0], frozenset())
