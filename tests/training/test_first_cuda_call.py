"""Machines whose management library reports GPUs while no driver is behind them: who needs CUDA says so, once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.doubles.nvml import DRIVER, GPUS

SITE = Path(__file__).parents[1] / "doubles" / "site"
REPOSITORY = SITE.parents[2]
CLEAR = "torch cannot use the GPU of this machine: Found no NVIDIA driver on your system."
VERSIONS = f"(torch {torch.__version__}, built for CUDA {torch.version.cuda}; NVIDIA driver {DRIVER})"
SCRIPT = "from orchestrator.cli import script; script()"
PROCESSES = """
import json, sys
from pathlib import Path
from orchestrator.config.models import SearchConfig, TrainerConfig
from orchestrator.execution.calls import calling_apart
from orchestrator.execution.processes import ProcessExecutor, loading_ahead
from orchestrator.records.place import Workplace
from tests.factories import make_experiment, make_spec

RUN = "orchestrator.training.run.run:run_training"
concrete = TrainerConfig(accelerator="gpu", precision="bf16-mixed")
said, errors = [], []
with loading_ahead(RUN):
    experiment = make_experiment(trainer=concrete, search=SearchConfig(mode="prefix"))
    with calling_apart(RUN, "orchestrator.training.preparation.prepare:measure_gpu_share", experiment, 3, 100) as call:
        share = call.result(said.append)
    with ProcessExecutor(RUN, workers=2, gpus=2) as executor:
        places = [Workplace(directory=str(Path(sys.argv[1]) / str(seed))) for seed in range(2)]
        specs = [make_spec("stem", seed, trainer=concrete) for seed in range(2)]
        futures = [executor.submit(spec, place, print) for spec, place in zip(specs, places)]
        errors = [future.exception(300) for future in futures]
print(json.dumps([share, said, [[error.message, error.hint, error.cause] for error in errors]]))
"""


def call(*arguments, gpus=2, **environment):
    known = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    paths = os.pathsep.join(map(str, (SITE, REPOSITORY)))
    environment = known | {"PYTHONPATH": paths, GPUS: str(gpus), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-c", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_a_sweep_on_a_driver_that_does_not_fit_ends_with_one_clear_error(tmp_path):
    (tmp_path / "experiments.yaml").write_text(
        "experiments: {drawn: {data: {source: synthetic}, model: {weights: none}, search: {scores: false}}}\n"
    )
    command = ("sweep", "drawn", "--root", str(tmp_path / "mlruns"), "--config", str(tmp_path / "experiments.yaml"))
    done = call(SCRIPT, *command)
    said = " ".join(done.stderr.split())
    assert done.returncode == 5, done.stderr
    assert said.count(CLEAR) == 1
    assert VERSIONS in said
    assert "trainer.accelerator=cpu" in said
    assert "Traceback" not in done.stderr


def test_every_process_that_a_sweep_starts_fails_at_its_first_cuda_call_with_the_same_error(tmp_path):
    done = call(PROCESSES, str(tmp_path))
    assert done.returncode == 0, done.stderr
    share, said, errors = json.loads(done.stdout.splitlines()[-1])
    assert share is None
    assert len(said) == 1
    assert said[0].startswith(f"how much of a GPU a run takes could not be measured, so each has one: {CLEAR}")
    assert VERSIONS in said[0]
    for message, hint, cause in errors:
        assert message.startswith(CLEAR)
        assert VERSIONS in message
        assert "trainer.accelerator=cpu" in hint
        assert cause == "error"


@pytest.mark.parametrize("first", ["orchestrator.training.run", "orchestrator.training.preparation.prepare"])
def test_what_a_fork_server_imports_makes_no_call_into_cuda(first):
    """CUDA that was started before a fork cannot be used after it."""
    spy = f"""
import torch
called = []

def watch(name, function):
    def call(*args, **options):
        called.append(name)
        return function(*args, **options)
    return call

for name in dir(torch._C):
    function = getattr(torch._C, name)
    if name.startswith("_cuda") and callable(function) and not isinstance(function, type):
        setattr(torch._C, name, watch(name, function))
import {first}, orchestrator.training.run
assert not torch.cuda.is_initialized()
print(sorted(set(called)))
"""
    done = call(spy)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
