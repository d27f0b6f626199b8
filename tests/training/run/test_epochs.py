"""Batches that Lightning sees one by one, and epochs of them that it takes for one: equal to the last bit."""

import math
import time

import pytest
import torch
from torch import nn

from orchestrator.records.place import Workplace
from orchestrator.training.data.loading import load_data, order_seed
from orchestrator.training.run import epochs
from orchestrator.training.run.epochs import Epochs, are_steps_short
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, without_times

pytestmark = pytest.mark.usefixtures("narrow")
SHORT, LONG = float("inf"), 0.0
"""What steps must take at the least to be long: then all are short, or long."""
MORE = {"accumulate": 2, "gradient_clip": 0.5, "schedule": {"name": "cosine", "warmup_epochs": 1}}
RECIPES = {"label_smoothing": 0.1, "class_weights": "balanced", "lr_decay": 0.7, "ema": 0.8, "accumulate": 2}
CPU = torch.device("cpu")


class InterruptedRunError(Exception):
    """What a sink raises here to interrupt a run."""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train with steps that count as short or as long, to an epoch or to the end."""

    def run(spec, least, folder, until=None):
        def sink(metrics):
            if metrics.epoch == until:
                raise InterruptedRunError

        monkeypatch.setattr(epochs, "SHORT_S", least)
        place = Workplace(directory=str(tmp_path / folder), threads=1, cost=make_cost(spec.frozen))
        try:
            result = run_training(spec, place, sink)
        except InterruptedRunError:
            return None
        tensors = torch.load(tmp_path / folder / "best.ckpt", weights_only=True)["state_dict"]
        return without_times(result), {name: tensor.tolist() for name, tensor in tensors.items()}

    return run


@pytest.fixture
def seen(monkeypatch):
    """Batches as Lightning calls them, by number of the call in its epoch."""
    numbers = []

    def note(module, batch, batch_idx):
        numbers.append(batch_idx)

    monkeypatch.setattr(FreezingModule, "on_train_batch_start", note)
    return numbers


LOADER = {"memory_mb": 0, "loader_workers": 1}
"""Images that do not fit, and a process that decodes them; each one ends with seconds of waiting."""


@pytest.mark.parametrize(
    ("optimizer", "more", "loader"),
    [("adam", {}, {}), ("adam", MORE, {}), ("sgd", {}, {}), ("sgd", MORE, {}), ("sgd", MORE, LOADER)],
    ids=["adam-plain", "adam-all", "sgd-plain", "sgd-all", "sgd-all-loader"],
)
def test_both_loops_give_the_same_and_each_continues_the_other(train, seen, optimizer, more, loader):
    spec = make_spec("stem", 1, data=make_data(**loader), optimizer=optimizer, max_epochs=3, lr=0.01, **more)
    expected = train(spec, SHORT, "whole")
    assert seen == [0, 0, 0]
    seen.clear()
    assert train(spec, LONG, "each") == expected
    assert seen == [0, 1, 2] * 3
    for folder, before, after in (("a", SHORT, LONG), ("b", LONG, SHORT), ("c", LONG, LONG)):
        assert train(spec, before, folder, until=1) is None
        assert train(spec, after, folder) == expected


def test_recipes_give_the_same_in_both_loops_and_each_continues_the_other(train):
    spec = make_spec("stem+layer1+layer2", 1, data=make_data(sampler="balanced"), max_epochs=3, lr=0.01, **RECIPES)
    expected = train(spec, SHORT, "whole")
    for folder, before, after in (("a", SHORT, LONG), ("b", LONG, SHORT)):
        assert train(spec, before, folder, until=1) is None
        assert train(spec, after, folder) == expected


def test_a_step_takes_several_batches_and_its_learning_rate_follows_the_schedule(train):
    """Of three batches of an epoch two make a step, and then the third: 2 steps an epoch; each second one is told.

    The first of 3 epochs warms up, over 2 steps, and ends with 0.01. Over the other 4 steps the rate falls: the second
    epoch ends at place 1 of 4 of half a cosine, and the third at place 3.
    """
    spec = make_spec("stem", 1, max_epochs=3, lr=0.01, **MORE)
    result, _ = train(spec, SHORT, "run")
    assert [epoch["lr"] for epoch in result["history"]] == pytest.approx(
        [0.01, *(0.01 * (1 + math.cos(math.pi * place / 4)) / 2 for place in (1, 3))]
    )
    assert [loss["step"] for epoch in result["history"] for loss in epoch["step_losses"]] == [1, 3, 5]


def test_a_batch_is_read_when_it_is_asked_for_and_the_epoch_is_known_by_then():
    batches = load_data(make_data()).batches("train", seed=order_seed(0))
    read = {whole: Epochs(batches, whole=whole) for whole in (True, False)}
    assert [len(each) for each in read.values()] == [1, 3]
    iterators = {whole: iter(each) for whole, each in read.items()}
    batches.batch_sampler.set_epoch(5)
    expected = [labels.tolist() for _, labels in batches]
    assert [labels.tolist() for whole in iterators[True] for _, labels in whole] == expected
    assert [labels.tolist() for _, labels in iterators[False]] == expected
    batches.batch_sampler.set_epoch(0)
    assert [labels.tolist() for _, labels in batches] != expected


class Sleeping(nn.Module):
    """Takes some time for each image, and more at first."""

    def __init__(self, image_s, first_s=0.0) -> None:
        super().__init__()
        self.image_s, self.first_s, self.seen = image_s, first_s, []

    def forward(self, images):
        assert not self.training
        assert not torch.is_grad_enabled()
        time.sleep(self.image_s * len(images) + (self.first_s if not self.seen else 0.0))
        self.seen.append(len(images))


@pytest.mark.parametrize(
    ("image_s", "first_s", "train_share", "short", "seen"),
    [
        (0.0001, 0.5, 3, True, [1, 8]),  # 8 images take 1 ms, a step 3
        (0.003, 0.0, 3, False, [1, 8, 8]),  # 24 and 72 ms; measured twice, since libraries may have been slow at first
        (0.003, 0.0, 1, True, [1, 8]),  # where nothing but the forward pass is to be computed
        (0.03, 0.0, 3, False, [1, 8]),  # 240 and 720 ms: no library is as slow at first
    ],
)
def test_steps_of_40_ms_are_long(image_s, first_s, train_share, short, seen):
    """Lightning's loop takes 0.4 ms for a batch."""
    module, spec = Sleeping(image_s, first_s), make_spec("stem")
    cost = make_cost("stem").model_copy(update={"gflops_forward_per_image": 1.0, "gflops_train_per_image": train_share})
    random = torch.get_rng_state()
    assert are_steps_short(module, load_data(spec.data), spec, CPU, cost) is short
    assert module.seen == seen
    assert module.training
    assert torch.equal(torch.get_rng_state(), random)
