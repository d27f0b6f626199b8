"""What the data can tell apart: the supported front, the chance of being on the front, and a recommendation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator import names
from orchestrator.errors import ConfigError
from orchestrator.records.labels import TrialLabel, label_trials
from orchestrator.records.trials import TrialRecord, results_of
from orchestrator.results.neighbours import Neighbours
from orchestrator.results.objective import Objective
from orchestrator.stats import pareto
from orchestrator.stats.comparison import Comparison, adjust_holm, compare, find_better
from orchestrator.stats.evidence import Evidence, Floats, Scores
from orchestrator.stats.posterior import Posterior, front_probabilities
from orchestrator.stats.scales import Interval
from orchestrator.stats.selection import choose_cheapest_within, find_supported_front

DRAWS = 4000
"""Draws of the posterior: a probability is known to 0.8 points (one standard error) or better."""
_AREA_DRAWS = 1000
"""Draws for what has to be worked out one front at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The trial with the fewest parameters that is close enough to the highest measured.

    Attributes:
        number: Its number.
        frozen: Key of its frozen set.
        label: Its name: the frozen set, and the values of whatever else varies in the sweep.
        highest_number: Number of the trial with the highest measured `val_acc`.
        comparison: How much more accurate that one is; all zero where it is the trial itself.
        margin: Accuracy that may be lost, in [0, 1]; None: one standard error of the paired difference.
        sentence: The same in words and numbers.
        basis: What it rests on, in words: the images and whether other seeds are covered.

    Example:
        >>> from orchestrator import load_sweep
        >>> recommendation = load_sweep("demo").recommend(margin=1.0)  # whatever is lost
        >>> recommendation.frozen, recommendation.sentence.split(" and ")[0]
        ('stem+layer1', 'freezing stem+layer1 trains 98.6 % of the parameters')
    """

    number: int
    frozen: str
    label: str
    highest_number: int
    comparison: Comparison
    margin: float | None
    sentence: str
    basis: str


@final
class Judgement:
    """What follows from the predictions of all candidates together. Everything is computed when it is asked for.

    Args:
        trials: The candidates, by number; at least one.
        scores: Of the gain, for each [runs, images] of the same validation images.
        objective: The gain and the cost.
        reference: Lowest gain and highest cost that the hypervolume is measured from.
        labels: Names of the trials, by number; None: their frozen sets.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        scores: Sequence[Scores],
        objective: Objective,
        reference: tuple[float, float],
        labels: Mapping[int, TrialLabel] | None = None,
    ) -> None:
        self._trials = tuple(trials)
        self._reference = reference
        self._objective = objective
        self._costs = [objective.cost(trial) for trial in trials]
        self._places = {trial.number: place for place, trial in enumerate(trials)}
        self._evidence = Evidence.of(scores, objective.of_gain.scale)
        self._labels = label_trials(self._trials, ()) if labels is None else labels

    @cached_property
    def supported(self) -> tuple[TrialRecord, ...]:
        """The supported front by rising cost; see `selection.find_supported_front`."""
        found = find_supported_front(self._better, self._costs, self._evidence.shares.tolist())
        return tuple(self._trials[place] for place in found)

    @cached_property
    def _better(self) -> NDArray[np.bool_]:
        return find_better(self._evidence, self._costs)

    def find_deputies(self, trial: TrialRecord) -> list[TrialRecord]:
        """List the members of the supported front that stand for a trial which is none: it is not shown to be better.

        Empty for a member.
        """
        place = self._places[trial.number]
        if self.is_supported(trial):
            return []
        return [
            member
            for member in self.supported
            if self._costs[self._places[member.number]] <= self._costs[place]
            and not self._better[place, self._places[member.number]]
        ]

    def compare(self, trial: TrialRecord, other: TrialRecord) -> Comparison:
        """Compare two candidates by the images that both predict; see `comparison.compare`."""
        return compare(self._evidence, self._places[trial.number], self._places[other.number])

    def is_supported(self, trial: TrialRecord) -> bool:
        """Return whether a trial is on the supported front."""
        return trial.number in {each.number for each in self.supported}

    def front_probability(self, trial: TrialRecord) -> float | None:
        """Return the probability that a candidate is on the front of true accuracies; None for another trial."""
        place = self._places.get(trial.number)
        return None if place is None else float(self._front_probabilities[place])

    def corrected(self, trial: TrialRecord) -> float | None:
        """Return a candidate's expected gain, which choosing the best does not inflate; None for another trial."""
        place = self._places.get(trial.number)
        return None if place is None else self._objective.of_gain.orient(float(self._expected[place]))

    def neighbours(self, front: Sequence[TrialRecord]) -> list[Neighbours]:
        """Compare each trial of a front with the next.

        Args:
            front: Candidates, by rising cost.
        """
        pairs = list(pairwise(front))
        found = [self.compare(other, cheaper) for cheaper, other in pairs]
        adjusted = adjust_holm([each.p_value for each in found])
        return [
            Neighbours(cheaper=cheaper, other=other, comparison=comparison, adjusted_p_value=p_value)
            for (cheaper, other), comparison, p_value in zip(pairs, found, adjusted, strict=True)
        ]

    def recommend(self, margin: float | None = None) -> Recommendation:
        """Recommend the fewest parameters that are within one standard error, or `margin`, of the highest measured.

        Raises:
            ConfigError: `margin` is not in [0, 1].
        """
        if margin is not None and not 0 <= margin <= 1:
            raise ConfigError(
                f"margin is a fraction in [0, 1], not {margin:g}",
                hint=f"for {margin:g} points say {margin / 100:g}" if 1 < margin <= 100 else None,
            )
        accuracy = self._evidence.means
        places = range(len(self._trials))
        best = min(places, key=lambda place: (-accuracy[place], self._costs[place], place))
        losses = self._evidence.differences[best].tolist()
        errors, _ = self._evidence.standard_errors()
        allowed = errors[best].tolist() if margin is None else [margin] * len(places)
        chosen = choose_cheapest_within(losses, allowed, self._costs)
        same = Comparison(difference=0.0, low=0.0, high=0.0, standard_error=0.0, p_value=1.0)
        comparison = same if chosen == best else compare(self._evidence, best, chosen)
        trial, top = self._trials[chosen], self._trials[best]
        return Recommendation(
            number=trial.number,
            frozen=trial.frozen.key,
            label=str(self._labels[trial.number]),
            highest_number=top.number,
            comparison=comparison,
            margin=margin,
            sentence=self._say(trial, top, comparison, margin),
            basis=self._say_basis(),
        )

    @cached_property
    def hypervolume_interval(self) -> Interval:
        """95 % interval of the hypervolume of the true front, gains times decades of cost."""
        volumes = [
            pareto.hypervolume(zip(drawn.tolist(), self._costs, strict=True), reference=self._reference)
            for drawn in self._draws[:_AREA_DRAWS]
        ]
        low, high = np.quantile(volumes, [0.025, 0.975])
        return float(low), float(high)

    @cached_property
    def knee_probabilities(self) -> dict[int, float]:
        """Probability that each candidate is the knee of the true front, by number; those that never are left out."""
        counts: dict[int, int] = {}
        drawn = self._draws[:_AREA_DRAWS]
        for accuracies in drawn:
            place = pareto.knee(range(len(accuracies)), gain=accuracies.__getitem__, cost=self._costs.__getitem__)
            if place is not None:
                counts[self._trials[place].number] = counts.get(self._trials[place].number, 0) + 1
        return {number: count / len(drawn) for number, count in sorted(counts.items(), key=lambda item: -item[1])}

    @cached_property
    def _draws(self) -> Floats:
        frozen = [trial.frozen.parts for trial in self._trials]
        return Posterior(self._evidence, frozen).draw(DRAWS)

    @cached_property
    def _front_probabilities(self) -> Floats:
        return front_probabilities(self._draws, self._costs)

    @cached_property
    def _expected(self) -> Floats:
        return np.asarray(self._draws.mean(axis=0))

    def _say(self, trial: TrialRecord, highest: TrialRecord, comparison: Comparison, margin: float | None) -> str:
        objective = self._objective
        amount, less = objective.amount, objective.of_cost.less
        start = f"{self._labels[trial.number].freezing} {self._say_cost(trial)}"
        rule = "one standard error" if margin is None else f"{amount(margin)} {objective.unit}"
        if trial.number == highest.number:
            return f"{start} and has the {objective.best_measured}; none with {less} is within {rule} of it"
        said = (
            f"{start} and is {amount(comparison.difference)} {objective.unit} ({amount(comparison.low)} to "
            f"{amount(comparison.high)}) {objective.behind}, {self._labels[highest.number].freezing}"
        )
        if comparison.is_told_apart:
            return f"{said}; that is a real loss, which {rule} allows"
        return f"{said}; these data cannot tell them apart"

    def _say_cost(self, trial: TrialRecord) -> str:
        results = results_of(trial)
        if results and self._objective.config.cost == names.TRAINABLE_PARAMS:
            return f"trains {results[0].trainable_pct:.3g} % of the parameters"
        return self._objective.of_cost.freezing.format(self._objective.cost(trial))

    def _say_basis(self) -> str:
        images = f"{self._evidence.n_images} validation images"
        if self._evidence.one_seed:
            return f"{images} and one seed: another seed may differ by more"
        return f"{images} and the seeds of each trial"
