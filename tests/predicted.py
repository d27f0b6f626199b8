"""Sweeps whose runs keep predictions, drawn with known true accuracies."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from orchestrator.records.trials import TrialRecord
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import Predictions, predictions_path, write_predictions
from tests.factories import make_experiment, make_result, make_run, make_trial


def draw_correct(
    accuracy: Sequence[float],
    *,
    seeds: int,
    images: int = 133,
    of_seeds: float = 0.1,
    shared: float = 0.75,
    seed: int | np.random.Generator = 0,
) -> list[np.ndarray]:
    """Draw which images each trial predicts rightly: for each [seeds, images].

    Probit: images differ in difficulty, `shared` of it alike for all trials; seeds differ in skill.
    """
    rng = np.random.default_rng(seed)
    shape = (len(accuracy), seeds, images)
    common = rng.normal(size=(1, 1, images)) * math.sqrt(0.7 * shared)
    own = rng.normal(size=(len(accuracy), 1, images)) * math.sqrt(0.7 * (1 - shared))
    chance = rng.normal(size=shape) * math.sqrt(0.3)
    skill = rng.normal(size=(len(accuracy), seeds, 1)) * of_seeds
    threshold = stats.norm.ppf(np.asarray(accuracy))[:, None, None] * math.sqrt(1 + of_seeds**2)
    return list(common + own + chance + skill < threshold)


def make_predicted_trial(
    root: Path,
    number: int,
    frozen: str,
    correct: np.ndarray,
    ids: Sequence[str] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    duration_s: float = 60.0,
    at_once: float | None = 1.0,
    **trial: Any,
) -> TrialRecord:
    """A trial whose runs predicted `correct` ([runs, images]) on validation and on test, with the files on disk."""
    runs, images = [], correct.shape[1]
    names = np.array(ids or [f"image {index}" for index in range(images)])
    for seed, right in zip(seeds or range(len(correct)), correct, strict=True):
        share = float(right.mean())
        sizes = {"n_val": images, "n_test": images}
        result = make_result(frozen, share, seed, **sizes, test_acc=share, duration_s=duration_s)
        run = make_run(number, frozen, seed, result=result, at_once=at_once)
        path = predictions_path(root / (run.checkpoint or ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        found = Predictions(
            logits=np.stack([right, ~right], axis=1).astype(np.float32),
            labels=np.zeros(images, dtype=np.int64),
            image_ids=names,
        )
        write_predictions(path, {"validation": found, "test": found})
        runs.append(run)
    return make_trial(number, frozen, float(correct.mean()), runs=tuple(runs), **trial)


def make_predicted_sweep(root: Path, keys: Sequence[str], correct: Sequence[np.ndarray]) -> Sweep:
    """A sweep with a trial for each key."""
    pairs = enumerate(zip(keys, correct, strict=True))
    trials = [make_predicted_trial(root, number, key, each) for number, (key, each) in pairs]
    return Sweep(Root.at(root), make_experiment("beans"), trials)
