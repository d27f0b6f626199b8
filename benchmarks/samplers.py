"""What samplers find of a space of frozen sets that is too large to be visited whole.

Each method trains sets of simulated worlds, or of a recorded sweep, one at a time. A suggestion that repeats an earlier
one is answered from it and not counted; after ten in a row a set is drawn instead.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution

from benchmarks.replay import RECORDING
from benchmarks.sampler_worlds import FAMILIES, World, draw_world, read_world
from orchestrator.search.block_sampler import BlockSampler
from orchestrator.search.samplers import experimental
from orchestrator.stats.evidence import Evidence
from orchestrator.stats.pareto import hypervolume
from orchestrator.stats.posterior import Posterior

IMAGES: Final = (133, 400, 1000)
"""Validation images of the simulated worlds, in turn."""
BUDGETS: Final = (16, 32, 64)
RECORDED_BUDGETS: Final = (8, 16, 24)
RECORDED: Final = "Beans, recorded"
_DRAWS = 500
_MOST_REPEATS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a method has after some trainings."""

    family: str
    method: str
    repetition: int
    trials: int
    measured_loss: float
    """True accuracy of the best set of the space minus that of the highest measured one, in points."""
    expected_loss: float
    """The same for the highest expected accuracy by the posterior of all that the method trained."""
    hypervolume: float
    """Share of the true front's hypervolume that the trained sets reach."""


def sample(world: World, sampler: optuna.samplers.BaseSampler, budget: int, seed: int) -> list[int]:
    """Train as many sets as a sampler proposes, one boolean a block; returns their places, in order."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    names = {f"freeze_{block}": block for block in world.blocks}
    places = {frozenset(each.blocks): place for place, each in enumerate(world.sets)}
    rng = np.random.default_rng(seed)
    visited: list[int] = []
    repeats = 0
    while len(visited) < budget:
        if repeats == _MOST_REPEATS:
            left = world.sets[int(rng.choice(np.setdiff1d(np.arange(len(world.sets)), visited)))]
            study.enqueue_trial({name: block in left for name, block in names.items()})
        trial = study.ask(dict.fromkeys(names, CategoricalDistribution([False, True])))
        place = places[frozenset(block for name, block in names.items() if trial.params[name])]
        study.tell(trial, [float(world.measured[place]), float(world.costs[place])])
        repeats = repeats + 1 if place in visited else 0
        visited += [place] if not repeats else []
    return visited


def select_greedily(world: World, budget: int) -> list[int]:
    """Train the head alone, then one more block in each round: that which measures best, as long as it gains.

    Source: G. Kaplun et al., "Less is More: Selective Layer Finetuning with SubTuning", arXiv:2302.06354 (2023),
    algorithm 1, with no least gain and the validation accuracy of one training in the place of cross-validation; the
    head alone is trained besides.
    """
    places = {frozenset(each.blocks): place for place, each in enumerate(world.sets)}
    frozen = frozenset(world.blocks)
    visited, best = [places[frozen]], 0.0
    while frozen:
        round_ = [places[frozen - {block}] for block in world.blocks if block in frozen]
        visited += round_
        chosen = max(round_, key=world.measured.__getitem__)
        if world.measured[chosen] <= best:
            break
        frozen, best = frozenset(world.sets[chosen].blocks), float(world.measured[chosen])
    return visited[:budget]


def _visit_by_blocks(world: World, budget: int, seed: int) -> list[int]:
    costs = dict(zip(world.sets, world.costs.tolist(), strict=True))
    return sample(world, BlockSampler(world.blocks, encoding="per_block", costs=costs, seed=seed), budget, seed)


METHODS: Final[dict[str, Callable[[World, int, int], list[int]]]] = {
    "blocks": _visit_by_blocks,
    "tpe": lambda world, budget, seed: sample(world, optuna.samplers.TPESampler(seed=seed), budget, seed),
    "nsga2": lambda world, budget, seed: sample(world, optuna.samplers.NSGAIISampler(seed=seed), budget, seed),
    "gp": lambda world, budget, seed: sample(world, optuna.samplers.GPSampler(seed=seed), budget, seed),
    "random": lambda world, budget, seed: sample(world, optuna.samplers.RandomSampler(seed=seed), budget, seed),
    "greedy": lambda world, budget, _: select_greedily(world, budget),
}


def judge(world: World, visited: Sequence[int]) -> tuple[float, float, float]:
    """Return `Score.measured_loss`, `Score.expected_loss` and `Score.hypervolume` of trained sets."""
    places = np.array(visited)
    evidence = Evidence.of([world.correct[place][None] for place in visited])
    expected = Posterior(evidence, [world.sets[place].blocks for place in visited]).draw(_DRAWS).mean(axis=0)
    reference = (float(world.truth.min()), 1.1 * float(world.costs.max()))
    points = list(zip(world.truth.tolist(), world.costs.tolist(), strict=True))
    of_all = hypervolume(points, reference=reference)
    reached = hypervolume([points[place] for place in visited], reference=reference)
    losses = 100 * (world.truth.max() - world.truth[places])
    return (
        float(losses[int(np.argmax(world.measured[places]))]),
        float(losses[int(np.argmax(expected))]),
        reached / of_all if of_all else 1.0,
    )


def compare(family: str, methods: Sequence[str], budgets: Sequence[int], repetition: int) -> Iterator[Score]:
    """Let methods train in one world and judge what they have after each budget."""
    if family == RECORDED:
        world = read_world(RECORDING, repetition)
    else:
        world = draw_world(family, IMAGES[repetition % len(IMAGES)], repetition)
    for method in methods:
        with experimental():
            visited = METHODS[method](world, max(budgets), repetition)
        for budget in budgets:
            measured_loss, expected_loss, share = judge(world, visited[:budget])
            yield Score(
                family=family,
                method=method,
                repetition=repetition,
                trials=budget,
                measured_loss=measured_loss,
                expected_loss=expected_loss,
                hypervolume=share,
            )


def format_table(scores: Sequence[Score], families: Sequence[str]) -> str:
    """Write the means over the worlds of some families as Markdown, a row a method."""
    chosen = [score for score in scores if score.family in families]
    budgets = sorted({score.trials for score in chosen})
    head = ["method", "worlds", *(f"{what}, {n}" for what in ("measured", "expected", "front") for n in budgets)]
    lines = [head, ["---"] * len(head)]
    for method in dict.fromkeys(score.method for score in chosen):
        found = {n: [score for score in chosen if score.method == method and score.trials == n] for n in budgets}
        means = [f"{np.mean([score.measured_loss for score in found[n]]):.2f}" for n in budgets]
        means += [f"{np.mean([score.expected_loss for score in found[n]]):.2f}" for n in budgets]
        means += [f"{np.mean([score.hypervolume for score in found[n]]):.3f}" for n in budgets]
        lines.append([method, str(len(found[budgets[0]])), *means])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(words: Sequence[str] | None = None) -> None:
    """Compare all methods, print the tables and keep the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="what to compare")
    parser.add_argument("--repetitions", type=int, default=25, help="worlds of each family (25)")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="trainings (16 32 64)")
    parser.add_argument("--json", type=Path, default=Path("build/samplers.json"), help="where the numbers go")
    given = parser.parse_args(words)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    scores: list[Score] = []
    for repetition in range(given.repetitions):
        for family in (RECORDED, *FAMILIES):
            budgets = RECORDED_BUDGETS if family == RECORDED else given.budgets
            scores += compare(family, given.methods, budgets, repetition)
        given.json.write_text(json.dumps([asdict(score) for score in scores]) + "\n")
    for families in (tuple(FAMILIES), *((family,) for family in FAMILIES), (RECORDED,)):
        print(f"\n{', '.join(families)}\n\n{format_table(scores, families)}")


if __name__ == "__main__":
    main()
