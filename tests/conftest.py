"""Fixtures that several rooms share."""

import gc
import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from orchestrator.storage.flock import build_lock
from orchestrator.storage.layout import Root

# what is found of networks is found by these sources, and kept for one session
os.environ["ORCHESTRATOR_NETWORKS"] = tempfile.mkdtemp(prefix="networks-")
if "PYTEST_XDIST_WORKER" in os.environ:
    # torch starts a thread a core in each test process, and threads that wait for each other's cores wait five times
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Spare the libraries' objects, which stay, from the collection of garbage at the end of each run."""
    gc.collect()
    gc.freeze()


@event.listens_for(Engine, "connect")
def _wait_for_no_disk(connection: object, _: object) -> None:
    """Let SQLite leave to the system when a commit reaches the disk: no test cuts the power."""
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.Error):  # of a file that is no database: the test is about what comes next
            connection.execute("PRAGMA synchronous = OFF")


def pytest_unconfigure() -> None:
    """Give them back, or their libraries report them as leaked at the end."""
    gc.unfreeze()
    shutil.rmtree(os.environ["ORCHESTRATOR_NETWORKS"], ignore_errors=True)


@pytest.fixture(scope="session")
def mlflow_store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, migrated once for all tests (about 10 s) and for all worker processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    template = shared / "mlflow-template.db"
    with build_lock(shared / "mlflow-template.lock"):
        if not template.exists():
            from orchestrator.tracking.mlflow.store import MlflowStore

            fresh = Root.at(shared / "mlflow-template")
            MlflowStore(fresh, "Default", None).open()
            shutil.copyfile(fresh.mlflow_db, template)
    return template


@pytest.fixture
def mlflow_root(tmp_path: Path, mlflow_store_template: Path) -> Root:
    """A root of its own whose MLflow store needs no initialisation."""
    root = Root.at(tmp_path / "mlruns")
    root.create()
    shutil.copyfile(mlflow_store_template, root.mlflow_db)
    return root
