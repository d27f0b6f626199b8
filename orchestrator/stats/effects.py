"""What freezing a block changes: effects and interactions of a factorial design whose factors are the blocks.

Trials that differ in one block alone are a pair; the effect of freezing the block is the mean over all its pairs. A
trial that is missing takes its pairs with it. Where trials freeze the first blocks only, each block has one pair: its
effect is that of also freezing it when all before it are frozen, and no two blocks have an interaction.

A block that trains in part is at a level of its own, which a part of the set says: `layer1:norm`. Levels are compared
two by two, in the same way.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.comparison import adjust_holm
from orchestrator.stats.timing import TimeEffect, Timing, estimate_time
from orchestrator.stats.uncertainty import variance_of_mean

_FROZEN, _FULL = "frozen", "full"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """A trial, as a cell of the design.

    Attributes:
        frozen: Blocks that do not train; with parts such as `layer1:norm`, where blocks train in part.
        setting: Whatever else trials vary in: only cells with an equal one are paired.
        accuracies: Validation accuracy by seed, in [0, 1].
        correct: Whether each validation image is predicted rightly, [images], by seed: the same images in the same
            order in all cells. Empty where that is not known.
        gflops_train: Of a training image, in 10^9 floating-point operations.
        trainable_params: Parameters that train.
        timings: How long its runs took, by seed; those are left out that compare with no other.
    """

    frozen: frozenset[str]
    setting: Hashable
    accuracies: Mapping[int, float]
    correct: Mapping[int, NDArray[np.bool_]]
    gflops_train: float
    trainable_params: int
    timings: Mapping[int, Timing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A difference of accuracies.

    Attributes:
        mean: In [-1, 1]; of an interaction in [-2, 2].
        n_seeds: Seeds that all its trials have: it is computed from their runs alone.
        low: Lower end of its 95 % interval: over images, and with several seeds over seeds. None: not known.
        high: Upper end.
        p_value: Chance of a difference as large, in either direction, where there is none. Below 0.05 where the
            interval leaves 0 out.
    """

    mean: float
    n_seeds: int
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    @property
    def is_told_from_zero(self) -> bool:
        """Whether the interval is known and leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEffect:
    """What freezing a block changes: frozen minus training. All is None where the block has no pair.

    Attributes:
        block: Its name.
        tuning: What the block does, compared with `instead`.
        instead: What it does in the other trial of a pair.
        n_pairs: Pairs of trials that differ in it alone.
        besides: The blocks that are frozen besides, and parts for those that train in part, where all that is the same
            in all pairs.
        accuracy: Change of the validation accuracy; None too where the trials have no seed in common.
        gflops_train: Change for each training image, in 10^9 floating-point operations; below 0: saved.
        trainable_params: Change of the parameters that train.
        duration_s: Change of the seconds of a run; None too where no spread says how far it can be believed.
        next_block: The block after it.
        n_squares: Fours of trials that differ in these two blocks alone.
        interaction: By how much more accuracy changes when it is frozen together with the next block than the two
            effects add up to; None where there is no square.
    """

    block: str
    tuning: str = _FROZEN
    instead: str = _FULL
    n_pairs: int = 0
    besides: frozenset[str] | None = None
    accuracy: Estimate | None = None
    gflops_train: float | None = None
    trainable_params: int | None = None
    duration_s: TimeEffect | None = None
    next_block: str | None = None
    n_squares: int = 0
    interaction: Estimate | None = None

    @property
    def is_of_freezing(self) -> bool:
        """Whether a frozen block is compared with one that trains in full."""
        return (self.tuning, self.instead) == (_FROZEN, _FULL)


_Pair = tuple[Cell, Cell]
_Design = dict[tuple[frozenset[str], Hashable], Cell]


@dataclass(frozen=True, slots=True)
class _Levels:
    """Two levels of a block. Training in full has no part in a set."""

    block: str
    tuning: str
    instead: str

    @property
    def part(self) -> frozenset[str]:
        return self._write(self.tuning)

    @property
    def other_part(self) -> frozenset[str]:
        return self._write(self.instead)

    def _write(self, level: str) -> frozenset[str]:
        if level == _FULL:
            return frozenset()
        return frozenset({self.block if level == _FROZEN else f"{self.block}:{level}"})


def estimate_effects(blocks: Sequence[str], cells: Iterable[Cell]) -> list[BlockEffect]:
    """Estimate the effect of freezing each block, in their order, and after it those of its other levels.

    Args:
        blocks: In network order: neighbours have an interaction.
        cells: Trials that are complete, in any order.

    Returns:
        One of freezing for each block; one of each other two levels of it that a pair of trials differ in.

    Raises:
        ValueError: Two cells are the same trial.
    """
    design: _Design = {}
    for cell in cells:
        if design.setdefault((cell.frozen, cell.setting), cell) is not cell:
            raise ValueError(f"two trials freeze {sorted(cell.frozen)} with {cell.setting}")
    effects = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        effects.append(_estimate_block(design, _Levels(block, _FROZEN, _FULL), after))
        parts = {part for frozen, _ in design for part in frozen}
        tuned = sorted(part.removeprefix(f"{block}:") for part in parts if part.startswith(f"{block}:"))
        contrasts = [*((_FROZEN, each) for each in tuned), *((each, _FULL) for each in tuned), *combinations(tuned, 2)]
        others = [_estimate_block(design, _Levels(block, *contrast), None) for contrast in contrasts]
        effects += [each for each in others if each.n_pairs]
    return effects


def find_supported_effects(effects: Sequence[BlockEffect], level: float = 0.05) -> list[BlockEffect]:
    """Choose the effects on accuracy that differ from 0 even though all blocks were looked at.

    The chance to choose any where there is none is at most `level`: p-values are corrected for their number (Holm).
    """
    known = [(effect, effect.accuracy.p_value) for effect in effects if effect.accuracy is not None]
    tested = [(effect, p_value) for effect, p_value in known if p_value is not None]
    adjusted = adjust_holm([p_value for _, p_value in tested])
    return [effect for (effect, _), p_value in zip(tested, adjusted, strict=True) if p_value < level]


def _estimate_block(design: _Design, levels: _Levels, after: str | None) -> BlockEffect:
    pairs = _find_pairs(design, levels)
    block, tuning, instead = levels.block, levels.tuning, levels.instead
    if not pairs:
        return BlockEffect(block=block, tuning=tuning, instead=instead, next_block=after)
    besides = {frozen.frozen - levels.part for frozen, _ in pairs}
    params = [frozen.trainable_params - training.trainable_params for frozen, training in pairs]
    squares = _find_squares(design, levels, after) if after is not None else []
    return BlockEffect(
        block=block,
        tuning=tuning,
        instead=instead,
        n_pairs=len(pairs),
        besides=besides.pop() if len(besides) == 1 else None,
        accuracy=_estimate([((frozen, 1), (training, -1)) for frozen, training in pairs]),
        gflops_train=fmean(frozen.gflops_train - training.gflops_train for frozen, training in pairs),
        trainable_params=round(fmean(params)),
        duration_s=estimate_time([(frozen.timings, training.timings) for frozen, training in pairs]),
        next_block=after,
        n_squares=len(squares),
        interaction=_estimate(
            [((both, 1), (one, -1), (other, -1), (neither, 1)) for (both, one), (other, neither) in squares]
        ),
    )


def _find_pairs(design: _Design, levels: _Levels) -> list[_Pair]:
    """List the pairs that differ in a block alone: where it does `tuning`, where it does `instead`."""
    part, other = levels.part, levels.other_part
    found = []
    for (frozen, setting), cell in design.items():
        counterpart = design.get(((frozen - part) | other, setting)) if part <= frozen else None
        if counterpart is not None:
            found.append((cell, counterpart))
    return found


def _find_squares(design: _Design, levels: _Levels, other: str) -> list[tuple[_Pair, _Pair]]:
    """List the pairs of a block that have a counterpart where `other` trains instead of being frozen."""
    pairs = _find_pairs(design, levels)
    counterparts = {(training.frozen, training.setting): (cell, training) for cell, training in pairs}
    return [
        (pair, counterparts[frozen - {other}, setting])
        for (frozen, setting), pair in counterparts.items()
        if other in frozen and (frozen - {other}, setting) in counterparts
    ]


def _estimate(combinations: Sequence[Sequence[tuple[Cell, int]]]) -> Estimate | None:
    """Estimate the mean of signed sums of accuracies; None where there is none, or no seed that all trials have."""
    weights: defaultdict[Cell, float] = defaultdict(float)
    for combination in combinations:
        for cell, sign in combination:
            weights[cell] += sign / len(combinations)
    common = set.intersection(*(set(cell.accuracies) for cell in weights)) if weights else set()
    if not common:
        return None
    seeds = sorted(common)
    mean = sum(weight * fmean(cell.accuracies[seed] for seed in seeds) for cell, weight in weights.items())
    values = _combine(weights, seeds)
    if values is None:
        return Estimate(mean=mean, n_seeds=len(seeds))
    squares = sum(weight**2 for weight in weights.values())
    low, high, p_value = _contrast_interval(values, math.sqrt(squares / (2 * len(seeds))))
    most = sum(abs(weight) for weight in weights.values()) / 2
    return Estimate(
        mean=mean, n_seeds=len(seeds), low=max(-most, min(low, mean)), high=min(most, max(high, mean)), p_value=p_value
    )


def _combine(weights: Mapping[Cell, float], seeds: Sequence[int]) -> NDArray[np.float64] | None:
    """Add up what each run predicts rightly: [seeds, images]; None where that is not known of all runs."""
    if not all(seed in cell.correct for cell in weights for seed in seeds):
        return None
    if len({len(cell.correct[seed]) for cell in weights for seed in seeds}) > 1:
        return None
    parts = [weight * np.stack([cell.correct[seed] for seed in seeds]) for cell, weight in weights.items()]
    combined: NDArray[np.float64] = np.sum(parts, axis=0)
    return combined


def _contrast_interval(values: NDArray[np.float64], scale: float) -> tuple[float, float, float]:
    """Return the ends of the 95 % t-interval of the mean, and the p-value of 0.

    Runs with the same seed are compared image by image, so that what makes an image easy or a seed lucky for all
    trials cancels. Two images are added that differ by `scale`, one in each direction: where trials differ on few
    images, or on none, the interval would else be too narrow.

    Args:
        values: The contrast of what is predicted rightly: [seeds, images].
        scale: Standard deviation of its mean over seeds, in units of that of one run's difference from another, were
            all runs independent: 1 for one pair with one seed.

    Source: `uncertainty.accuracy_interval` for the variance; for a pair with one seed the added images are those of
    D. G. Bonett, R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", Journal of Educational and Behavioral Statistics 37 (2012).
    """
    from scipy.special import stdtr, stdtrit

    added = np.broadcast_to(np.array([scale, -scale]), (len(values), 2))
    widened = np.concatenate([values, added], axis=1)
    variance, freedom = variance_of_mean(widened)
    centre, error = float(widened.mean()), math.sqrt(variance)
    half = float(stdtrit(freedom, 0.975)) * error
    return centre - half, centre + half, 2 * float(stdtr(freedom, -abs(centre) / error))
