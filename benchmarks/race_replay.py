"""What a race would have made of a recorded sweep, by the decisions of a live one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.sweep.decisions import (
    SETTLED,
    Entrant,
    Leg,
    Rules,
    Standing,
    best_so_far,
    next_move,
    weigh_finished,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """What a race would have made of a recorded sweep.

    Attributes:
        share: Share of the recorded epochs that it trains.
        dropped_at: Rung at which each trial is dropped; None: it is not.
        correct: Of each trial, what its finished runs predict rightly, [runs, images]; empty where it is dropped.
        probabilities: Of being on the front, [trials]; 0 where it is dropped.
    """

    share: float
    dropped_at: tuple[int | None, ...]
    correct: tuple[NDArray[np.bool_], ...]
    probabilities: NDArray[np.float64]

    @property
    def members(self) -> tuple[int, ...]:
        """Trials that may be on the front by all that the race knows: more than `SETTLED` likely."""
        return tuple(int(i) for i in np.flatnonzero(self.probabilities > SETTLED))


def replay(
    correct: NDArray[np.bool_],
    val_loss: NDArray[np.float64],
    params: Sequence[float],
    frozen: Sequence[frozenset[str]],
    rules: Rules,
) -> Replay:
    """Race through a recorded sweep, by the decisions of a live one.

    Args:
        correct: Whether the weights after each epoch predict each image rightly: [trials, seeds, epochs, images].
        val_loss: Validation loss after each epoch, [trials, seeds, epochs]; NaN where a run had stopped before.
        params: Parameters that each trial trains.
        frozen: Frozen blocks of each trial.
        rules: Rules of the race. The only measure of its limits is epochs; there are no more seeds than recorded ones.
    """
    _, seeds, epochs, _ = correct.shape
    rules = replace(rules, max_seeds=min(rules.max_seeds, seeds), limits=rules.limits or (math.inf,))
    entrants = [
        Entrant(params=cost, frozen=blocks, spent=(0.0,), next_cost=(float(epochs),))
        for cost, blocks in zip(params, frozen, strict=True)
    ]
    while not (move := next_move(entrants, rules)).is_end:
        for drop in move.drops:
            entrants[drop.entrant] = replace(entrants[drop.entrant], dropped_at=drop.rung)
        for leg in move.legs:
            standing = stand_after(correct[leg.entrant, leg.seed], val_loss[leg.entrant, leg.seed], leg.until or epochs)
            entrants[leg.entrant] = _advance(entrants[leg.entrant], leg, standing)
    return Replay(
        share=sum(each.spent[0] for each in entrants) / int(np.isfinite(val_loss).sum()),
        dropped_at=tuple(each.dropped_at for each in entrants),
        correct=tuple(
            np.stack([run.correct for run in each.runs]) if each.runs else correct[0, :0, 0] for each in entrants
        ),
        probabilities=weigh_finished(entrants, rules)[0],
    )


def stand_after(correct: NDArray[np.bool_], val_loss: NDArray[np.float64], until: int) -> Standing:
    """Return where a recorded run stood after so many epochs.

    Args:
        correct: Whether the weights after each epoch predict each image rightly: [epochs, images].
        val_loss: [epochs]; NaN where the run had stopped before.
        until: Epochs, at least 1.
    """
    recorded = int(np.isfinite(val_loss).sum())
    best = best_so_far(val_loss[: min(until, recorded)].tolist())
    return Standing(
        correct=correct[best[-1]],
        curve=tuple(float(correct[epoch].mean()) for epoch in best),
        finished=until >= recorded,
    )


def _advance(entrant: Entrant, leg: Leg, standing: Standing) -> Entrant:
    before = max((len(each.curve) for each in entrant.rungs.values()), default=0) if leg.seed == 0 else 0
    cost = float(len(standing.curve) - before)
    spent = (entrant.spent[0] + cost,)
    if standing.finished:
        return replace(entrant, runs=(*entrant.runs, standing), spent=spent, costs=(*entrant.costs, (cost,)))
    return replace(entrant, rungs={**entrant.rungs, leg.until or 0: standing}, spent=spent)
