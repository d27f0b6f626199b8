"""What freezing each block changes, as a sweep's trials tell it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator import catalogue, names
from orchestrator.blocks import FrozenSet
from orchestrator.config.data import MOST_FOLDS
from orchestrator.errors import NotFoundError
from orchestrator.quantities import column_types
from orchestrator.records.trials import RunRecord, TrialRecord, mean_over_images, results_of
from orchestrator.results.costs import read_timing
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.tables import Row
from orchestrator.stats.effects import BlockEffect, Cell, estimate_effects

EFFECT_TYPES: Final = column_types(catalogue.OF_BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEffects:
    """What freezing each block changes.

    Attributes:
        blocks: An effect of freezing for each block, in network order; after it those of its tunings, where trials have
            some.
        importance: PED-ANOVA's share of each block, in [0, 1]; empty where there is no answer.
        without_importance: Why there is none.
    """

    blocks: tuple[BlockEffect, ...]
    importance: Mapping[str, float]
    without_importance: str | None = None

    @property
    def compared(self) -> tuple[BlockEffect, ...]:
        """Those that have a pair of trials."""
        return tuple(effect for effect in self.blocks if effect.n_pairs)

    @property
    def nested(self) -> bool:
        """Whether each block is frozen besides all before it, as where the trials freeze the first blocks only."""
        return bool(self.compared) and all(self._is_next(effect) for effect in self.compared)

    @property
    def of_freezing(self) -> bool:
        """Whether all are of freezing a block: no trial tunes one otherwise."""
        return all(effect.is_of_freezing for effect in self.blocks)

    def label(self, effect: BlockEffect) -> str:
        """Name an effect: by its block where all are of freezing, else with what the block does and does instead."""
        return effect.block if self.of_freezing else f"{effect.block} {effect.tuning} instead of {effect.instead}"

    def _is_next(self, effect: BlockEffect) -> bool:
        before = set(self.order[: self.order.index(effect.block)])
        return effect.besides is not None and effect.besides & set(self.order) == before

    @property
    def order(self) -> tuple[str, ...]:
        """The blocks, in network order."""
        return tuple(dict.fromkeys(effect.block for effect in self.blocks))

    def rows(self) -> list[Row]:
        """Return one row an effect, in network order, as plain values; None where a value is missing."""
        return [_build_row(effect, self.order, self.find_importance(effect)) for effect in self.blocks]

    def find_importance(self, effect: BlockEffect) -> float | None:
        """Return the share of a block, beside the effect of freezing it; None: there is none, or it stands there."""
        return self.importance.get(effect.block) if effect.is_of_freezing else None

    def notes(self) -> list[str]:
        """Describe in sentences what the numbers are and what they are not."""
        if not self.compared:
            return ["no two complete trials differ in one block alone"]
        seeds = [effect.accuracy.n_seeds for effect in self.compared if effect.accuracy is not None]
        notes = []
        if self.nested:
            what = "also freezing the block when" if self.of_freezing else "a block when"
            notes.append(f"each effect is of {what} all before it are frozen: no others were tried")
        if any(effect.accuracy is None or effect.accuracy.low is None for effect in self.compared):
            notes.append("without the predictions of each run an effect on accuracy has no interval")
        if seeds and max(seeds) == 1:
            notes.append("one seed: the intervals cover other images, another seed may well show something else")
        if not all(effect.duration_s for effect in self.compared):
            notes.append(
                "seconds are stated where at least two pairs of trials or two seeds have runs that trained in one "
                "piece, beside about as many others: else a difference may be the machine's"
            )
        if any(effect.duration_s and effect.duration_s.n_pairs == 1 for effect in self.compared):
            notes.append("intervals of seconds from one pair cover its seeds, not what slowed all runs of a trial")
        if self.without_importance is not None:
            notes.append(self.without_importance)
        return notes


def build_effects(trials: Sequence[TrialRecord], blocks: tuple[str, ...], predicted: PredictedTrials) -> BlockEffects:
    """Estimate what freezing each block changes.

    Args:
        trials: Complete trials with finite objectives, without repetitions, by number. Of those that are the same but
            for their seeds, the last counts.
        blocks: The backbone's blocks.
        predicted: Their predictions. Where those of a trial are missing, its blocks' effects have no interval.
    """
    from orchestrator.search import measure_importance

    latest = {(trial.frozen, trial.hyperparameters): trial for trial in trials}
    cells = _build_cells(latest.values(), predicted)
    try:
        importance, reason = measure_importance(list(latest.values()), blocks), None
    except NotFoundError as error:
        importance, reason = {}, str(error)
    return BlockEffects(blocks=tuple(estimate_effects(blocks, cells)), importance=importance, without_importance=reason)


def _build_cells(trials: Iterable[TrialRecord], predicted: PredictedTrials) -> list[Cell]:
    cells = []
    image_ids: NDArray[np.str_] | None = None
    for trial in trials:
        of_seeds: dict[int, list[RunRecord]] = {}
        for run in trial.runs:
            if run.result is not None:
                of_seeds.setdefault(run.seed, []).append(run)
        if not of_seeds:
            continue
        found = predicted.find(trial)
        right: Sequence[NDArray[np.bool_]] = ()
        if found is not None:
            image_ids = found.image_ids if image_ids is None else image_ids
            scores = found.scores.astype(np.bool_, copy=False)
            right = [*scores] if np.array_equal(found.image_ids, image_ids) else ()
        first = results_of(trial)[0]
        cells.append(
            Cell(
                frozen=frozenset(trial.frozen.parts),
                setting=trial.hyperparameters,
                accuracies={
                    seed: mean
                    for seed, runs in of_seeds.items()
                    if (mean := mean_over_images(runs, names.VAL_ACC)) is not None
                },
                correct=dict(zip(of_seeds, right, strict=True)) if right else {},
                gflops_train=first.gflops_train_per_image,
                trainable_params=first.trainable_params,
                timings={_number(run): timing for run in trial.runs if (timing := read_timing(run)) is not None},
            )
        )
    return cells


def _number(run: RunRecord) -> int:
    """Return a number that the runs of other trials with the same seed and fold have, too."""
    return run.seed if run.fold is None else run.seed * MOST_FOLDS + run.fold


def _build_row(effect: BlockEffect, order: tuple[str, ...], importance: float | None) -> Row:
    accuracy, interaction, seconds = effect.accuracy, effect.interaction, effect.duration_s
    return {
        names.BLOCK: effect.block,
        names.TUNING: effect.tuning,
        names.INSTEAD_OF: effect.instead,
        names.BESIDES: None if effect.besides is None else FrozenSet.of(effect.besides, order=order).key,
        names.N_PAIRS: effect.n_pairs,
        names.N_SEEDS: accuracy and accuracy.n_seeds,
        names.VAL_ACC_EFFECT: accuracy and accuracy.mean,
        names.VAL_ACC_EFFECT_LOW: accuracy and accuracy.low,
        names.VAL_ACC_EFFECT_HIGH: accuracy and accuracy.high,
        names.GFLOPS_TRAIN_EFFECT: effect.gflops_train,
        names.TRAINABLE_PARAMS_EFFECT: effect.trainable_params,
        names.DURATION_S_EFFECT: seconds and seconds.mean,
        names.DURATION_S_EFFECT_LOW: seconds and seconds.low,
        names.DURATION_S_EFFECT_HIGH: seconds and seconds.high,
        names.NEXT_BLOCK: effect.next_block,
        names.N_SQUARES: effect.n_squares,
        names.INTERACTION: interaction and interaction.mean,
        names.INTERACTION_LOW: interaction and interaction.low,
        names.INTERACTION_HIGH: interaction and interaction.high,
        names.PED_ANOVA: importance,
    }
