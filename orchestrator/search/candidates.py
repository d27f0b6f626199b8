"""Which frozen sets a study may still try, and what its trials say of those that it has."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.blocks import FrozenSet
from orchestrator.stats.evidence import Floats

_SPREAD = 0.1
"""Standard deviation that values have on the scale of the model where they are no shares: amid its sizes."""
_LEAST_NOISE = 1e-3
"""Standard deviation of noise on the scale of the model at the least: 0.06 points at an accuracy of 0.9."""
_MOST_FAILURES = 2
"""A set whose trials failed as often is not tried again."""
_MOST_STARTS = 10


@dataclass(slots=True, kw_only=True)
class History:
    """What the trials of a study say of frozen sets.

    Attributes:
        values: Of the complete trials of each set, the first objective.
        costs: Likewise the second; empty where there is one objective.
        pending: Sets of trials that run or wait.
        dropped: Sets of trials that were pruned, or failed too often: there is no value of them.
    """

    values: dict[FrozenSet, list[float]] = field(default_factory=dict)
    costs: dict[FrozenSet, float] = field(default_factory=dict)
    pending: set[FrozenSet] = field(default_factory=set)
    dropped: set[FrozenSet] = field(default_factory=set)

    @classmethod
    def of(cls, trials: Iterable[tuple[FrozenTrial, FrozenSet]]) -> "History":
        """Gather it from trials and their frozen sets."""
        found = cls()
        failures: Counter[FrozenSet] = Counter()
        for trial, frozen in trials:
            if trial.state == TrialState.COMPLETE:
                if all(np.isfinite(trial.values)):
                    found.values.setdefault(frozen, []).append(trial.values[0])
                    found.costs |= dict.fromkeys([frozen], trial.values[1]) if len(trial.values) > 1 else {}
                else:
                    found.dropped.add(frozen)
            elif trial.state == TrialState.PRUNED:
                found.dropped.add(frozen)
            elif trial.state == TrialState.FAIL:
                failures[frozen] += 1
            else:
                found.pending.add(frozen)
        found.dropped |= {frozen for frozen, count in failures.items() if count >= _MOST_FAILURES}
        return found

    @property
    def taken(self) -> set[FrozenSet]:
        """Sets that are not to be proposed while there are others."""
        return {*self.values, *self.pending, *self.dropped}


def spread_out(blocks: Sequence[str]) -> list[FrozenSet]:
    """List frozen sets to begin with: nothing frozen, all of the blocks, and the first ones to depths between."""
    depths = np.linspace(0, len(blocks), min(len(blocks) + 1, _MOST_STARTS)).round().astype(int).tolist()
    order = tuple(blocks)
    return [FrozenSet.of(order[:depth], order=order) for depth in (depths[0], depths[-1], *depths[1:-1])]


def draw_sets(
    blocks: tuple[str, ...], around: Iterable[FrozenSet], count: int, rng: np.random.Generator
) -> list[FrozenSet]:
    """Draw frozen sets of a space too large to be listed: any, and those one block away from some.

    Args:
        blocks: In network order.
        around: Sets whose neighbours are added.
        count: Sets that are drawn from all; fewer where one is drawn twice.
        rng: Draws them.
    """
    frozen = rng.random((count, len(blocks))) < rng.random((count, 1))
    anywhere = (FrozenSet.of([b for b, each in zip(blocks, row, strict=True) if each], order=blocks) for row in frozen)
    near = (FrozenSet.of({*each.blocks} ^ {block}, order=blocks) for each in around for block in blocks)
    return list(dict.fromkeys(chain(anywhere, near)))


def scale_values(
    values: Sequence[Sequence[float]], direction: StudyDirection, noise: float | None
) -> tuple[Floats, Floats, Floats]:
    """Bring values to a scale without bounds on which higher is better.

    Shares (a maximised objective within [0, 1]) go to the arcsine scale, which the grids of `BlockModel` are made for;
    others are standardised to it. Where the noise is not known, what a set deviates by is chance in equal parts with
    the set itself, less of it with each further trial.

    Args:
        values: Of each set, one a trial.
        direction: Of the objective.
        noise: Standard deviation of one value by chance, in its own unit; None: not known.

    Returns:
        Means, their variances by chance, and the shares of luck (see `BlockModel`): each [sets].
    """
    counts = np.array([len(each) for each in values], dtype=np.float64)
    means = np.array([np.mean(each) for each in values])
    if direction == StudyDirection.MAXIMIZE and all(0 <= value <= 1 for each in values for value in each):
        least = 1e-3
        slope = 1 / (2 * np.sqrt(np.clip(means * (1 - means), least, None)))
        scaled = np.arcsin(np.sqrt(means))
    else:
        sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
        slope = np.full(len(means), _SPREAD / (float(means.std()) or 1.0))
        scaled = sign * (means - means.mean()) * slope
    variance = np.maximum(((noise or 0.0) * slope) ** 2 / counts, _LEAST_NOISE**2)
    luck = 1 / (1 + counts) if noise is None else np.zeros(len(counts))
    return np.asarray(scaled), np.asarray(variance), luck


def learn_costs(known: Mapping[FrozenSet, float], sets: Sequence[FrozenSet]) -> list[float]:
    """Estimate costs as a sum over what blocks do; exact for parameters once that has varied.

    An estimate is at least the lowest known cost.
    """
    parts = sorted({part for each in (*known, *sets) for part in each.parts})

    def design(frozen: Collection[FrozenSet]) -> Floats:
        return np.array([[1.0, *(float(part in each.parts) for part in parts)] for each in frozen])

    weights, *_ = np.linalg.lstsq(design(list(known)), np.array(list(known.values())), rcond=None)
    estimated = np.maximum(design(sets) @ weights, min(known.values()))
    return [known.get(each, float(cost)) for each, cost in zip(sets, estimated, strict=True)]


def scale_costs(costs: Sequence[float]) -> tuple[Floats, float]:
    """Bring costs to the scale on which area is measured, and say up to where it counts.

    That is decades where all costs are greater than 0. It counts to beyond the costliest set by as much as the costs
    span, but a decade at the most: else the most accurate sets, which tend to be costly, would add next to nothing.
    """
    found = np.asarray(costs, dtype=np.float64)
    logarithmic = bool((found > 0).all())
    scaled = np.log10(found) if logarithmic else found
    span = float(np.ptp(scaled)) or 1.0
    return scaled, float(scaled.max()) + (min(span, 1.0) if logarithmic else span)
