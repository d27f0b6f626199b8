"""What a sweep takes besides its arithmetic: all that is no forward pass, no backward pass and no optimizer step.

    python -m benchmarks.overhead --image-size 64 --epochs 3

Each worker times its own arithmetic (`timed_run.py`). The rest is overhead, from the call of `run_sweep` on: libraries,
reading and decoding, hashing, the loop, checkpoints, tracking, pictures, and a core that waits for the last run.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

from benchmarks.images import DRAWN_PIXELS, draw_images, images_of_environment, open_images, weights_of_environment
from benchmarks.workloads import BEANS, FROZEN_SETS, Workload, frozen_keys
from orchestrator import load_experiment
from orchestrator.app import sweep as app
from orchestrator.config.models import Experiment
from orchestrator.observers.group import LoggingObserver
from orchestrator.records.spec import Choice
from orchestrator.records.trials import TrialRecord

ARITHMETIC_FILE = "arithmetic.txt"
"""Beside a run's result: seconds of its arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What a sweep took.

    Attributes:
        seconds: Of the sweep, from the call to its end.
        workers: Runs at a time.
        run_seconds: Of each run, as it measures it itself.
        arithmetic: Seconds of each run's arithmetic.
    """

    seconds: float
    workers: int
    run_seconds: tuple[float, ...]
    arithmetic: tuple[float, ...]

    @property
    def of_runs(self) -> float:
        """The share of the runs' time that is no arithmetic."""
        return 1 - sum(self.arithmetic) / sum(self.run_seconds)

    @property
    def of_sweep(self) -> float:
        """The share of the time of all workers that is no arithmetic."""
        return 1 - sum(self.arithmetic) / (self.workers * self.seconds)


class _WorkerCount(LoggingObserver):
    """Hears how many runs go on at a time."""

    workers = 0

    def on_plan(self, experiment: Experiment, choices: Sequence[Choice] | None, done: Sequence[TrialRecord]) -> None:
        self.workers = experiment.execution.runs_at_a_time
        super().on_plan(experiment, choices, done)


def measure(workload: Workload, place: Path, seeds: int = 1) -> Overhead:
    """Sweep a workload in this process, from an empty folder.

    Args:
        workload: What to train.
        place: Receives data and runs.
        seeds: Seeds of each frozen set, from 0.
    """
    from benchmarks.competitors import EXPERIMENT, Arena

    os.environ["HF_DATASETS_CACHE"] = str(place / "datasets-cache")
    folder = images_of_environment()
    images = open_images(folder) if folder else draw_images(place / "images", BEANS, DRAWN_PIXELS)
    arena = Arena(folder=place, images=images, weights=weights_of_environment())
    config = arena.write_config(workload, place / "experiments.yaml")
    experiment = load_experiment(EXPERIMENT, config, overrides=[f"search.seeds={list(range(seeds))}"])
    observer = _WorkerCount()
    began = perf_counter()
    with patch("orchestrator.app.parts.RUN_FUNCTION", "benchmarks.timed_run:run_timed"):
        sweep, _ = app.run_sweep(experiment, root=place / "root", observer=observer)
    seconds = perf_counter() - began
    runs = [run for trial in sweep.trials for run in trial.runs]
    folders = [sweep.root.run_dir(run.fingerprint) for run in runs]
    return Overhead(
        seconds=seconds,
        workers=observer.workers,
        run_seconds=tuple(run.result.duration_s for run in runs if run.result is not None),
        arithmetic=tuple(float((folder / ARITHMETIC_FILE).read_text()) for folder in folders),
    )


def main(words: Sequence[str] | None = None) -> None:
    """Sweep from an empty folder and print what was no arithmetic."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workload", choices=FROZEN_SETS, default="prefixes", help="the frozen sets (prefixes)")
    parser.add_argument("--image-size", type=int, default=64, metavar="PIXELS", help="pixels square (64)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each run (3)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each frozen set (1)")
    arguments = parser.parse_args(words)
    workload = Workload(
        name=arguments.workload,
        frozen=frozen_keys(arguments.workload),
        image_size=arguments.image_size,
        epochs=arguments.epochs,
    )
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        found = measure(workload, Path(folder), arguments.seeds)
    print(f"{len(found.run_seconds)} runs of {median(found.run_seconds):.0f} s (median), {found.workers} at a time")
    print(f"sweep: {found.seconds:.0f} s, of which {found.of_sweep:.1%} no arithmetic; of the runs {found.of_runs:.1%}")


if __name__ == "__main__":
    main()
