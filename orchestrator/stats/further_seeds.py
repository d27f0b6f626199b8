"""What more seeds would do for a recommendation, worked out before any of them is trained (preposterior analysis).

A recommendation is settled where the chosen trial reaches the confidence, and each cheaper one misses the margin with
as much. Further runs predict the same validation images. So they make what runs add to the noise smaller, and leave
what images add to it as it is: that is why more seeds may settle nothing, however many.

The true values are known by draws, on a scale where noise is normal. What further runs will show moves their means by
the linear rule that is exact for normal draws; what is left unknown keeps the form that the draws have. The variance
between runs is taken as known.

Source: H. Raiffa, R. Schlaifer, "Applied Statistical Decision Theory" (1961), chapter 5, for the preposterior
distribution; M. Goldstein, D. Wooff, "Bayes Linear Statistics" (2007), chapter 3, for the linear rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.advice import Advice, advise, within_probabilities
from orchestrator.stats.evidence import Evidence, Floats, mean_squares
from orchestrator.stats.posterior import Posterior
from orchestrator.stats.scales import Scale

MOST = 8
"""Further seeds of each trial that are considered."""
PROBABLY = 0.8
"""Share of the simulated outcomes that have to be settled."""
_OUTCOMES, _DRAWS = 400, 500
"""Outcomes that are simulated, and draws that judge each: a share is known to 2.5 points (one standard error)."""
_SEED = 36
"""Of the simulation. Another one than that of the draws, which it would repeat."""
_OWN_AT_LEAST = 0.1
"""Share of what one trial's images vary for itself that no number of runs takes away."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """Noise of measured values, on a scale where it is normal.

    Attributes:
        covariance: Of all noise together: [trials, trials].
        of_runs: What of its diagonal comes from the runs, and shrinks as runs are added: [trials].
        runs: Runs of each trial: [trials].
    """

    covariance: Floats
    of_runs: Floats
    runs: NDArray[np.int64]

    @classmethod
    def of(cls, evidence: Evidence, posterior: Posterior) -> "Noise":
        """Measure it: what seeds add, and the chance of a single run, which predictions of several runs show.

        Of a trial with one run neither is known: seeds add what the posterior assumes, and chance as much as it does in
        the trials that have several.
        """
        _, covariance = evidence.stabilise()
        runs = np.array([len(each) for each in evidence.scores], dtype=np.int64)
        several = [mean_squares(each.astype(np.float64))[1] if len(each) > 1 else np.nan for each in evidence.scores]
        typical = float(np.nanmean(several)) if (runs > 1).any() else 0.0
        chance = np.where(runs > 1, several, typical) / (runs * evidence.n_images) * evidence.slope_square
        seeds = evidence.stabilised_seeds
        shared = covariance[0, 1] if len(runs) > 1 else 0.0
        own = np.diag(covariance) - seeds - shared
        return cls(
            covariance=covariance + np.diag(posterior.luck),
            of_runs=seeds + np.minimum(chance, (1 - _OWN_AT_LEAST) * own) + posterior.luck,
            runs=runs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What more seeds would do for a recommendation. Trials are places.

    Attributes:
        open: Trials whose place in the decision is open, by rising cost; empty: it is settled.
        seeds: The fewest further seeds of each of these that would probably settle it; None: `MOST` would not.
        share: Share of simulated outcomes that are settled with so many; where `seeds` is None, with any number.
        rival: Where more seeds would not settle it: the trial whose place most often stays open.
    """

    open: tuple[int, ...] = ()
    seeds: int | None = None
    share: float = 1.0
    rival: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is open."""
        return not self.open


def find_open(values: Floats, costs: Sequence[float], margin: float, confidence: float) -> list[int]:
    """Find the trials whose place in a recommendation is open, by rising cost.

    They are the trials that are cheaper than the chosen one and neither reach the confidence nor miss the margin with
    as much; where no trial reaches it, the fewest besides that are the best wherever the chosen one loses more than the
    margin, but for as rare draws as the confidence leaves. Where there is any, the expected best is one of them: losses
    are measured from it.

    Args:
        values: Draws of the true values, higher is better: [draws, trials].
        costs: Of each trial.
        margin: As of `advise`.
        confidence: Likewise.
    """
    advice = advise(values, costs, margin, confidence)
    within = within_probabilities(values, margin)
    found = {
        place
        for place in range(len(costs))
        if costs[place] < costs[advice.chosen] and max(within[place], 1 - within[place]) < confidence
    }
    if not advice.is_confident:
        found.update(_find_rivals(values, advice, margin, confidence))
    return sorted({*found, advice.expected} if found else (), key=lambda place: (costs[place], place))


def _find_rivals(values: Floats, advice: Advice, margin: float, confidence: float) -> list[int]:
    """List the trials that stand between the chosen one and the confidence: the most often better one first."""
    lost = values.max(axis=1) - values[:, advice.chosen] > margin
    counts = np.bincount(values[lost].argmax(axis=1), minlength=values.shape[1])
    needed = lost.sum() - (len(values) - confidence * len(values))
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    return [int(place) for place in order[(before < needed) & (counts[order] > 0)]]


def look_ahead(
    values: Floats,
    costs: Sequence[float],
    margin: float,
    confidence: float,
    noise: Noise,
    scale: Scale,
) -> Outlook:
    """Find how many more seeds of the open trials would probably settle a recommendation.

    Args:
        values: Draws of the true values, higher is better: [draws, trials].
        costs: Of each trial.
        margin: As of `advise`.
        confidence: Likewise.
        noise: Of the measured values, on the scale.
        scale: On which noise is normal.
    """
    open_ones = find_open(values, costs, margin, confidence)
    if not open_ones:
        return Outlook()
    future = _Future(scale.forward(values), np.asarray(costs, dtype=np.float64), margin, confidence, noise, scale.back)
    share, undecided = future.simulate(open_ones, None)
    if share >= PROBABLY:
        for seeds in range(1, MOST + 1):
            now, _ = future.simulate(open_ones, seeds)
            if now >= PROBABLY:
                return Outlook(open=tuple(open_ones), seeds=seeds, share=now)
        return Outlook(open=tuple(open_ones), share=share)
    chosen = advise(values, costs, margin, confidence).chosen
    best = np.bincount(values.argmax(axis=1), minlength=len(costs))
    others = [place for place in open_ones if place != chosen]
    rival = max(others, key=lambda place: (undecided[place], best[place]))
    return Outlook(open=tuple(open_ones), share=share, rival=rival)


@dataclass(frozen=True, slots=True)
class _Future:
    """Simulates what further runs show. `drawn` are the true values on the scale on which noise is normal."""

    drawn: Floats
    costs: Floats
    margin: float
    confidence: float
    noise: Noise
    back: Callable[[Floats], Floats]

    def simulate(self, places: Sequence[int], seeds: int | None) -> tuple[float, Floats]:
        """Return the share of outcomes that are settled, and of those in which each trial's place is open: [trials].

        Args:
            places: Trials that have more seeds.
            seeds: How many; None: so many that nothing of their runs' noise is left.
        """
        rng = np.random.default_rng(_SEED)
        means, left = self._update(places, seeds, rng)
        chosen = rng.permutation(len(means))
        left = left[chosen[:_DRAWS]].astype(np.float32)
        within = np.array(
            [
                within_probabilities(self.back(mean + left), self.margin)
                for mean in means[chosen[-_OUTCOMES:]].astype(np.float32)
            ]
        )
        cost = np.where(within >= self.confidence, self.costs, np.inf).min(axis=1)
        undecided = (self.costs < cost[:, None]) & (1 - within < self.confidence)
        settled = np.isfinite(cost) & ~undecided.any(axis=1)
        return float(settled.mean()), np.asarray(undecided.mean(axis=0))

    def _update(self, places: Sequence[int], seeds: int | None, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw means given what further runs show, and what is unknown then: both [draws, trials].

        With runs added the noise is N' in the place of N. That is as if besides what is known N^-1 z were observed for
        these trials, with noise of the covariance diag(1 / removed) - N^-1 (by Woodbury's identity).
        """
        runs = self.noise.runs[places]
        share = 1.0 if seeds is None else seeds / (runs + seeds)
        removed = np.maximum(self.noise.of_runs[places] * share, 1e-12)
        inverse = np.linalg.inv(self.noise.covariance)
        observe, added = inverse[places], np.diag(1 / removed) - inverse[np.ix_(places, places)]
        deviation = self.drawn - self.drawn.mean(axis=0)
        covariance = deviation.T @ deviation / len(deviation)
        gain = np.linalg.solve(observe @ covariance @ observe.T + added, observe @ covariance)
        errors = rng.normal(size=(len(deviation), len(places))) @ np.linalg.cholesky(added).T
        moved = (deviation @ observe.T + errors) @ gain
        return self.drawn.mean(axis=0) + moved, deviation - moved
