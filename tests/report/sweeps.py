"""Sweeps as a real study leaves them, drawn from a seed: a saturating curve a run, more parameters overfit more."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.trials import TrialRecord
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import (
    TOTAL_PARAMS,
    count_trainable,
    make_experiment,
    make_result,
    make_run,
    make_trial,
)


def make_curve(frozen: str, seed: int, epochs: int) -> tuple[EpochMetrics, ...]:
    """Curves of one run: a higher ceiling, and more overfitting, with more trainable parameters."""
    draw = random.Random(f"{frozen} {seed}")
    share = math.log10(count_trainable(frozen)) / math.log10(TOTAL_PARAMS)
    ceiling = 0.62 + 0.36 * share**3 + draw.uniform(-0.012, 0.012)
    speed = 2 + 2 * (1 - share)
    curve = []
    for epoch in range(epochs):
        grown = 1 - math.exp(-(epoch + 1) / speed)
        val = 0.35 + (ceiling - 0.35) * grown + draw.uniform(-0.012, 0.012)
        train = min(1.0, 0.33 + (0.995 - 0.33 - 0.3 * (1 - share)) * (1 - math.exp(-(epoch + 0.8) / speed)))
        curve.append(
            EpochMetrics(
                epoch=epoch,
                train_loss=1.15 * (1 - train) ** 0.8 + 0.01,
                train_acc=train,
                val_loss=1.1 * (1 - min(val, 0.99)) + 0.008 * epoch * share,
                val_acc=min(val, 1.0),
                lr=1e-4,
                duration_s=3 + 4.5 * share**6 + draw.uniform(-0.2, 0.2),
            )
        )
    return tuple(curve)


def make_curved_result(frozen: str, seed: int = 0, epochs: int = 18) -> RunResult:
    history = make_curve(frozen, seed, epochs)
    best = min(history, key=lambda epoch: epoch.val_loss)
    test = round(128 * (best.val_acc - 0.01)) / 128
    return make_result(frozen, best.val_acc, seed, history=history, test_acc=test, n_val=133, n_test=128)


def make_curved_trial(
    number: int, frozen: str, seeds: Sequence[int] = (0,), epochs: int = 18, **other: Any
) -> TrialRecord:
    results = [make_curved_result(frozen, seed, epochs + (7 * number + 3 * seed) % 6) for seed in seeds]
    runs = tuple(make_run(number, frozen, seed, result=result) for seed, result in zip(seeds, results, strict=True))
    mean = sum(result.val_acc for result in results) / len(results)
    return make_trial(number, frozen, mean, runs=runs, **other)


def make_sweep(
    keys: Sequence[str], root: Path, *, name: str = "beans", extra: Sequence[TrialRecord] = (), **trial: Any
) -> Sweep:
    """A sweep with a complete trial for each key, and `extra` trials as they are."""
    trials = [make_curved_trial(number, key, **trial) for number, key in enumerate(keys)]
    return Sweep(Root.at(root), make_experiment(name), [*trials, *extra])


def list_bars(panel: Axes) -> set[tuple[tuple[float, float], ...]]:
    """List the bars of a panel, each by its ends."""
    collections = [lines for lines in panel.collections if isinstance(lines, LineCollection)]
    return {tuple(map(tuple, line)) for lines in collections for line in lines.get_segments()}
