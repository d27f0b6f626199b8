"""Runs whose training images change from epoch to epoch."""

from pathlib import Path

import pytest
import torch

from orchestrator.records.place import CachePlace, Workplace
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.storage.cache import Cache
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, without_times

pytestmark = pytest.mark.usefixtures("narrow")


class InterruptedRunError(Exception):
    """What a sink raises here to interrupt a run."""


def build_spec(augment: str, **data: object) -> RunSpec:
    return make_spec("stem+layer1", 2, data=make_data(augment=augment, **data), max_epochs=3, lr=0.02)


def train(spec: RunSpec, folder: Path, *, until: int | None = None) -> RunResult:
    """Train with a cache in which there is room for what the stem gives."""

    def sink(metrics):
        if metrics.epoch == until:
            raise InterruptedRunError

    cache = CachePlace(folder=str(folder / "cache"))
    place = Workplace(directory=str(folder / "run"), threads=1, cost=make_cost(spec.frozen), cache=cache)
    return run_training(spec, place, sink)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "run" / "best.ckpt", weights_only=True)["state_dict"]


def test_a_flipped_run_that_goes_on_elsewhere_ends_as_if_left_alone(tmp_path):
    """It goes on with images that loader processes decode each epoch, instead of those in the cache."""
    one, two = tmp_path / "one", tmp_path / "two"
    alone = train(build_spec("flip"), one)
    with pytest.raises(InterruptedRunError):
        train(build_spec("flip"), two, until=0)
    streamed = build_spec("flip", memory_mb=0, loader_workers=2)
    assert streamed.fingerprint == build_spec("flip").fingerprint
    assert without_times(train(streamed, two)) == without_times(alone)
    expected, found = tensors(one), tensors(two)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_flipped_run_is_another_run_and_keeps_no_activations(tmp_path):
    plain, flipped = build_spec("none"), build_spec("flip")
    assert plain.fingerprint != flipped.fingerprint
    assert without_times(train(plain, tmp_path / "plain")) != without_times(train(flipped, tmp_path / "flipped"))
    kinds = {entry.kind for entry in Cache(tmp_path / "plain" / "cache").entries()}
    assert kinds - {entry.kind for entry in Cache(tmp_path / "flipped" / "cache").entries()} == {"activations"}
