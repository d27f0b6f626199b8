"""Every test of this room has a cache of data sets and of weights of its own."""

from pathlib import Path

import datasets
import pytest
import torch


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    before = torch.get_num_threads()
    yield folder
    torch.set_num_threads(before)
