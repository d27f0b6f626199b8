"""A root for the studies of a test."""

from pathlib import Path

import pytest

from orchestrator.storage.layout import Root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root.at(tmp_path / "mlruns")
    root.create()
    return root
