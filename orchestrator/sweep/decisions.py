"""The decisions of a race, as a pure function of what its runs have shown: the next move.

All trials start with one seed. At each rung the runs wait for each other, and trials that hardly can end on the front
are dropped. What is left trains to its end; then trials get more seeds whose place in the recommendation is open, and
after them those of which it is not clear whether they are on the front. At a rung a trial is compared with trials of as
few or fewer parameters only, so the cheapest is never dropped.

Where an unfinished run will end: its accuracy and a gain. The gain is a fall of its error as a power of the epoch, with
the exponent log(error a / error b) / log(b / a) between epochs a and b, of the best weights so far. Learning curves are
power laws while they learn and flat once they have learned, so the exponent to come is taken as half of the one that a
run shows over the last factor of three in epochs, and by how much that misses is learned from the sweep's own curves:
from earlier rungs to later ones, and to the end of runs that have finished. Before any are seen, it misses by 0 with a
spread of 0.25, which counts as much as eight runs; so few runs change little, and draws have Student's tails.
In the same way seeds vary the logarithm of an error: what a trial with one run does not show, the others do. That half
of what a single run shows is luck, as `posterior` has it elsewhere, would let nothing be dropped.

Source: Hestness et al., "Deep learning scaling is predictable, empirically" (2017), for the power law; Gelman et al.,
"Bayesian Data Analysis", 3rd ed., section 3.3, for the normal model with a conjugate prior. Half, 0.25 and eight are
assumptions: a spread of 0.25 is a factor of 1.8 in the error from epoch 3 to 30, up or down.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.further_seeds import find_open
from orchestrator.stats.posterior import draw_accuracies, front_probabilities

SETTLED = 0.02
"""A trial's place is settled where it is on the front with less than this probability, or misses it with less."""
_WINDOW = 3
"""Factor in epochs over which a run shows its exponent."""
_KEPT = 0.5
"""Share of it that is expected of the epochs to come."""
_SPREAD, _WORTH = 0.25, 8.0
"""Spread of what that misses before any run has shown it, and the number of runs as which it counts."""
_FIRST_EXPONENT = 0.5
"""Exponent of a run that has only one epoch to show."""
_SEED_SPREAD = 0.2
"""Spread of the logarithm of an error between seeds, before any trial has shown it; it counts as eight runs too."""
_DRAWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """How far a run has come, or how it ended.

    Attributes:
        correct: Whether its best weights so far predict each validation image rightly: [images].
        curve: Validation accuracy of the best weights so far after each epoch; fractions in [0, 1].
        finished: Whether no epoch of it is left.
    """

    correct: NDArray[np.bool_]
    curve: tuple[float, ...]
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entrant:
    """A trial in the race.

    Attributes:
        params: Parameters that it trains.
        frozen: Its frozen blocks.
        rungs: Where its first run stood at each rung that it has reached, by the rung's epochs.
        runs: Its finished runs, in the order of its seeds.
        dropped_at: Rung at which it was dropped; None: it was not.
        spent: What it has cost so far, by the measures of `Rules.limits`.
        costs: What of that each of its finished runs has cost.
        next_cost: What one more run of it costs at the most, likewise.
    """

    params: float
    frozen: frozenset[str]
    rungs: Mapping[int, Standing] = field(default_factory=dict)
    runs: tuple[Standing, ...] = ()
    dropped_at: int | None = None
    spent: tuple[float, ...] = ()
    costs: tuple[tuple[float, ...], ...] = ()
    next_cost: tuple[float, ...] = ()

    def at(self, rung: int) -> Standing | None:
        """Return where its first run stood at a rung; where it had finished before, how it ended."""
        return self.rungs.get(rung) or (self.runs[0] if self.runs else None)

    def before(self, runs: int) -> "Entrant":
        """Go back to when it had no more than so many finished runs."""
        spent = tuple(have - sum(cost[k] for cost in self.costs[runs:]) for k, have in enumerate(self.spent))
        return replace(self, runs=self.runs[:runs], costs=self.costs[:runs], spent=spent)

    def is_in(self, rung: int) -> bool:
        """Whether no earlier rung has dropped it."""
        return self.dropped_at is None or self.dropped_at >= rung

    def is_beyond(self, rung: int) -> bool:
        """Whether it has gone on from a rung already."""
        return bool(self.runs) or any(later > rung for later in self.rungs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a race.

    Attributes:
        rungs: Epochs at which it drops trials, rising; the last one is the end of all runs.
        drop_below: Probability of ending on the front below which a trial is dropped.
        max_seeds: Seeds of a trial at the most.
        limits: What further seeds may bring the cost to, one for each measure.
        at_once: Further runs that are decided on together.
        margin: Accuracy that a recommended trial may lose; as of `advice.advise`.
        confidence: Probability with which it may lose no more.
    """

    rungs: tuple[int, ...]
    drop_below: float
    max_seeds: int
    limits: tuple[float, ...] = ()
    at_once: int = 1
    margin: float = 0.01
    confidence: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A trial that is dropped: its index, the rung, and its probability of ending on the front."""

    entrant: int
    rung: int
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A run that is to begin or to go on: the trial's index, which of its seeds (from 0), and until which epoch."""

    entrant: int
    seed: int
    until: int | None
    """None: to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a race does next; nothing at all: it is over."""

    drops: tuple[Drop, ...] = ()
    legs: tuple[Leg, ...] = ()

    @property
    def is_end(self) -> bool:
        """Whether the race is over."""
        return not self.drops and not self.legs


def next_move(entrants: Sequence[Entrant], rules: Rules) -> Move:
    """Describe what a race does next. While runs are under way, their trials must not be asked about.

    It depends on nothing but what the runs have shown, so a race that died goes on where it was.
    """
    end = rules.rungs[-1]
    for rung in rules.rungs:
        waiting = [i for i, each in enumerate(entrants) if each.dropped_at is None and each.at(rung) is None]
        if waiting:
            until = None if rung == end else rung
            return Move(legs=tuple(Leg(entrant=i, seed=0, until=until) for i in waiting))
        drops = _find_drops(entrants, rung, rules) if rung != end else ()
        if drops:
            return Move(drops=drops)
    return Move(
        legs=tuple(Leg(entrant=i, seed=len(entrants[i].runs), until=None) for i in _pick_again(entrants, rules))
    )


def weigh_finished(entrants: Sequence[Entrant], rules: Rules) -> tuple[NDArray[np.float64], frozenset[int]]:
    """Return what the finished runs say of the front and of the recommendation.

    Returns:
        The probability of being on the front, [entrants]; 0 for what has no finished run or was dropped. And the
        entrants whose place in the recommendation is open, as of `further_seeds.find_open`.
    """
    finished = [i for i, each in enumerate(entrants) if each.runs and each.dropped_at is None]
    found = np.zeros(len(entrants))
    if not finished:
        return found, frozenset()
    seen = tuple((entrants[i].params, entrants[i].frozen, entrants[i].runs) for i in finished)
    found[finished], undecided = _weigh(seen, rules)
    return found, frozenset(finished[place] for place in undecided)


@lru_cache(maxsize=64)  # decisions are made once more by each that follows
def _weigh(
    finished: tuple[tuple[float, frozenset[str], tuple[Standing, ...]], ...], rules: Rules
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Weigh trials of which runs have finished: parameters, frozen blocks and runs of each; see `weigh_finished`."""
    params = [cost for cost, _, _ in finished]
    drawn = _draw([runs for _, _, runs in finished], [frozen for _, frozen, _ in finished], [], rules)
    return front_probabilities(drawn, params), tuple(find_open(drawn, params, rules.margin, rules.confidence))


def best_so_far(badness: Sequence[float]) -> list[int]:
    """Return the epoch of the best weights after each epoch: the lowest badness, the first of equals."""
    best: list[int] = []
    for epoch, value in enumerate(badness):
        best.append(epoch if not best or value < badness[best[-1]] else best[-1])
    return best


def _find_drops(entrants: Sequence[Entrant], rung: int, rules: Rules) -> tuple[Drop, ...]:
    racing = [i for i, each in enumerate(entrants) if each.is_in(rung) and each.at(rung) is not None]
    seen = [entrants[i] for i in racing]
    stands = [standing for each in seen if (standing := each.at(rung)) is not None]
    # a run that has finished has cost all that it can cost
    may_go = [
        each.dropped_at is None and not each.is_beyond(rung) and not stand.finished
        for each, stand in zip(seen, stands, strict=True)
    ]
    if not any(may_go):
        return ()
    probabilities = _estimate(seen, [(standing,) for standing in stands], stands, rules)
    least = min(each.params for each in seen)
    # of several that are the cheapest, one stays for certain
    kept = max((j for j, each in enumerate(seen) if each.params == least), key=lambda j: float(probabilities[j]))
    return tuple(
        Drop(entrant=i, rung=rung, probability=float(probabilities[j]))
        for j, i in enumerate(racing)
        if may_go[j] and j != kept and probabilities[j] < rules.drop_below
    )


def _pick_again(entrants: Sequence[Entrant], rules: Rules) -> Sequence[int]:
    """Pick the trials that get one more seed, as it was or would have been done without an interruption.

    What is decided together is decided before any of it is known. So all decisions are made once more, from the first
    seed on, and what runs showed counts only once all runs of the same decision have ended.
    """
    shown = [min(1, len(each.runs)) for each in entrants]
    while picked := list(_pick([each.before(runs) for each, runs in zip(entrants, shown, strict=True)], rules)):
        left = [i for i in picked if len(entrants[i].runs) <= shown[i]]
        if left:
            return left
        for i in picked:
            shown[i] += 1
    return ()


def _pick(entrants: Sequence[Entrant], rules: Rules) -> Iterator[int]:
    """Pick the trials that get one more seed: first those whose place in the recommendation is open.

    Of these and of the others, those come first of which it is the least certain whether they are on the front.
    """
    probabilities, undecided = weigh_finished(entrants, rules)
    open_ones = [
        i
        for i, each in enumerate(entrants)
        if 0 < len(each.runs) < rules.max_seeds
        and each.dropped_at is None
        and (i in undecided or SETTLED < probabilities[i] < 1 - SETTLED)
    ]
    open_ones.sort(key=lambda i: (i not in undecided, abs(float(probabilities[i]) - 0.5), i))
    spent = [sum(each.spent[k] for each in entrants) for k in range(len(rules.limits))]
    picked = 0
    for i in open_ones:
        after = [have + more for have, more in zip(spent, entrants[i].next_cost, strict=True)]
        if picked < rules.at_once and all(cost <= limit for cost, limit in zip(after, rules.limits, strict=True)):
            spent, picked = after, picked + 1
            yield i


def _estimate(
    entrants: Sequence[Entrant], runs: Sequence[Sequence[Standing]], curves: Sequence[Standing], rules: Rules
) -> NDArray[np.float64]:
    """Return the probability of each entrant to end on the front, by `runs`; what goes on is learned from `curves`."""
    drawn = _draw(runs, [each.frozen for each in entrants], curves, rules)
    return front_probabilities(drawn, [each.params for each in entrants])


def _draw(
    runs: Sequence[Sequence[Standing]],
    frozen: Sequence[frozenset[str]],
    curves: Sequence[Standing],
    rules: Rules,
) -> NDArray[np.float64]:
    """Draw the accuracies at which trials end, [draws, trials].

    Args:
        runs: What is known of each trial.
        frozen: Its frozen blocks.
        curves: What the gain of a run that goes on is learned from.
        rules: Of the race.
    """
    drawn = draw_accuracies(
        [np.stack([run.correct for run in each]) for each in runs],
        frozen,
        draws=_DRAWS,
        luck=0.0,  # seeds vary the error, below
    )
    errors = 1 - drawn
    mean, spread, freedom = _learn(curves, rules.rungs)
    seed_spread, seed_freedom = _learn_seeds(runs)
    rng = np.random.default_rng(1)
    for j, (standing, *others) in enumerate(runs):
        if not others:
            errors[:, j] *= np.exp(seed_spread * rng.standard_t(seed_freedom, size=len(drawn)))
        if not standing.finished:
            noise = mean + spread * rng.standard_t(freedom, size=len(drawn))
            exponent = _KEPT * _recent_exponent(standing, len(standing.curve)) + noise
            errors[:, j] *= (rules.rungs[-1] / len(standing.curve)) ** -exponent
    return np.clip(1 - errors, 0, 1)


def _learn(curves: Sequence[Standing], rungs: Sequence[int]) -> tuple[float, float, float]:
    """Learn by how much the exponents to come miss: location, scale and degrees of freedom of a Student's t."""
    misses = []
    for run in curves:
        reached = rungs[-1] if run.finished else len(run.curve)
        for start, after in pairwise((*(rung for rung in rungs if rung < reached), reached)):
            if start < len(run.curve):
                shown = _KEPT * _recent_exponent(run, start)
                misses.append(_exponent(run, start, after) - shown)
    weight = _WORTH + len(misses)
    mean = sum(misses) / weight
    squares = _WORTH * (_SPREAD**2 + mean**2) + sum((miss - mean) ** 2 for miss in misses)
    return mean, math.sqrt(squares / weight * (1 + 1 / weight)), weight


def _learn_seeds(runs: Sequence[Sequence[Standing]]) -> tuple[float, float]:
    """Learn how much seeds vary the logarithm of an error: scale and degrees of freedom of a Student's t.

    Of a trial with one run the predictions say nothing of other seeds, so it is taken to vary as the others do.
    """
    squares, freedom = _WORTH * _SEED_SPREAD**2, _WORTH
    for each in runs:
        logs = [math.log(_smooth_error(run.curve[-1], len(run.correct))) for run in each]
        squares += sum((log - sum(logs) / len(logs)) ** 2 for log in logs)
        freedom += len(logs) - 1
    return math.sqrt(squares / freedom), freedom


def _smooth_error(accuracy: float, images: int) -> float:
    """Return an error with half an image more on either side, so that it is never 0."""
    return ((1 - accuracy) * images + 0.5) / (images + 1)


def _recent_exponent(run: Standing, epoch: int) -> float:
    start = max(1, epoch // _WINDOW)
    return _exponent(run, start, epoch) if start < epoch else _FIRST_EXPONENT


def _exponent(run: Standing, start: int, end: int) -> float:
    """Return the exponent with which the error fell between two epochs (from 1); after the last epoch it stays."""
    images = len(run.correct)
    first, last = (_smooth_error(run.curve[min(epoch, len(run.curve)) - 1], images) for epoch in (start, end))
    return math.log(first / last) / math.log(end / start)
