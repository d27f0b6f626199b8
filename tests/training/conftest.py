"""Every test of this room has a cache of data sets and of weights of its own."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
import torch

from orchestrator.execution.processes import ProcessExecutor
from tests.training.narrow import narrow_networks, real_networks
from tests.training.targets import HERE


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """Let all runs of a module train a narrow network: it is about runs."""
    with narrow_networks():
        yield


@pytest.fixture(scope="package")
def fork_server() -> Iterator[None]:
    """Keep a fork server that has loaded what workers need, for all executors: it ends with the last of them."""
    with ProcessExecutor(f"{HERE}:run_narrow_or_die"):
        yield


@pytest.fixture
def wide() -> Iterator[None]:
    """Let a test in a module of narrow networks have the real one."""
    with real_networks():
        yield


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    before = torch.get_num_threads()
    yield folder
    torch.set_num_threads(before)
