"""How far the gains of a sweep can be believed, by what its runs predict of each image."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import final

from orchestrator import names
from orchestrator.errors import NotFoundError
from orchestrator.records.trials import TrialRecord
from orchestrator.results.effects import BlockEffects, build_effects
from orchestrator.results.judgement import Judgement
from orchestrator.results.predicted import PredictedTrials
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.tables import Row


@final
class Belief:
    """What the predictions of a sweep's trials support. Everything is computed when it is first asked for."""

    def __init__(self, snapshot: Snapshot, predicted: PredictedTrials) -> None:
        self._snapshot = snapshot
        self.predicted = predicted

    @cached_property
    def judgement(self) -> Judgement | None:
        """What the data can tell apart; None where no trial is complete or one has no predictions that can be read."""
        return self._judge(self._snapshot.candidates)

    @cached_property
    def effects(self) -> BlockEffects:
        """What freezing each block changes."""
        return build_effects(self._snapshot.complete, self._snapshot.experiment.blocks, self.predicted)

    def judge(self, trials: Sequence[TrialRecord]) -> Judgement | None:
        """Return what the data can tell apart of some of the candidates; None likewise."""
        return self.judgement if len(trials) == len(self._snapshot.candidates) else self._judge(trials)

    def require_judgement(self) -> Judgement:
        """Return the judgement.

        Raises:
            NotFoundError: No trial is complete, or one of them has no predictions.
        """
        self._snapshot.require_candidates()
        if self.judgement is None:
            name = self._snapshot.experiment.name
            raise NotFoundError(
                f"some complete trial of {name!r} has no predictions of the same images as the others",
                hint="an older version trained it: `--fresh` trains everything again",
            )
        return self.judgement

    def build_row(self, trial: TrialRecord) -> Row:
        """Return the columns that say how far a trial's gain can be believed; of another than `val_acc` itself too."""
        objective = self._snapshot.objective
        low, high = self.predicted.interval(trial, gain=objective.of_gain) or (None, None)
        judged = self.judgement
        chance = judged.front_probability(trial) if judged else None
        gain = objective.config.gain
        value = objective.value(trial)
        return {
            **({} if gain == names.VAL_ACC else {gain: value if math.isfinite(value) else None}),
            f"{gain}_low": low,
            f"{gain}_high": high,
            f"{gain}_corrected": judged.corrected(trial) if judged else None,
            names.P_FRONT: chance,
            names.SUPPORTED: judged.is_supported(trial) if judged and chance is not None else None,
        }

    def _judge(self, trials: Sequence[TrialRecord]) -> Judgement | None:
        snapshot = self._snapshot
        scores = self.predicted.align(trials, snapshot.objective.of_gain)
        if scores is None:
            return None
        return Judgement(trials, scores, snapshot.objective, snapshot.reference)
