"""How many runs a sweep has at a time, on how many GPUs, and in which order they start."""

import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest

from orchestrator import SetupError, run_sweep
from orchestrator.app import workers
from orchestrator.config.models import (
    DataConfig,
    ExecutionConfig,
    SearchConfig,
    SyntheticConfig,
    TrainerConfig,
)
from orchestrator.execution.calls import calling_here
from orchestrator.machine.gpus import GpuShare
from orchestrator.observers.group import LoggingObserver
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from orchestrator.training.device import Gpu
from orchestrator.training.preparation.prepare import prepare
from tests.doubles.words import Words
from tests.factories import PREFIXES
from tests.small import KEYS, make_experiment


def count_workers(tmp_path, monkeypatch, *, cores=2, execution=None, **overrides):
    monkeypatch.setattr("orchestrator.machine.limits.count_cores", lambda: cores)
    monkeypatch.setattr(workers, "calling", lambda _, function, *args: calling_here(function, *args))
    words = Words()
    experiment = make_experiment(execution=execution or ExecutionConfig(), **overrides)
    prepared = workers.settle_workers(prepare(experiment, Root.at(tmp_path), None, None, words.on_message), words)
    return prepared.experiment.execution.workers, [text for text in words.said if "workers" in text or "GPU" in text]


def test_two_cores_train_two_frozen_sets_side_by_side_and_say_so(tmp_path, monkeypatch):
    prefixes = SearchConfig(mode="prefix")
    assert count_workers(tmp_path, monkeypatch, search=prefixes) == (2, ["execution.workers is auto: 2 runs at a time"])
    assert count_workers(tmp_path, monkeypatch, search=prefixes, cores=1) == (1, [])


def test_a_single_run_has_all_cores_and_each_seed_is_a_run(tmp_path, monkeypatch):
    alone = {"mode": "list", "frozen": ("stem",)}
    assert count_workers(tmp_path, monkeypatch, search=SearchConfig(**alone))[0] == 1
    assert count_workers(tmp_path, monkeypatch, search=SearchConfig(**alone, seeds=(1, 2)))[0] == 2


def test_a_sampled_plan_counts_its_trials(tmp_path, monkeypatch):
    search = SearchConfig(sampler="random", n_trials=3)
    assert count_workers(tmp_path, monkeypatch, search=search, cores=3)[0] == 3


@pytest.mark.parametrize(("strategy", "places"), [("full", [0, 1, 3, 2, 4, 5]), ("race", range(6))])
def test_the_trials_of_a_plan_start_so_that_two_workers_end_soonest(tmp_path, strategy, places):
    """35 + 25 beside 33 + 17 + 9 + 1 ends at 60; the costliest first it would be at 61. A race orders for itself."""
    search = SearchConfig(mode="prefix", strategy=strategy)
    experiment = make_experiment(search=search, execution=ExecutionConfig(workers=2))
    root = Root.at(tmp_path)
    root.create()
    prepared = prepare(experiment, root, None, None, print)
    study = OptunaSearch(root, experiment, prepared.costs)
    before = study.planned()
    work = dict(zip([choice.frozen for choice in before], [35, 33, 25, 17, 9, 1], strict=True))
    workers.arrange_trials(study, replace(prepared, work=work))
    assert study.planned() == [before[place] for place in places]


def test_a_sweep_begins_with_the_trials_in_that_order(tmp_path):
    """It is stopped before it begins: 80 images, 3 epochs divide among two workers as those of Beans do."""

    class Plan(LoggingObserver):
        def on_plan(self, experiment, choices, done):
            self.frozen = [choice.frozen for choice in choices]

    drawing = SyntheticConfig(train=80, validation=10, test=10)
    experiment = make_experiment(
        data=DataConfig(source="synthetic", image_size=32, batch_size=8, synthetic=drawing),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu"),
        search=SearchConfig(mode="prefix"),
        execution=ExecutionConfig(workers=2),
    )
    observer, stop = Plan(), threading.Event()
    stop.set()
    run_sweep(experiment, root=tmp_path, observer=observer, stop=stop)
    assert observer.frozen == [PREFIXES[place] for place in (0, 1, 3, 2, 4, 5)]


@pytest.mark.parametrize(("work", "expected"), [({"none": 9.0, KEYS[-1]: 1.0}, 1), ({"none": 9.0, KEYS[-1]: 9.0}, 2)])
def test_the_number_of_workers_follows_from_what_runs_compute(tmp_path, monkeypatch, work, expected):
    """Side by side 9 and 1 end at 9, one after the other on both cores at 10 / 2**0.9 = 5.4; 9 and 9 at 9 and 9.6."""
    monkeypatch.setattr("orchestrator.machine.limits.count_cores", lambda: 2)
    experiment = make_experiment(search=SearchConfig(mode="list", frozen=tuple(work)))
    prepared = replace(prepare(experiment, Root.at(tmp_path), None, None, print), work=work)
    assert workers.settle_workers(prepared, Words()).experiment.execution.workers == expected


@pytest.mark.parametrize(("limit", "boundaries"), [(None, (1, 2, 3, 4, 6)), (9_000_000, (4, 6)), (2_000, (6,))])
def test_nothing_is_kept_for_frozen_sets_over_budget(tmp_path, limit, boundaries):
    """Behind the first three layers 8,395,267 parameters train, behind all blocks and the pool 1,539."""
    search = SearchConfig(mode="prefix", max_trainable_params=limit)
    prepared = prepare(make_experiment(search=search), Root.at(tmp_path), None, None, print)
    assert prepared.cache.boundaries == boundaries


def test_a_number_of_workers_is_taken_as_it_is(tmp_path, monkeypatch):
    assert count_workers(tmp_path, monkeypatch, execution=ExecutionConfig(workers=5)) == (5, [])
    assert count_workers(tmp_path, monkeypatch, execution=ExecutionConfig(mode="inline"))[0] == 1


@pytest.fixture
def two_gpus(monkeypatch):
    concrete = TrainerConfig(accelerator="gpu", precision="bf16-mixed")
    monkeypatch.setattr("orchestrator.training.preparation.prepare.resolve_trainer", lambda _: concrete)
    gpus = tuple(Gpu("H100", 80 * 2**10, f"000{number}") for number in range(2))
    monkeypatch.setattr("orchestrator.training.preparation.prepare.list_gpus", lambda: gpus)


def test_gpus_are_shared_as_the_probe_says(tmp_path, monkeypatch, two_gpus):
    share = GpuShare(busy=0.5, bytes=2**30, free_bytes=2**34)
    monkeypatch.setattr("orchestrator.training.preparation.probe.measure_share", lambda *_: share)
    count, said = count_workers(tmp_path, monkeypatch, search=SearchConfig(mode="prefix"), cores=16)
    assert count == 4
    assert "a run keeps a GPU busy for 50% of the time and takes 1.00 GiB" in said


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no kernel image is available\nmore of it"),
        SetupError("no kernel image is available"),
        AssertionError("no kernel image is available"),
        KeyError("no kernel image is available"),
    ],
    ids=repr,
)
def test_whatever_is_wrong_with_the_probe_each_run_has_a_gpu(tmp_path, monkeypatch, two_gpus, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("orchestrator.training.preparation.probe.measure_share", fail)
    count, said = count_workers(tmp_path, monkeypatch, search=SearchConfig(mode="prefix"), cores=16)
    assert count == 2
    (line,) = [each for each in said if "could not be measured" in each]
    assert line.startswith("how much of a GPU a run takes could not be measured, so each has one: ")
    assert "no kernel image is available" in line
    assert "\n" not in line


def test_a_probe_whose_process_dies_leaves_each_run_a_gpu(tmp_path, monkeypatch, two_gpus):
    class Dead:
        def result(self, say):
            raise SetupError(
                "orchestrator.training.preparation.prepare:measure_gpu_share died from signal 11 (SIGSEGV)"
            )

    def calling(experiment, function, *args):
        return nullcontext(Dead())

    prepared = prepare(make_experiment(search=SearchConfig(mode="prefix")), Root.at(tmp_path), None, None, print)
    assert (prepared.gpus, prepared.gpu_uuids) == (2, ("0000", "0001"))
    monkeypatch.setattr(workers, "calling", calling)
    words = Words()
    assert workers.settle_workers(prepared, words).experiment.execution.workers == 2
    assert any("died from signal 11" in each for each in words.said)


def test_a_sweep_on_the_cpu_says_why_and_uses_no_gpu(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("orchestrator.training.device.explain_cpu", lambda: "of the test")
    monkeypatch.setattr("orchestrator.training.preparation.prepare.explain_cpu", lambda: "of the test")
    prepared = prepare(make_experiment(trainer=TrainerConfig()), Root.at(tmp_path), None, None, said.append)
    assert (prepared.gpus, prepared.gpu_uuids) == (0, ())
    assert said[0] == "trainer.accelerator is auto: runs train on the CPU, because of the test"
    said.clear()
    prepare(make_experiment(trainer=TrainerConfig(accelerator="cpu")), Root.at(tmp_path), None, None, said.append)
    assert not any("trainer.accelerator" in each for each in said)
