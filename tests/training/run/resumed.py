"""A run that is interrupted and goes on, and how it is compared with one left alone."""

from pathlib import Path

import torch

from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunResult
from orchestrator.storage.files import is_whole
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import make_spec, without_times

# `val_loss` falls once and then rises: 1.01, 0.88, 0.94, 0.91, and patience ends it before the fifth epoch
SPEC = make_spec("stem+layer1+layer2+layer3", 2, max_epochs=5, patience=2, lr=0.02)
EPOCHS, BEST, TIMEOUT_S = 4, 1, 120
FINISHED = {"spec.json", "best.ckpt", "best.ckpt.sha256", "predictions.npz", "result.json"}
COST = make_cost(SPEC.frozen)  # made up, which spares the time to count it


class InterruptedRunError(Exception):
    """What a sink raises here to interrupt a run."""


def place_at(folder: Path, **more) -> Workplace:
    return Workplace(directory=str(folder), threads=1, cost=COST, **more)


def train(folder: Path, *, until: int | None = None, spec=SPEC) -> tuple[RunResult | None, list]:
    """Train, or go on, until the epoch `until` was reported. Gives the result, if it came to one, and the reports."""
    seen = []

    def sink(metrics):
        seen.append(metrics)
        if metrics.epoch == until:
            raise InterruptedRunError

    try:
        return run_training(spec, place_at(folder), sink), seen
    except InterruptedRunError:
        return None, seen


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def interrupted_names(epoch: int, best: int) -> set[str]:
    stems = (f"last-{epoch:03d}.ckpt", f"best-{best:03d}.ckpt")
    return {"spec.json", *stems, *(f"{stem}.sha256" for stem in stems)}


def best_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]


def assert_as_if_alone(folder: Path, result: RunResult, seen, alone) -> None:
    expected, _, tensors = alone
    assert without_times(result) == without_times(expected)
    assert tuple(seen) == result.history
    found = best_tensors(folder)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert names(folder) == FINISHED
    assert is_whole(folder / "best.ckpt")
    assert not load_checkpoint_network(folder / "best.ckpt").training
