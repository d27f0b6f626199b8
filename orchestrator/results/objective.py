"""What a sweep is judged by: a gain and a cost of its trials."""

import math
from collections.abc import Sequence
from typing import final

from orchestrator import names
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.records.trials import TrialRecord, mean_over_images
from orchestrator.results.costs import COSTS
from orchestrator.results.predicted import PredictedTrials
from orchestrator.stats.gains import GAINS


@final
class Objective:
    """A gain and a cost, read from trials.

    Args:
        config: Which ones.
        predicted: What the trials' runs predict.

    Attributes:
        config: Which ones.
        of_gain: The gain as predictions have it.
        of_cost: The cost as runs have it.
    """

    def __init__(self, config: ObjectiveConfig, predicted: PredictedTrials) -> None:
        self.config = config
        self.of_gain = GAINS[config.gain]
        self.of_cost = COSTS[config.cost]
        self._predicted = predicted

    def gain(self, trial: TrialRecord) -> float:
        """Return what the front maximises: a loss has its sign changed. NaN where it is not known."""
        return self.of_gain.orient(self.value(trial))

    def cost(self, trial: TrialRecord) -> float:
        """Return what the front minimises; NaN where it is not known, or compares with no other trial."""
        return self.of_cost.read(trial)

    def value(self, trial: TrialRecord) -> float:
        """Return the gain in its own unit, the mean over seeds; NaN where it is not known."""
        if self.config.gain == names.VAL_ACC:
            return math.nan if trial.val_acc is None else trial.val_acc
        if trial.state != "complete":
            return math.nan
        if self.of_gain.in_result:
            value = mean_over_images(trial.runs, self.config.gain)
            return math.nan if value is None else value
        found = self._predicted.find(trial, gain=self.of_gain)
        return math.nan if found is None else self.of_gain.orient(float(found.scores.mean()))

    def describe(self, trial: TrialRecord) -> str:
        """Return a trial's gain and cost in words."""
        cost = f"{self.of_cost.write(self.cost(trial))} {self.of_cost.unit}"
        return f"{self.config.gain} {self.value(trial):.4f}, {cost}"

    @property
    def beats(self) -> str:
        """What a trial that beats another has: `more accuracy and fewer parameters`."""
        return f"{self.of_gain.more} and {self.of_cost.less}"

    @property
    def best_measured(self) -> str:
        """What the best measured trial has: `highest measured accuracy`."""
        return f"{self.of_gain.best} measured {self.of_gain.words}"

    @property
    def unit(self) -> str:
        """Unit of what `amount` writes."""
        return "points" if self.of_gain.is_share else "nats"

    def amount(self, difference: float) -> str:
        """Write a difference of gains, in points where gains are shares."""
        return f"{100 * difference + 0.0:.1f}" if self.of_gain.is_share else f"{difference + 0.0:.3f}"

    def write_loss(self, margin: float) -> str:
        """Write what may be lost of the gain: `1 point`, `0.5 points`, `0.02 nats`."""
        amount = 100 * margin if self.of_gain.is_share else margin
        return f"{amount:.3g} {self.unit.removesuffix('s') if math.isclose(amount, 1) else self.unit}"

    def explain_left_out(self, trials: Sequence[TrialRecord]) -> list[str]:
        """Explain in sentences which of some complete trials have no such gain or cost, and why."""
        without = [trial for trial in trials if not math.isfinite(self.value(trial))]
        sentences = []
        if without and not self.of_gain.in_result:
            sentences.append(
                f"{_list(without)} kept no predictions that can be read, so that {self.config.gain} is not known"
            )
        untimed = [trial for trial in trials if not math.isfinite(self.cost(trial))]
        if untimed and self.config.cost == names.ENERGY_WH:
            sentences.append(
                f"{_list(untimed)} have no energy_wh: it is known of a run that trained here in one piece, on a GPU "
                "that counts it (NVIDIA's from Volta on, not a slice of one)"
            )
        elif untimed and self.of_cost.shared_by == "load":
            sentences.append(
                f"{_list(untimed)} did not train here in one piece (stopped and gone on with, answered from an earlier "
                f"training, or by an older version), so that {self.config.cost} compares with no other"
            )
        return sentences


def _list(trials: Sequence[TrialRecord]) -> str:
    numbers = ", ".join(str(trial.number) for trial in trials)
    return f"trial {numbers}" if len(trials) == 1 else f"trials {numbers}"
