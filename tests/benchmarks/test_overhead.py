"""What is counted as arithmetic, and what as overhead."""

import time
from functools import wraps
from importlib import import_module

import pytest
import torch

from benchmarks.overhead import ARITHMETIC_FILE, Overhead
from benchmarks.timed_run import run_timed
from orchestrator.records import Workplace
from orchestrator.training.module import FreezingModule
from tests.training.tiny import make_spec

ADAM = import_module("torch.optim.adam")
SLOWER_S = 0.5


def test_shares_are_those_of_a_hand_calculation():
    found = Overhead(seconds=100.0, workers=2, run_seconds=(60.0, 90.0), arithmetic=(54.0, 81.0))
    assert found.of_runs == pytest.approx(0.1)  # 15 of 150 s
    assert found.of_sweep == pytest.approx(0.325)  # 65 of 2 x 100 s


def train(folder):
    began = time.perf_counter()
    run_timed(make_spec("stem+layer1+layer2+layer3", max_epochs=1), Workplace(directory=str(folder)), lambda _: None)
    return time.perf_counter() - began, float((folder / ARITHMETIC_FILE).read_text())


@pytest.mark.parametrize(("owner", "name"), [(torch.nn.functional, "cross_entropy"), (ADAM, "adam")])
def test_a_slower_step_is_slower_arithmetic(tmp_path, monkeypatch, owner, name):
    function = getattr(owner, name)
    calls = []

    @wraps(function)
    def slow(*args, **options):
        calls.append(0)
        time.sleep(SLOWER_S)
        return function(*args, **options)

    monkeypatch.setattr(owner, name, slow)
    seconds, arithmetic = train(tmp_path)
    assert calls
    assert len(calls) * SLOWER_S < arithmetic < seconds


def test_what_comes_between_the_steps_is_none(tmp_path, monkeypatch):
    function = FreezingModule.on_train_epoch_end

    def slow(module):
        time.sleep(20 * SLOWER_S)
        return function(module)

    monkeypatch.setattr(FreezingModule, "on_train_epoch_end", slow)
    seconds, arithmetic = train(tmp_path)
    assert 0 < arithmetic < seconds - 20 * SLOWER_S


def test_what_is_watched_is_put_back(tmp_path):
    before = FreezingModule.training_step, torch.autograd.backward, ADAM.adam
    train(tmp_path)
    assert (FreezingModule.training_step, torch.autograd.backward, ADAM.adam) == before
