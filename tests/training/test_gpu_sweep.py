"""Sweeps on a CUDA device, and runs beside each other: `make test-gpu`. All of it is drawn; nothing is downloaded."""

import re

import pytest
import torch

from orchestrator import run_sweep
from orchestrator.config.models import (
    DataConfig,
    ExecutionConfig,
    ModelConfig,
    SearchConfig,
    SyntheticConfig,
    TrainerConfig,
)
from orchestrator.errors import RunError
from orchestrator.execution.calls import calling_apart
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import Workplace
from orchestrator.storage.layout import Root
from orchestrator.training.device import resolve_trainer
from tests.doubles.words import Words
from tests.factories import make_experiment
from tests.tracking.reading import Store
from tests.training.gpu import gpu_spec, used_mib
from tests.training.targets import HERE

pytestmark = pytest.mark.gpu
TIMEOUT_S = 300
KEYS = ("none", "stem+layer1", "stem+layer1+layer2+layer3+layer4")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of three frozen sets with all defaults of execution, what it said, and its root."""
    root, words = tmp_path_factory.mktemp("mlruns"), Words()
    experiment = make_experiment(
        data=DataConfig(
            source="synthetic", image_size=64, synthetic=SyntheticConfig(train=240, validation=48, test=48)
        ),
        model=ModelConfig(weights="none"),
        trainer=TrainerConfig(max_epochs=3),
        search=SearchConfig(mode="list", frozen=KEYS),
        execution=ExecutionConfig(),
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
        sweep, outcome = run_sweep(experiment, root=root, observer=words)
    return sweep, outcome, words.said, Root.at(root)


def test_a_sweep_with_all_defaults_runs_in_worker_processes(swept, record_property):
    sweep, outcome, said, _ = swept
    assert (outcome.trained, outcome.failed_runs) == (3, 0), said
    results = [run.result for trial in sweep.trials for run in trial.runs]
    assert {result.device for result in results} <= {
        torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())
    }
    assert {result.precision for result in results} == {resolve_trainer(TrainerConfig()).precision}
    assert [result.notes for result in results] == [()] * 3
    record_property("images/s", "/".join(f"{result.images_per_s:.0f}" for result in results))
    record_property("peak MiB", "/".join(f"{result.peak_memory_mb:.0f}" for result in results))


def test_its_probe_measured_a_gpu_in_a_helper(swept, record_property):
    said = [each for each in swept[2] if "of a GPU a run takes" in each or "a run keeps a GPU busy" in each]
    (line,) = said
    assert re.match(r"a run keeps a GPU busy for \d+% of the time and takes", line), line
    record_property("share", line.removeprefix("a run keeps a GPU "))


def test_its_gpus_are_system_metrics_with_their_energy(swept, record_property):
    *_, root = swept
    metrics = Store(root).parent().data.metrics
    assert metrics["system/gpu_0_memory_usage_megabytes"] > 0
    assert 0 <= metrics["system/gpu_0_utilization_percentage"] <= 100
    record_property("energy Wh", f"{metrics.get('system/gpu_0_energy_wh', float('nan')):.3f}")


def test_the_probe_leaves_nothing_on_the_gpu():
    before = used_mib()
    trainer = TrainerConfig(accelerator="gpu", precision=resolve_trainer(TrainerConfig()).precision)
    experiment = make_experiment(trainer=trainer)
    said = []
    with calling_apart(
        f"{HERE}:run_or_die", "orchestrator.training.preparation.prepare:measure_gpu_share", experiment, 3, 45
    ) as call:
        share = call.result(said.append)
    assert said == []
    assert 0 < share.busy <= 1
    assert 0 < share.bytes < share.free_bytes
    assert abs(used_mib() - before) < 64


def submit(executor, folder, spec, **workplace):
    return executor.submit(spec, Workplace(directory=str(folder), **workplace), lambda _: None)


def test_the_last_gpu_is_used_where_it_is_given_and_no_other(tmp_path):
    last = torch.cuda.device_count() - 1
    others = [torch.cuda.mem_get_info(number)[0] for number in range(last)]
    seen = []
    with ProcessExecutor(f"{HERE}:run_or_die") as executor:
        place = Workplace(directory=str(tmp_path), gpu=last)

        def look(_):
            seen.append([torch.cuda.mem_get_info(number)[0] for number in range(last)])

        result = executor.submit(gpu_spec("none"), place, look).result(TIMEOUT_S)
    assert result.device == torch.cuda.get_device_name(last)
    for free in seen:
        assert all(abs(now - before) < 64 * 2**20 for now, before in zip(free, others, strict=True))


def test_two_runs_on_one_gpu_give_what_each_gives_alone(tmp_path):
    specs = [gpu_spec("none"), gpu_spec("stem+layer1")]
    with ProcessExecutor(f"{HERE}:run_or_die", workers=2, gpus=1) as executor:
        beside = [submit(executor, tmp_path / f"beside{number}", spec) for number, spec in enumerate(specs)]
        beside = [future.result(TIMEOUT_S) for future in beside]
        alone = [submit(executor, tmp_path / f"alone{n}", spec, alone=True) for n, spec in enumerate(specs)]
        alone = [future.result(TIMEOUT_S) for future in alone]
    for one, two in zip(beside, alone, strict=True):
        assert [epoch.val_loss for epoch in one.history] == [epoch.val_loss for epoch in two.history]


def test_a_run_whose_gpu_is_full_says_so_and_leaves_nothing(tmp_path):
    before = used_mib()
    with ProcessExecutor(f"{HERE}:run_in_little_memory", gpus=1) as executor:
        error = submit(executor, tmp_path, gpu_spec("none")).exception(TIMEOUT_S)
    assert isinstance(error, RunError)
    assert (error.cause, error.may_pass) == ("out_of_memory", True)
    assert abs(used_mib() - before) < 64
