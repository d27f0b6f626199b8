"""What the data can tell apart: the supported front, the chance of being on the front, and which trial to use."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator.records.trials import TrialRecord
from orchestrator.results.neighbours import Neighbours
from orchestrator.results.objective import Objective
from orchestrator.stats import pareto
from orchestrator.stats.advice import Advice, advise, choose_expected
from orchestrator.stats.comparison import Comparison, adjust_holm, compare, find_better
from orchestrator.stats.evidence import Evidence, Floats, Scores
from orchestrator.stats.further_seeds import Noise, Outlook, look_ahead
from orchestrator.stats.posterior import Posterior, front_probabilities
from orchestrator.stats.scales import Interval
from orchestrator.stats.selection import find_supported_front

DRAWS = 4000
"""Draws of the posterior: a probability is known to 0.8 points (one standard error) or better."""
_AREA_DRAWS = 1000
"""Draws for what has to be worked out one front at a time."""


@final
class Judgement:
    """What follows from the predictions of all candidates together. Everything is computed when it is asked for.

    Args:
        trials: The candidates, by number; at least one.
        scores: Of the gain, for each [runs, images] of the same validation images.
        objective: The gain and the cost.
        reference: Lowest gain and highest cost that the hypervolume is measured from.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        scores: Sequence[Scores],
        objective: Objective,
        reference: tuple[float, float],
    ) -> None:
        self._trials = tuple(trials)
        self._reference = reference
        self._objective = objective
        self._costs = [objective.cost(trial) for trial in trials]
        self._places = {trial.number: place for place, trial in enumerate(trials)}
        self._evidence = Evidence.of(scores, objective.of_gain.scale)
        self._outlooks: dict[tuple[float, float], Outlook] = {}

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

    def find_expected(self, trials: Sequence[TrialRecord]) -> TrialRecord:
        """Find the trial with the highest expected accuracy among some of the candidates; see `choose_expected`."""
        places = [self._places[trial.number] for trial in trials]
        return trials[choose_expected(self._draws[:, places], [self._costs[place] for place in places])]

    def advise(self, margin: float, confidence: float) -> tuple[TrialRecord, Advice]:
        """Choose the fewest parameters that probably lose little; see `advice.advise`, whose places are candidates'."""
        found = advise(self._draws, self._costs, margin, confidence)
        return self._trials[found.chosen], found

    def look_ahead(self, margin: float, confidence: float) -> Outlook:
        """Find what more seeds would do for this advice; see `further_seeds.look_ahead`."""
        asked = margin, confidence
        if asked not in self._outlooks:
            noise = Noise.of(self._evidence, self._posterior)
            self._outlooks[asked] = look_ahead(self._draws, self._costs, *asked, noise, self._evidence.scale)
        return self._outlooks[asked]

    def trial_at(self, place: int) -> TrialRecord:
        """Return the candidate at a place."""
        return self._trials[place]

    @property
    def n_images(self) -> int:
        """Validation images that all candidates predict."""
        return self._evidence.n_images

    @property
    def one_seed(self) -> bool:
        """Whether some candidate has one run: what seeds vary is not known then."""
        return self._evidence.one_seed

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
    def _posterior(self) -> Posterior:
        return Posterior(self._evidence, [trial.frozen.parts for trial in self._trials])

    @cached_property
    def _draws(self) -> Floats:
        return self._posterior.draw(DRAWS)

    @cached_property
    def _front_probabilities(self) -> Floats:
        return front_probabilities(self._draws, self._costs)

    @cached_property
    def _expected(self) -> Floats:
        return np.asarray(self._draws.mean(axis=0))
