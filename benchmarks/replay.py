"""Races through a recorded sweep, many times: the share of its epochs that a race trains, and what it finds of it.

Each replay takes the seeds of each trial in another order and draws the validation images again, with replacement. The
full sweep is judged on these images with all of its seeds, the race with what it has trained.
"""

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.race_replay import replay, stand_after
from benchmarks.record import Recording
from orchestrator.stats.advice import advise, within_probabilities
from orchestrator.stats.comparison import find_better
from orchestrator.stats.evidence import Evidence, Floats
from orchestrator.stats.posterior import Posterior
from orchestrator.stats.selection import find_supported_front
from orchestrator.sweep.decisions import Rules

DRAWS = 4000
RECORDING = Path(__file__).parent / "beans.npz"
"""All 32 frozen sets on the Beans images; how it was made stands in docs/statistics.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a race made of one replay. Trials are places in the recording."""

    share: float
    """Share of the recorded epochs that it trained."""
    full: tuple[int, ...]
    """Supported front of the full sweep."""
    race: tuple[int, ...]
    """Supported front of the race."""
    kept: tuple[int, ...]
    """Trials that it trained to their end."""
    single_share: float
    """Share of the epochs that one run of each trial takes."""
    single: tuple[int, ...]
    """Supported front of these runs."""
    lost_points: float
    """Measured accuracy, over all seeds, of the most accurate member of the full front minus that of the race's."""
    best_points: float
    """The same of what `best()` names by the full sweep and by the race."""
    best_expected_points: float
    """The same, but the accuracies that the full sweep expects of the two: at least 0."""
    single_best_points: float
    """As `best_expected_points`, by one run of each trial."""
    recommended_within: float
    """Probability, by the full sweep, that the trial which the race recommends loses no more than the margin."""
    full_recommended_within: float
    """The same of the one that the full sweep recommends."""

    @property
    def recall(self) -> float:
        """Share of the full sweep's supported front that the race trained to its end."""
        return self._share_in(self.kept)

    @property
    def agreement(self) -> float:
        """Share of the full sweep's supported front that is on that of the race."""
        return self._share_in(self.race)

    @property
    def single_agreement(self) -> float:
        """Share of it that is on the supported front of one run of each trial."""
        return self._share_in(self.single)

    def _share_in(self, places: Sequence[int]) -> float:
        return len({*self.full} & {*places}) / len(self.full)


def resample(recording: Recording, rng: np.random.Generator) -> Recording:
    """Take the seeds of each trial in another order, and as many images with replacement."""
    trials, seeds = recording.epochs.shape
    order = rng.permuted(np.tile(np.arange(seeds), (trials, 1)), axis=1)
    rows = np.arange(trials)[:, None]
    images = rng.integers(recording.right.shape[-1], size=recording.right.shape[-1])
    return Recording(
        frozen=recording.frozen,
        params=recording.params,
        epochs=recording.epochs[rows, order],
        val_loss=recording.val_loss[rows, order],
        right=recording.right[rows, order][..., images],
    )


def find_final(recording: Recording) -> NDArray[np.bool_]:
    """Return which images the best weights of each run predict rightly: [trials, seeds, images]."""
    epochs = recording.right.shape[2]
    return np.array(
        [
            [stand_after(right, val_loss, epochs).correct for right, val_loss in zip(*trial, strict=True)]
            for trial in zip(recording.right, recording.val_loss, strict=True)
        ]
    )


def find_front(correct: Mapping[int, NDArray[np.bool_]], params: NDArray[np.int64]) -> tuple[int, ...]:
    """Find the supported front of some trials, of each [runs, images]."""
    places = list(correct)
    evidence = Evidence.of([correct[place] for place in places])
    costs = [float(params[place]) for place in places]
    members = find_supported_front(find_better(evidence, costs), costs, evidence.means.tolist())
    return tuple(places[member] for member in members)


def know(correct: Mapping[int, NDArray[np.bool_]], recording: Recording) -> Floats:
    """Draw the true accuracies of some trials, of each [runs, images]: [draws, all trials]; -inf for the others."""
    places = list(correct)
    posterior = Posterior(
        Evidence.of([correct[place] for place in places]), [recording.blocks[place] for place in places]
    )
    drawn = np.full((DRAWS, len(recording.params)), -np.inf)
    drawn[:, places] = posterior.draw(DRAWS)
    return drawn


def race_once(recording: Recording, rules: Rules, seed: int) -> Outcome:
    """Race through one resampled recording; the limits of the rules are shares of all of its epochs."""
    drawn = resample(recording, np.random.default_rng(seed))
    rules = replace(rules, limits=tuple(limit * int(drawn.epochs.sum()) for limit in rules.limits))
    found = replay(drawn.right, drawn.val_loss.astype(np.float64), drawn.params.tolist(), drawn.blocks, rules)
    final = find_final(drawn)
    kept = {place: runs for place, runs in enumerate(found.correct) if len(runs)}
    full, race = find_front(dict(enumerate(final)), drawn.params), find_front(kept, drawn.params)
    accuracy = final.mean(axis=(1, 2))
    costs = drawn.params.tolist()
    known = know(dict(enumerate(final)), drawn)
    by_full, by_race, by_single = (
        advise(values, costs, rules.margin, rules.confidence)
        for values in (known, know(kept, drawn), know(dict(enumerate(final[:, :1])), drawn))
    )
    expected, within = known.mean(axis=0), within_probabilities(known, rules.margin)
    return Outcome(
        share=found.share,
        full=full,
        race=race,
        kept=tuple(kept),
        single_share=float(drawn.epochs[:, 0].sum() / drawn.epochs.sum()),
        single=find_front(dict(enumerate(final[:, :1])), drawn.params),
        lost_points=100 * float(accuracy[[*full]].max() - accuracy[[*race]].max()),
        best_points=100 * float(accuracy[by_full.expected] - accuracy[by_race.expected]),
        best_expected_points=100 * float(expected[by_full.expected] - expected[by_race.expected]),
        single_best_points=100 * float(expected[by_full.expected] - expected[by_single.expected]),
        recommended_within=float(within[by_race.chosen]),
        full_recommended_within=float(within[by_full.chosen]),
    )


def summarise(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return means over the replays."""

    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    return {
        "replays": len(outcomes),
        "share of the epochs": mean(each.share for each in outcomes),
        "share of the epochs, highest": max(each.share for each in outcomes),
        "recall of the full supported front": mean(each.recall for each in outcomes),
        "replays that keep all of it": mean(each.recall == 1 for each in outcomes),
        "trials trained to their end": mean(len(each.kept) for each in outcomes),
        "members of the full supported front": mean(len(each.full) for each in outcomes),
        "members of the race's": mean(len(each.race) for each in outcomes),
        "share of the full one that is on the race's": mean(each.agreement for each in outcomes),
        "points that the race's most accurate member is behind": mean(each.lost_points for each in outcomes),
        "points that its best is behind, as measured": mean(each.best_points for each in outcomes),
        "points that its best is behind, as expected": mean(each.best_expected_points for each in outcomes),
        "probability that its recommended trial is within the margin": mean(
            each.recommended_within for each in outcomes
        ),
        "that of the full one": mean(each.full_recommended_within for each in outcomes),
        "one run of each: points that its best is behind, as expected": mean(
            each.single_best_points for each in outcomes
        ),
        "one run of each: share of the epochs": mean(each.single_share for each in outcomes),
        "one run of each: share of the full one": mean(each.single_agreement for each in outcomes),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Replay on all cores, print the means and keep the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", type=Path, nargs="?", default=RECORDING, help=f"the recording ({RECORDING.name})")
    parser.add_argument("--replays", type=int, default=200, help="replays (200)")
    parser.add_argument("--rungs", type=int, nargs="+", default=[3, 9, 30], help="epochs of each rung (3 9 30)")
    parser.add_argument("--drop-below", type=float, default=0.02, help="as search.race.drop_below (0.02)")
    parser.add_argument("--max-seeds", type=int, default=3, help="as search.race.max_seeds (3)")
    parser.add_argument("--budget", type=float, help="what further seeds may bring the share of the epochs to (all)")
    parser.add_argument("--json", type=Path, default=Path("build/replay.json"), help="where the numbers go")
    given = parser.parse_args(words)
    rules = Rules(
        rungs=tuple(given.rungs),
        drop_below=given.drop_below,
        max_seeds=given.max_seeds,
        limits=() if given.budget is None else (given.budget,),
    )
    once = partial(race_once, Recording.read(given.path), rules)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        outcomes = list(pool.map(once, range(given.replays), chunksize=4))
    for name, value in summarise(outcomes).items():
        print(f"{name:<62} {value:.4g}")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n")


if __name__ == "__main__":
    main()
