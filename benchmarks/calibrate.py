"""Do the statistics of a sweep keep what they promise? Many simulated sweeps whose true accuracies are known.

Three worlds, each with the 32 frozen sets of a ResNet18. A prediction is right where a normal score lies below a
threshold: the score is the difficulty of the image, alike for all trials or for one of them, plus chance; seeds move
the threshold. So the true accuracy of each trial, over all images and all seeds, is known.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.stats.comparison import find_better
from orchestrator.stats.evidence import Evidence
from orchestrator.stats.pareto import pareto_front
from orchestrator.stats.posterior import Posterior, front_probabilities
from orchestrator.stats.selection import choose_cheapest_within, find_supported_front
from orchestrator.stats.uncertainty import accuracy_interval

SETS = all_sets(find_backbone("resnet18").blocks)
_BLOCK_PARAMS = {"stem": 9_536, "layer1": 147_968, "layer2": 525_568, "layer3": 2_099_712, "layer4": 8_393_728}
PARAMS = [float(11_178_051 - sum(_BLOCK_PARAMS[block] for block in each.blocks)) for each in SETS]
_COSTS = {"stem": 0.001, "layer1": 0.003, "layer2": 0.006, "layer3": 0.015, "layer4": 0.03}
_SURPRISE = FrozenSet.of(("layer2", "layer3"), order=find_backbone("resnet18").blocks)
WORLDS = ("all equal", "smooth trade-off", "one surprising winner")
BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
"""Ends of the classes of `p_front` in which predicted and true shares are compared."""
_DRAWS = 1000
_RESAMPLES = 200


def true_accuracies(world: str) -> NDArray[np.float64]:
    """True accuracies of the 32 frozen sets in a world, [32]."""
    if world == "all equal":
        return np.full(len(SETS), 0.93)
    if world == "smooth trade-off":
        return np.array([0.95 - sum(_COSTS[block] for block in each.blocks) for each in SETS])
    return np.array([0.90 + 0.05 * (each == _SURPRISE) for each in SETS])


def draw_sweep(
    truth: NDArray[np.float64], seeds: int, images: int, of_seeds: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Draw which images are predicted rightly, [trials, seeds, images], and the accuracy of each run on all images."""
    shape = (len(truth), seeds, images)
    common = rng.normal(size=(1, 1, images)) * math.sqrt(0.5)
    own = rng.normal(size=(len(truth), 1, images)) * math.sqrt(0.2)
    chance = rng.normal(size=shape) * math.sqrt(0.3)
    skill = rng.normal(size=(len(truth), seeds, 1)) * of_seeds
    threshold = ndtri(truth)[:, None, None] * math.sqrt(1 + of_seeds**2)
    return common + own + chance + skill < threshold, ndtr(threshold - skill)[:, :, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one simulated sweep said, against the truth. Accuracies and losses in points."""

    covered: float
    """Share of trials whose interval holds the true accuracy."""
    covered_network: float
    """Share of trials whose interval holds the accuracy of these very networks on all images."""
    supported: int
    naive: int
    """Trials on the front of measured accuracies."""
    raw_bias: float
    """Measured minus true accuracy of the trial with the highest measured one."""
    corrected_bias: float
    """The same for its expected accuracy."""
    bootstrap_bias: float
    """The same for its accuracy corrected by the bootstrap."""
    recommended_loss: float
    """True accuracy of the truly best trial minus that of the recommended one."""
    supported_loss: float
    """The same for the most accurate trial of the supported front."""
    point_loss: float
    """The same for the trial with the highest measured accuracy."""
    p_front: tuple[float, ...]


def judge(correct: NDArray[np.bool_], truth: NDArray[np.float64], of_runs: NDArray[np.float64], seed: int) -> Outcome:
    """Compute all that a sweep states, and compare it with the truth."""
    trials = range(len(truth))
    evidence = Evidence.of(list(correct))
    measured = evidence.means
    intervals = np.array([accuracy_interval(each) for each in correct])
    drawn = Posterior(evidence, [each.blocks for each in SETS]).draw(_DRAWS, seed)
    expected = drawn.mean(axis=0)
    best = min(trials, key=lambda trial: (-measured[trial], PARAMS[trial]))
    supported = find_supported_front(find_better(evidence, PARAMS), PARAMS, measured.tolist())
    chosen = max(supported, key=measured.__getitem__)
    errors, _ = evidence.standard_errors()
    recommended = choose_cheapest_within(evidence.differences[best].tolist(), errors[best].tolist(), PARAMS)
    networks = of_runs.mean(axis=1)
    highest = truth.max()
    return Outcome(
        covered=_share_within(truth, intervals),
        covered_network=_share_within(networks, intervals),
        supported=len(supported),
        naive=len(pareto_front(trials, gain=measured.__getitem__, cost=PARAMS.__getitem__)),
        raw_bias=100 * float(measured[best] - truth[best]),
        corrected_bias=100 * float(expected[best] - truth[best]),
        bootstrap_bias=100 * float(_correct_by_bootstrap(correct, seed) - truth[best]),
        recommended_loss=100 * float(highest - truth[recommended]),
        supported_loss=100 * float(highest - truth[chosen]),
        point_loss=100 * float(highest - truth[best]),
        p_front=tuple(front_probabilities(drawn, PARAMS).tolist()),
    )


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
        """Simulate them."""
        truth = true_accuracies(self.world)
        outcomes = []
        for number in range(self.sweeps):
            rng = np.random.default_rng([number, self.seeds, WORLDS.index(self.world)])
            correct, of_runs = draw_sweep(truth, self.seeds, self.images, self.of_seeds, rng)
            outcomes.append(judge(correct, truth, of_runs, number))
        return summarise(self, truth, outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Means over the sweeps of a case; see `Outcome`."""

    case: Case
    covered: float
    covered_network: float
    supported: float
    one_member: float
    """Share of sweeps whose supported front has one member."""
    naive: float
    raw_bias: float
    corrected_bias: float
    bootstrap_bias: float
    recommended_close: float
    """Share of sweeps whose recommended trial is truly within 1 point of the best."""
    recommended_loss: float
    supported_loss: float
    point_loss: float
    curve: tuple[tuple[float, float, int], ...]
    """For each class of `p_front`: its mean, the share truly on the front, and their number."""


def summarise(case: Case, truth: NDArray[np.float64], outcomes: Sequence[Outcome]) -> Summary:
    """Sum the sweeps of a case up."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(each, name) for each in outcomes]))

    return Summary(
        case=case,
        covered=mean("covered"),
        covered_network=mean("covered_network"),
        supported=mean("supported"),
        one_member=float(np.mean([each.supported == 1 for each in outcomes])),
        naive=mean("naive"),
        raw_bias=mean("raw_bias"),
        corrected_bias=mean("corrected_bias"),
        bootstrap_bias=mean("bootstrap_bias"),
        recommended_close=float(np.mean([each.recommended_loss <= 1 for each in outcomes])),
        recommended_loss=mean("recommended_loss"),
        supported_loss=mean("supported_loss"),
        point_loss=mean("point_loss"),
        curve=tuple(_build_curve(truth, np.array([each.p_front for each in outcomes]))),
    )


def _build_curve(truth: NDArray[np.float64], p_front: NDArray[np.float64]) -> Iterator[tuple[float, float, int]]:
    true_front = front_probabilities(truth[None], PARAMS) > 0
    on_front = np.broadcast_to(true_front, p_front.shape)
    for low, high in pairwise(BINS):
        inside = (p_front >= low) & ((p_front < high) | (high == 1.0))
        if inside.any():
            yield float(p_front[inside].mean()), float(on_front[inside].mean()), int(inside.sum())


def format_tables(summaries: Sequence[Summary]) -> str:
    """Write the results as Markdown: intervals and fronts, the winner's accuracy, what choosing loses, `p_front`."""
    cases = [(each, (each.case.world, str(each.case.seeds))) for each in summaries]
    intervals = [
        (*case, f"{each.covered:.1%}", f"{each.covered_network:.1%}", f"{each.one_member:.1%}",
         f"{each.supported:.2f}", f"{each.naive:.2f}")
        for each, case in cases
    ]  # fmt: skip
    biases = [
        (*case, f"{each.raw_bias:+.2f}", f"{each.corrected_bias:+.2f}", f"{each.bootstrap_bias:+.2f}")
        for each, case in cases
    ]
    losses = [
        (*case, f"{each.recommended_close:.0%}", f"{each.recommended_loss:.2f}", f"{each.supported_loss:.2f}",
         f"{each.point_loss:.2f}")
        for each, case in cases
    ]  # fmt: skip
    curves = [(*case, ", ".join(f"{said:.2f}: {true:.2f}" for said, true, _ in each.curve)) for each, case in cases]
    of_intervals = (
        "interval holds the truth",
        "holds that of these networks",
        "one supported",
        "supported",
        "naive",
    )
    of_losses = (
        "recommended within 1 point",
        "lost by recommended",
        "by the best supported",
        "by the best measured",
    )
    return "\n\n".join(
        [
            _table(("world", "seeds", *of_intervals), intervals),
            _table(("world", "seeds", "as measured", "corrected", "bootstrap"), biases),
            _table(("world", "seeds", *of_losses), losses),
            _table(("world", "seeds", "said: truly on the front"), curves),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def main(words: list[str] | None = None) -> None:
    """Simulate all cases on all cores, print the tables and keep the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps of each case (1000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 5], help="seeds of each trial (1 3 5)")
    parser.add_argument("--images", type=int, default=133, help="validation images (133)")
    parser.add_argument("--of-seeds", type=float, default=0.1, help="spread of seeds on the probit scale (0.1)")
    parser.add_argument("--json", type=Path, default=Path("build/calibration.json"), help="where the numbers go")
    given = parser.parse_args(words)
    cases = [
        Case(world=world, seeds=seeds, images=given.images, of_seeds=given.of_seeds, sweeps=given.sweeps)
        for world in WORLDS
        for seeds in given.seeds
    ]
    with ProcessPoolExecutor(max_workers=min(len(cases), os.cpu_count() or 1)) as pool:
        summaries = list(pool.map(Case.run, cases))
    print(format_tables(summaries))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps([asdict(each) for each in summaries], indent=1) + "\n")


if __name__ == "__main__":
    main()
