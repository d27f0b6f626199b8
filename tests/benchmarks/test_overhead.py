"""What is counted as arithmetic, and what as overhead."""

from functools import wraps
from importlib import import_module

import pytest
import torch

from benchmarks import timed_run
from benchmarks.overhead import ARITHMETIC_FILE, Overhead
from benchmarks.timed_run import run_timed
from orchestrator.records.facts import Cost
from orchestrator.records.place import Workplace
from orchestrator.training.run.module import FreezingModule
from tests.training.narrow import narrow_networks
from tests.training.tiny import make_spec

ADAM = import_module("torch.optim.adam")


def test_shares_are_those_of_a_hand_calculation():
    found = Overhead(seconds=100.0, workers=2, run_seconds=(60.0, 90.0), arithmetic=(54.0, 81.0))
    assert found.of_runs == pytest.approx(0.1)  # 15 of 150 s
    assert found.of_sweep == pytest.approx(0.325)  # 65 of 2 x 100 s


class Clock:
    """Stands still but for what `slowed` adds."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def slowed(self, function):
        @wraps(function)
        def slow(*args, **options):
            self.now += 1
            return function(*args, **options)

        return slow


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timed_run, "perf_counter", clock)
    return clock


def train(folder):
    cost = Cost(trainable_params=1, total_params=2, gflops_forward_per_image=1.0, gflops_train_per_image=2.0)
    place = Workplace(directory=str(folder), cost=cost)  # as in a sweep, where no run counts it
    with narrow_networks():
        run_timed(make_spec("stem+layer1+layer2+layer3", max_epochs=1), place, lambda _: None)
    return float((folder / ARITHMETIC_FILE).read_text())


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        # 24 training, 12 validation and 9 test images in batches of 8, one left over with those before it
        (torch.nn.functional, "cross_entropy", 3 + 2 + 1),
        (torch.autograd, "backward", 3),
        (ADAM, "adam", 3),
        (torch.optim.Optimizer, "zero_grad", 3),
    ],
)
def test_what_steps_compute_counts_once(tmp_path, monkeypatch, clock, owner, name, calls):
    monkeypatch.setattr(owner, name, clock.slowed(getattr(owner, name)))
    assert train(tmp_path) == clock.now == calls


def test_what_comes_between_the_steps_is_none(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(FreezingModule, "on_train_epoch_end", clock.slowed(FreezingModule.on_train_epoch_end))
    assert train(tmp_path) == 0
    assert clock.now == 1


def test_what_is_watched_is_put_back(tmp_path):
    def watched():
        return FreezingModule.train_on, torch.autograd.backward, torch.optim.Adam.step, torch.optim.Optimizer.zero_grad

    before = watched()
    train(tmp_path)
    assert watched() == before
