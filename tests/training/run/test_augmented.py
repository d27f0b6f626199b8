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


ROTATED = [{"RandomRotation": {"degrees": 20}}, "RandomHorizontalFlip"]
RECIPES = {
    "randaugment": {"augment": "randaugment"},
    "steps": {"augment": ROTATED},
    "mixup": {"mixup": 0.4},
    "all": {"augment": "crop-flip", "mixup": 0.2, "cutmix": 1.0, "sampler": "balanced"},
    "views": {"augment": "trivialaugment", "augment_views": 2},
}


def build_spec(augment: object = "none", **data: object) -> RunSpec:
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


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_augmented_run_that_goes_on_elsewhere_ends_as_if_left_alone(tmp_path, recipe):
    """It goes on with images that loader processes decode each epoch; with views, they are computed each epoch then."""
    one, two = tmp_path / "one", tmp_path / "two"
    more = {"ema": 0.8} if recipe == "all" else {}
    spec = build_spec(**RECIPES[recipe])
    spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update=more)})
    streamed = spec.model_copy(update={"data": spec.data.model_copy(update={"memory_mb": 0, "loader_workers": 2})})
    assert streamed.fingerprint == spec.fingerprint != build_spec().fingerprint
    alone = train(spec, one)
    with pytest.raises(InterruptedRunError):
        train(spec, two, until=0)
    assert without_times(train(streamed, two)) == without_times(alone)
    expected, found = tensors(one), tensors(two)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert without_times(train(build_spec(), tmp_path / "plain")) != without_times(alone)


def test_activations_of_fixed_views_are_kept_and_change_nothing(tmp_path):
    """24 training images in 2 views, 12 to validate and 9 to test."""
    spec = build_spec("crop-flip", augment_views=2)
    kept = train(spec, tmp_path / "kept")
    cache = Cache(tmp_path / "kept" / "cache")
    entries = [entry for entry in cache.entries() if entry.kind == "activations"]
    assert sum("48 train images" in entry.of for entry in entries) == 1
    place = Workplace(directory=str(tmp_path / "run"), threads=1, cost=make_cost(spec.frozen))
    assert without_times(run_training(spec, place, lambda _: None)) == without_times(kept)
    other = make_spec("stem+layer1", 2, data=spec.data, max_epochs=3, lr=0.01)
    kept_there = CachePlace(folder=str(tmp_path / "kept" / "cache"))
    elsewhere = str(tmp_path / "other")
    run_training(other, Workplace(directory=elsewhere, cost=make_cost(spec.frozen), cache=kept_there), lambda _: None)
    assert len([entry for entry in cache.entries() if entry.kind == "activations"]) == len(entries)  # for all trials
    plain = train(build_spec("crop-flip"), tmp_path / "plain")
    assert without_times(plain) != without_times(kept)


@pytest.mark.parametrize("recipe", ["mixup", "all"])
def test_mixed_runs_keep_no_activations(tmp_path, recipe):
    train(build_spec(**RECIPES[recipe]), tmp_path)
    assert "activations" not in {entry.kind for entry in Cache(tmp_path / "cache").entries()}
