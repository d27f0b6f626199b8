"""Sweeps over frozen sets whose blocks cost what is known, with their predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import RESNET18, make_experiment
from tests.predicted import make_predicted_trial

Right = NDArray[np.bool_]


def make_lattice_sweep(root: Path, right: Mapping[str, Right]) -> Sweep:
    """A sweep with a trial for each frozen set, whose runs predict [runs, images].

    A run takes a minute, less 5 s for each frozen block.
    """
    trials = [
        make_predicted_trial(root, number, key, each, duration_s=60 - 5 * sum(block in key for block in RESNET18))
        for number, (key, each) in enumerate(right.items())
    ]
    return Sweep(Root.at(root), make_experiment("beans"), trials)


def draw_right(
    keys: Sequence[str], cost: Mapping[str, float], *, accuracy: float = 0.9, seeds: int = 3, images: int = 133
) -> dict[str, Right]:
    """Draw what runs predict rightly: each frozen block costs so much accuracy; hard images are hard for all."""
    rng = np.random.default_rng(0)
    hardness = rng.random(images)
    right = {}
    for key in keys:
        share = accuracy - sum(cost.get(block, 0.0) for block in RESNET18 if block in key.split("+"))
        luck = rng.normal(scale=0.01, size=(seeds, 1))
        right[key] = hardness + rng.normal(scale=0.08, size=(seeds, images)) < share + luck
    return right
