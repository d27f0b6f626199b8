"""Records a full sweep on real data as a small file of numbers, to be replayed by other strategies without training."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import images_of_environment, open_images, weights_of_environment
from orchestrator import load_experiment
from orchestrator.app import sweep as app
from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.results import Sweep

RECORD_FILE = "answers.npy"
"""Beside a run's result: which validation images it predicts rightly after each epoch, [epochs, images]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """The curves of a full sweep.

    Attributes:
        frozen: Key of each trial.
        params: Trainable parameters of each, [trials].
        epochs: Epochs of each run before early stopping ended it, [trials, seeds].
        val_loss: Loss after each epoch, NaN after the last: [trials, seeds, epochs].
        right: Whether each validation image is predicted rightly after each epoch; after the last False:
            [trials, seeds, epochs, images].
    """

    frozen: tuple[str, ...]
    params: NDArray[np.int64]
    epochs: NDArray[np.int64]
    val_loss: NDArray[np.float32]
    right: NDArray[np.bool_]

    @property
    def blocks(self) -> list[frozenset[str]]:
        """Frozen blocks of each trial."""
        return [frozenset(FrozenSet.parse(key, order=find_backbone("resnet18").blocks).blocks) for key in self.frozen]

    def write(self, path: Path) -> None:
        """Write a compressed `.npz`, the answers as bits."""
        np.savez_compressed(
            path,
            frozen=np.array(self.frozen),
            params=self.params,
            epochs=self.epochs,
            val_loss=self.val_loss,
            shape=np.array(self.right.shape),
            right=np.packbits(self.right),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it back."""
        with np.load(path, allow_pickle=False) as file:
            shape = tuple(int(size) for size in file["shape"])
            return cls(
                frozen=tuple(file["frozen"].tolist()),
                params=file["params"],
                epochs=file["epochs"],
                val_loss=file["val_loss"],
                right=np.unpackbits(file["right"], count=int(np.prod(shape))).astype(np.bool_).reshape(shape),
            )


def record(sweep: Sweep) -> Recording:
    """Gather what the runs of a finished sweep left."""
    trials = [trial for trial in sweep.candidates if all(run.result is not None for run in trial.runs)]
    results = [[run.result for run in trial.runs if run.result is not None] for trial in trials]
    epochs = np.array([[len(result.history) for result in of_trial] for of_trial in results])
    images = results[0][0].n_val
    shape = (*epochs.shape, int(epochs.max()))
    val_loss = np.full(shape, np.nan, dtype=np.float32)
    right = np.zeros((*shape, images), dtype=np.bool_)
    for place, trial in enumerate(trials):
        for seed, run in enumerate(trial.runs):
            count = epochs[place, seed]
            val_loss[place, seed, :count] = [epoch.val_loss for epoch in results[place][seed].history]
            right[place, seed, :count] = np.load(sweep.root.run_dir(run.fingerprint) / RECORD_FILE)
    return Recording(
        frozen=tuple(trial.frozen.key for trial in trials),
        params=np.array([trial.trainable_params for trial in trials], dtype=np.int64),
        epochs=epochs,
        val_loss=val_loss,
        right=right,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Sweep all frozen sets on the data that ORCHESTRATOR_BEANS names, and write the recording."""
    from benchmarks.competitors import EXPERIMENT, Arena
    from benchmarks.workloads import Workload

    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", type=Path, help="where the recording goes (.npz)")
    parser.add_argument("--root", type=Path, help="where the sweep goes, to be continued (a temporary folder)")
    parser.add_argument("--image-size", type=int, default=32, metavar="PIXELS", help="pixels square (32)")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of each run (30)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each of the 32 frozen sets (3)")
    parser.add_argument("--batch-size", type=int, default=16, help="images a step (16)")
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate of Adam (1e-4)")
    given = parser.parse_args(words)
    folder = images_of_environment()
    if folder is None:
        parser.error("ORCHESTRATOR_BEANS must name a data folder")
    with tempfile.TemporaryDirectory(prefix="record-") as temporary:
        place = given.root.resolve() if given.root else Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        os.environ["HF_DATASETS_CACHE"] = str(place / "datasets-cache")
        keys = tuple(each.key for each in all_sets(find_backbone("resnet18").blocks))
        workload = Workload(
            name="subsets",
            frozen=keys,
            image_size=given.image_size,
            epochs=given.epochs,
            batch_size=given.batch_size,
            lr=given.lr,
        )
        arena = Arena(folder=place, images=open_images(folder), weights=weights_of_environment())
        config = arena.write_config(workload, place / "experiments.yaml")
        overrides = [f"search.seeds={list(range(given.seeds))}", "trainer.patience=10"]
        experiment = load_experiment(EXPERIMENT, config, overrides=overrides)
        with patch("orchestrator.app.parts.RUN_FUNCTION", "benchmarks.recorded_run:run_recorded"):
            sweep, _ = app.run_sweep(experiment, root=place / "root")
        recording = record(sweep)
    recording.write(given.path)
    print(f"{given.path}: {recording.epochs.size} runs, {recording.epochs.sum()} epochs")


if __name__ == "__main__":
    main()
