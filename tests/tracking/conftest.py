"""An MLflow store with a sweep that has begun; files that track elsewhere have fixtures of their own."""

import pytest

from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import make_sweep_start
from tests.tracking.reading import Store


@pytest.fixture
def store(mlflow_root: Root) -> Store:
    """What lies in the store, as a fresh client sees it."""
    return Store(mlflow_root)


@pytest.fixture
def tracker(mlflow_root: Root) -> MlflowTracker:
    """A tracker of the sweep `demo`."""
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start())
    return tracker
