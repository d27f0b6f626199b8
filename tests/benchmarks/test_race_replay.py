"""Replays of random sweeps and of a clear one."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import race_replay
from benchmarks.race_replay import replay
from orchestrator.sweep.decisions import Rules, next_move

RULES = Rules(rungs=(3, 9, 30), drop_below=0.02, max_seeds=3, limits=(math.inf,))
NOTHING = frozenset()


def draw_sweep(seed: int, trials: int = 8, seeds: int = 3, epochs: int = 30, images: int = 60):
    """Curves that saturate, each at a ceiling of its own; some runs end early."""
    rng = np.random.default_rng(seed)
    params = rng.permutation(trials) + 1.0
    ceiling, speed = rng.uniform(0.5, 0.99, trials), rng.uniform(1, 5, trials)
    epoch = np.arange(1, epochs + 1)
    accuracy = ceiling[:, None] * (1 - np.exp(-epoch / speed[:, None]))
    accuracy = np.clip(accuracy[:, None, :] + rng.normal(0, 0.01, (trials, seeds, epochs)), 0, 1)
    correct = rng.uniform(size=images) < accuracy[..., None]
    loss = 1 - accuracy + rng.normal(0, 0.01, accuracy.shape)
    for trial, of in zip(*np.nonzero(rng.uniform(size=(trials, seeds)) < 0.2), strict=True):
        loss[trial, of, rng.integers(1, epochs) :] = np.nan
    return correct, loss, params.tolist(), [NOTHING] * trials


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_is_never_dropped_and_no_epoch_is_trained_twice(seed, monkeypatch):
    correct, loss, params, frozen = draw_sweep(seed)
    legs: dict[tuple[int, int], list[float]] = {}
    move_of = next_move

    def noting(entrants, rules):
        move = move_of(entrants, rules)
        for leg in move.legs:
            legs.setdefault((leg.entrant, leg.seed), []).append(leg.until or math.inf)
        return move

    monkeypatch.setattr(race_replay, "next_move", noting)
    raced = replay(correct, loss, params, frozen, RULES)
    cheapest = int(np.argmin(params))
    assert raced.dropped_at[cheapest] is None
    assert raced.probabilities[cheapest] == 1
    recorded = np.isfinite(loss).sum(axis=2)
    trained = 0
    for (trial, of), untils in legs.items():
        assert untils == sorted(set(untils))  # each leg begins where the one before ended
        trained += min(untils[-1], recorded[trial, of])
    assert raced.share == trained / recorded.sum()
    for trial, rung in enumerate(raced.dropped_at):
        its = [untils for (one, _), untils in legs.items() if one == trial]
        assert (len(its), its[0][-1]) == (1, rung) if rung else len(raced.correct[trial]) == len(its)


def test_a_replay_keeps_the_front_of_a_clear_sweep_for_a_part_of_its_epochs():
    """Errors of the front are a fifth with each step in parameters; the other trials learn nothing."""
    rng = np.random.default_rng(0)
    params = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    ends = [0.3, 0.06, 0.95, 0.012, 0.95, 0.95]
    errors = np.array([[[end * (30 / epoch) ** 0.1 for epoch in range(1, 31)]] * 3 for end in ends]).clip(0, 0.95)
    correct = (rng.permutation(600) / 600) >= errors[..., None]
    raced = replay(correct, errors, params, [NOTHING] * 6, replace(RULES, limits=(math.inf,)))
    assert raced.dropped_at == (None, None, 3, None, 3, 3)
    assert raced.members == (0, 1, 3)
    # three trials of 30 epochs and three of 3, of six with three seeds of 30
    assert raced.share == pytest.approx((3 * 30 + 3 * 3) / (6 * 3 * 30))


def test_a_replay_keeps_within_its_limit_of_epochs():
    correct, loss, params, frozen = draw_sweep(1)
    for limit in (0.0, 300.0):
        raced = replay(correct, loss, params, frozen, replace(RULES, limits=(limit,)))
        first = replay(correct[:, :1], loss[:, :1], params, frozen, RULES)  # one seed each, so the rungs alone
        rungs = first.share * np.isfinite(loss[:, :1]).sum()
        spent = raced.share * np.isfinite(loss).sum()
        assert spent == pytest.approx(rungs) if limit < rungs else rungs <= spent <= limit
