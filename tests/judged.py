"""Sweeps whose runs keep logits of several classes, which differ in gain and in cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.records.trials import RunRecord, TrialRecord
from orchestrator.storage.predictions import Predictions, predictions_path, write_predictions
from tests.factories import PREFIXES, make_result, make_run, make_trial

CLASSES = 3
SHARES = (0.7, 0.2, 0.1)
"""Of the images, by class: an accuracy and a balanced accuracy differ."""


def draw_logits(skill: float, labels: np.ndarray, seed: int) -> np.ndarray:
    """Logits that are right the more often the higher `skill`; confidence and leaning are each trial's own."""
    rng = np.random.default_rng(seed)
    sure, lean = np.random.default_rng(seed // 10).uniform((0.4, -1.0), (2.4, 1.5))
    noise = rng.normal(size=(len(labels), CLASSES))
    return (sure * (noise + skill * np.eye(CLASSES)[labels] + lean * np.array([1.0, 0.0, -1.0]))).astype(np.float32)


def make_scored_run(root: Path, number: int, frozen: str, seed: int, logits: np.ndarray, **run: Any) -> RunRecord:
    """A run with its predictions on disk; its durations, FLOPs and memory are its own."""
    labels, names = draw_labels(len(logits)), np.array([f"image {index}" for index in range(len(logits))])
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    rng = np.random.default_rng(100 * number + seed)
    result = make_result(
        frozen,
        float((logits.argmax(axis=1) == labels).mean()),
        seed,
        val_loss=float(loss.mean()),
        s_per_epoch=float(rng.uniform(1, 3)),
        duration_s=float(rng.uniform(20, 60)),
        peak_memory_mb=float(rng.uniform(400, 800)),
        gflops_train_per_image=float(2 + number),
        n_val=len(labels),
    )
    made = make_run(number, frozen, seed, **({"result": result, "at_once": 1.0} | run))
    path = predictions_path(root / (made.checkpoint or ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    found = Predictions(logits=logits, labels=labels, image_ids=names)
    write_predictions(path, {"validation": found, "test": found})
    return made


def draw_labels(images: int = 133) -> np.ndarray:
    return np.random.default_rng(0).choice(CLASSES, size=images, p=SHARES)


def make_scored_trials(
    root: Path, keys: Sequence[str] = PREFIXES, seeds: Sequence[int] = (0, 1), **run: Any
) -> list[TrialRecord]:
    """A trial for each key; the more is frozen, the less skilled."""
    trials, labels = [], draw_labels()
    for number, key in enumerate(keys):
        skill = 2.4 - 0.1 * number
        runs = tuple(
            make_scored_run(root, number, key, seed, draw_logits(skill, labels, 10 * number + seed), **run)
            for seed in seeds
        )
        accuracy = float(np.mean([run.result.val_acc for run in runs if run.result is not None]))
        trials.append(make_trial(number, key, accuracy, runs=runs))
    return trials
