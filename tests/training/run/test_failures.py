"""Trainings that fail: each error says what and where, and its cause says whether to try again."""

import os
import re
import signal

import pytest
import torch
from torch.multiprocessing.reductions import rebuild_storage_fd

from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError, RunError
from orchestrator.execution.target import as_run_error
from orchestrator.records.facts import DatasetInfo
from orchestrator.records.place import Workplace
from orchestrator.training.data import loading as data_module
from orchestrator.training.data.collection import open_collection
from orchestrator.training.data.loading import load_data
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.pictures import config, draw, write_image_folder
from tests.training.tiny import RESNET18, make_data, make_spec

pytestmark = pytest.mark.usefixtures("narrow")
ALL = "+".join(RESNET18)


def lose(spec, folder) -> RunError:
    with pytest.raises(RunError, match=r".") as caught:
        run_training(spec, Workplace(directory=str(folder), threads=1), lambda epoch: None)
    assert not (folder / "result.json").exists()
    return caught.value


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_broken_image_names_its_file_also_out_of_a_loader_process(tmp_path, loader_workers):
    folder = write_image_folder(tmp_path / "data", {"train": 4, "validation": 2, "test": 1})
    broken = folder / "train" / "rust" / "0.png"
    broken.write_bytes(draw(2, 0)[:45])
    data = config(folder, memory_mb=0, loader_workers=loader_workers, batch_size=4)
    spec = make_spec(ALL, data=make_data()).model_copy(
        update={"data": data, "data_fingerprint": load_data(data).info.fingerprint}
    )
    error = lose(spec, tmp_path / "run")
    assert (error.cause, error.may_pass) == ("data", False)
    assert str(broken) in error.message
    assert "cannot be decoded" in error.message
    assert "\n" not in error.message
    assert "repair or remove it" in error.hint


class Stumbling:
    """Images of which one cannot be had, for a reason that nobody foresaw."""

    def __init__(self, images, stumble):
        self.labels = images.labels
        self._images = images
        self._stumble = stumble

    def __len__(self):
        return len(self._images)

    def read(self, index, size):
        if index == 5:
            self._stumble()
        return self._images.read(index, size)


@pytest.fixture
def stumble(monkeypatch):
    """Make the sixth image of each split do something else than be read."""
    opened = open_collection

    def install(action):
        def open_collection(config) -> tuple[dict, DatasetInfo]:
            images, info = opened(config)
            return {split: Stumbling(part, action) for split, part in images.items()}, info

        monkeypatch.setattr(data_module, "open_collection", open_collection)

    return install


def raise_lookup_error():
    raise LookupError("no such\nimage")


@pytest.mark.parametrize(
    ("memory_mb", "loader_workers"), [(4096, 0), (0, 0), (0, 1)], ids=["in memory", "streamed", "loader process"]
)
def test_a_loader_that_raises_is_the_datas_fault(tmp_path, stumble, memory_mb, loader_workers):
    spec = make_spec(ALL, data=make_data(memory_mb=memory_mb, loader_workers=loader_workers))
    stumble(raise_lookup_error)
    error = lose(spec, tmp_path)
    assert (error.cause, error.message) == ("data", "LookupError: no such\nimage")
    assert "raise_lookup_error" in error.hint  # the traceback


def test_a_loader_process_that_is_killed_may_do_better_the_next_time(tmp_path, stumble):
    spec = make_spec(ALL, data=make_data(memory_mb=0, loader_workers=1))
    stumble(lambda: os.kill(os.getpid(), signal.SIGKILL))
    error = lose(spec, tmp_path)
    assert (error.cause, error.may_pass) == ("died", True)
    # torch mostly names the process; where it was about to hand a batch over, it does not
    told = r"a loader process died(: DataLoader worker \(pid| before it had handed a batch over: \w+$)"
    assert re.match(told, error.message)


@pytest.mark.parametrize("raised", [EOFError, ConnectionRefusedError, FileNotFoundError])
def test_a_loader_process_that_dies_while_it_hands_a_batch_over_is_dead_too(tmp_path, stumble, raised):
    class Batch:
        def detach(self):
            raise raised

    stumble(lambda: rebuild_storage_fd(torch.UntypedStorage, Batch(), 8))
    error = lose(make_spec(ALL, data=make_data(memory_mb=0, loader_workers=0)), tmp_path)
    assert (error.cause, error.may_pass) == ("died", True)
    assert error.message == f"a loader process died before it had handed a batch over: {raised.__name__}"


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
    ],
    ids=str,
)
def test_full_memory_is_told_apart_and_may_pass(tmp_path, monkeypatch, raised):
    def training_step(module, batch):
        raise raised

    monkeypatch.setattr(FreezingModule, "training_step", training_step)
    error = lose(make_spec(ALL), tmp_path)
    assert (error.cause, error.may_pass) == ("out_of_memory", True)
    assert error.message == f"out of memory: {raised}"
    assert "lower data.batch_size" in error.hint


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors might be reported later",
        "CUDA error: an illegal memory access was encountered",
        "CUDA driver error: invalid context",
    ],
)
def test_what_a_gpu_raises_where_batches_are_pinned_is_not_the_datas_fault(tmp_path, stumble, said):
    """The thread that pins meets the errors of others: of a capture, of a kernel."""

    def fail():
        raise RuntimeError(said)

    stumble(fail)
    with pytest.raises(RuntimeError, match=r"^CUDA") as caught:
        run_training(
            make_spec(ALL, data=make_data(memory_mb=0, loader_workers=0)),
            Workplace(directory=str(tmp_path)),
            lambda epoch: None,
        )
    assert as_run_error(caught.value).cause == "error"


def test_an_unknown_exception_is_shown_as_it_is(tmp_path, monkeypatch):
    def training_step(module, batch):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(FreezingModule, "training_step", training_step)
    with pytest.raises(RuntimeError, match=r"^sizes do not match$"):
        run_training(make_spec(ALL), Workplace(directory=str(tmp_path)), lambda epoch: None)


def test_other_images_than_planned_are_the_datas_fault_and_other_weights_are_not(tmp_path):
    spec = make_spec(ALL)
    assert lose(spec.model_copy(update={"data_fingerprint": "0" * 64}), tmp_path).cause == "data"
    assert lose(spec.model_copy(update={"weights_sha256": "0" * 64}), tmp_path).cause == "error"


def test_a_mistake_in_the_configuration_stays_one(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.num_classes is 4"):
        run_training(
            make_spec(ALL, model=ModelConfig(weights="none", num_classes=4)), Workplace(directory=str(tmp_path)), print
        )
