"""Do the statistics of a sweep keep what they promise? Many simulated sweeps whose true accuracies are known.

What is decided and stated by the data alone is set beside what an oracle decides that knows the world of the sweep
(`benchmarks.worlds`): the gap to the possible.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds import PARAMS, SETS, WORLDS, Floats, Oracle
from orchestrator.stats.advice import advise, choose_expected
from orchestrator.stats.comparison import find_better
from orchestrator.stats.evidence import Evidence
from orchestrator.stats.pareto import pareto_front
from orchestrator.stats.posterior import Posterior, front_probabilities
from orchestrator.stats.selection import find_supported_front
from orchestrator.stats.uncertainty import accuracy_interval

MARGIN, CONFIDENCE = 0.01, 0.8
"""Of the recommendation."""
BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
"""Ends of the classes of `p_front` in which predicted and true shares are compared."""
_ROUNDING = 1e-9
"""Sums of true losses are exact up to this: some come to the margin exactly."""
_DRAWS = 1000
_RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one simulated sweep said, against the truth; a mean over sweeps likewise. Accuracies and losses in points.

    A loss is the true accuracy of the truly best trial minus that of the chosen one.
    """

    covered: float
    """Share of trials whose interval holds the true accuracy."""
    covered_network: float
    """Share of trials whose interval holds the accuracy of these very networks on all images."""
    covered_posterior: float
    """Share of trials of which the middle 95 % of the draws hold the true accuracy."""
    supported: float
    """Trials on the supported front."""
    one_member: float
    """Whether it has one."""
    naive: float
    """Trials on the front of measured accuracies."""
    best_loss: float
    """Loss of the trial with the highest expected accuracy."""
    measured_loss: float
    """Of the one with the highest measured accuracy."""
    supported_loss: float
    """Of the most accurate one of the supported front."""
    oracle_loss: float
    """Of the one that the oracle expects most of."""
    recommended_loss: float
    within: float
    """Whether the recommended trial loses at most the margin."""
    stated: float
    """The probability that was stated for it."""
    oracle_recommended_loss: float
    oracle_within: float
    oracle_stated: float
    best_bias: float
    """Expected minus true accuracy of the trial with the highest expected one."""
    raw_bias: float
    """Measured minus true accuracy of the trial with the highest measured one."""
    corrected_bias: float
    """The same for its expected accuracy."""
    bootstrap_bias: float
    """The same for its accuracy corrected by the bootstrap."""
    oracle_bias: float
    """Expected minus true accuracy of the trial that the oracle expects most of."""


def judge(correct: NDArray[np.bool_], truth: Floats, of_runs: Floats, oracle: Oracle, seed: int) -> tuple[Outcome, Floats]:
    """Compute all that a sweep states, and compare it with the truth: the outcome, and `p_front` of each trial."""
    trials = range(len(truth))
    evidence = Evidence.of(list(correct))
    measured = evidence.accuracy
    intervals = np.array([accuracy_interval(each) for each in correct])
    drawn = Posterior(evidence, [each.blocks for each in SETS]).draw(_DRAWS, seed)
    known = oracle.draw(measured)
    expected = drawn.mean(axis=0)
    highest = min(trials, key=lambda trial: (-measured[trial], PARAMS[trial]))
    supported = find_supported_front(find_better(evidence, PARAMS), PARAMS, measured.tolist())
    ours, theirs = advise(drawn, PARAMS, MARGIN, CONFIDENCE), advise(known, PARAMS, MARGIN + _ROUNDING, CONFIDENCE)
    of_oracle = choose_expected(known, PARAMS)
    lost = 100 * (truth.max() - truth)
    outcome = Outcome(
        covered=_share_within(truth, intervals),
        covered_network=_share_within(of_runs.mean(axis=1), intervals),
        covered_posterior=_share_within(truth, np.quantile(drawn, [0.025, 0.975], axis=0).T),
        supported=len(supported),
        one_member=float(len(supported) == 1),
        naive=len(pareto_front(trials, gain=measured.__getitem__, cost=PARAMS.__getitem__)),
        best_loss=float(lost[ours.expected]),
        measured_loss=float(lost[highest]),
        supported_loss=float(lost[max(supported, key=measured.__getitem__)]),
        oracle_loss=float(lost[of_oracle]),
        recommended_loss=float(lost[ours.chosen]),
        within=float(lost[ours.chosen] <= 100 * (MARGIN + _ROUNDING)),
        stated=ours.probability,
        oracle_recommended_loss=float(lost[theirs.chosen]),
        oracle_within=float(lost[theirs.chosen] <= 100 * (MARGIN + _ROUNDING)),
        oracle_stated=theirs.probability,
        best_bias=100 * float(expected[ours.expected] - truth[ours.expected]),
        raw_bias=100 * float(measured[highest] - truth[highest]),
        corrected_bias=100 * float(expected[highest] - truth[highest]),
        bootstrap_bias=100 * float(_correct_by_bootstrap(correct, seed) - truth[highest]),
        oracle_bias=100 * float(known.mean(axis=0)[of_oracle] - truth[of_oracle]),
    )
    return outcome, front_probabilities(drawn, PARAMS)


def _share_within(values: NDArray[np.float64], intervals: NDArray[np.float64]) -> float:
    return float(((intervals[:, 0] <= values) & (values <= intervals[:, 1])).mean())


def _correct_by_bootstrap(correct: NDArray[np.bool_], seed: int) -> float:
    """Choose the best on resampled images, measure it on those left out; the mean over resamples.

    Source: I. Tsamardinos, E. Greasidou, G. Borboudakis, "Bootstrapping the out-of-sample predictions for efficient
    and accurate cross-validation", Machine Learning 107 (2018).
    """
    rng = np.random.default_rng(seed)
    of_images = correct.mean(axis=1)
    images = of_images.shape[1]
    counts = rng.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
    chosen = (of_images @ counts.T).argmax(axis=0)
    left_out = counts == 0
    return float(((of_images[chosen] * left_out).sum(axis=1) / left_out.sum(axis=1)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Simulated sweeps of one kind."""

    world: str
    seeds: int
    images: int
    of_seeds: float
    sweeps: int

    def run(self) -> "Summary":
        """Simulate them, each with a truth of its own."""
        world = WORLDS[self.world]
        oracle = Oracle(world, self.seeds, self.images, self.of_seeds)
        outcomes, p_front, on_front = [], [], []
        for number in range(self.sweeps):
            rng = np.random.default_rng([number, self.seeds, self.images, list(WORLDS).index(self.world)])
            truth = world.truths[rng.integers(len(world.truths))]
            correct, of_runs = world.draw_sweep(truth, self.seeds, self.images, self.of_seeds, rng)
            outcome, chances = judge(correct, truth, of_runs, oracle, number)
            outcomes.append(outcome)
            p_front.append(chances)
            on_front.append(front_probabilities(truth[None], PARAMS) > 0)
        means = {each.name: float(np.mean([getattr(one, each.name) for one in outcomes])) for each in fields(Outcome)}
        curve = tuple(_build_curve(np.array(p_front), np.array(on_front)))
        return Summary(case=self, mean=Outcome(**means), curve=curve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the sweeps of a case came to."""

    case: Case
    mean: Outcome
    """Means over the sweeps."""
    curve: tuple[tuple[float, float, int], ...]
    """For each class of `p_front`: its mean, the share truly on the front, and their number."""


def list_cases(seeds: Sequence[int], of_seeds: float, sweeps: int) -> list[Case]:
    """List the cases: each world with 133 images, and two of them with three seeds and fewer or more images."""
    usual = [(world, each, 133) for world in WORLDS for each in seeds]
    others = [(world, 3, images) for world in ("smooth trade-off", "one surprising winner") for images in (50, 1000)]
    return [
        Case(world=world, seeds=each, images=images, of_seeds=of_seeds, sweeps=sweeps)
        for world, each, images in [*usual, *others]
    ]


def _build_curve(p_front: Floats, on_front: NDArray[np.bool_]) -> Iterator[tuple[float, float, int]]:
    for low, high in pairwise(BINS):
        inside = (p_front >= low) & ((p_front < high) | (high == 1.0))
        if inside.any():
            yield float(p_front[inside].mean()), float(on_front[inside].mean()), int(inside.sum())


_DECISIONS = {
    "lost by best()": ("best_loss", "{:.2f}"),
    "by the best measured": ("measured_loss", "{:.2f}"),
    "by the best supported": ("supported_loss", "{:.2f}"),
    "by the oracle": ("oracle_loss", "{:.2f}"),
    "recommended within 1 point": ("within", "{:.1%}"),
    "as stated": ("stated", "{:.1%}"),
    "the oracle's": ("oracle_within", "{:.1%}"),
    "as it states": ("oracle_stated", "{:.1%}"),
    "lost by recommended": ("recommended_loss", "{:.2f}"),
    "by the oracle's": ("oracle_recommended_loss", "{:.2f}"),
}
_STATEMENTS = {
    "interval holds the truth": ("covered", "{:.1%}"),
    "that of these networks": ("covered_network", "{:.1%}"),
    "the draws hold the truth": ("covered_posterior", "{:.1%}"),
    "one supported": ("one_member", "{:.1%}"),
    "supported": ("supported", "{:.2f}"),
    "naive": ("naive", "{:.2f}"),
    "bias of best()": ("best_bias", "{:+.2f}"),
    "the oracle's": ("oracle_bias", "{:+.2f}"),
    "of the best measured": ("raw_bias", "{:+.2f}"),
    "corrected": ("corrected_bias", "{:+.2f}"),
    "bootstrap": ("bootstrap_bias", "{:+.2f}"),
}


def format_tables(summaries: Sequence[Summary]) -> str:
    """Write the results as Markdown: what choosing loses, what is stated, `p_front`."""
    curves = [(*_name(each), ", ".join(f"{said:.2f}: {true:.2f}" for said, true, _ in each.curve)) for each in summaries]
    head = ("world", "images", "seeds")
    tables = [
        _table((*head, *columns), [(*_name(each), *_format(each.mean, columns)) for each in summaries])
        for columns in (_DECISIONS, _STATEMENTS)
    ]
    return "\n\n".join([*tables, _table((*head, "said: truly on the front"), curves)])


def _name(summary: Summary) -> tuple[str, str, str]:
    return summary.case.world, str(summary.case.images), str(summary.case.seeds)


def _format(mean: Outcome, columns: dict[str, tuple[str, str]]) -> Iterator[str]:
    return (form.format(getattr(mean, name)) for name, form in columns.values())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def main(words: list[str] | None = None) -> None:
    """Simulate all cases on all cores, print the tables and keep the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps of each case (1000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3], help="seeds of each trial (1 3)")
    parser.add_argument("--of-seeds", type=float, default=0.1, help="spread of seeds on the probit scale (0.1)")
    parser.add_argument("--json", type=Path, default=Path("build/calibration.json"), help="where the numbers go")
    given = parser.parse_args(words)
    cases = list_cases(given.seeds, given.of_seeds, given.sweeps)
    with ProcessPoolExecutor(max_workers=min(len(cases), os.cpu_count() or 1)) as pool:
        summaries = list(pool.map(Case.run, cases))
    print(format_tables(summaries))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps([asdict(each) for each in summaries], indent=1) + "\n")


if __name__ == "__main__":
    main()
