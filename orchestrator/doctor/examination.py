"""All checks in the order in which they are read."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.caches import check_caches, check_offline
from orchestrator.doctor.configuration import check_configuration
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.machine import check_cpu, check_device, check_disk, check_memory, check_pictures, check_root
from orchestrator.doctor.packages import check_bytecode, check_packages, check_python
from orchestrator.doctor.stores import (
    check_file_store,
    check_locks,
    check_mlflow,
    check_optuna,
    check_places,
    check_spool,
)
from orchestrator.storage.layout import DEFAULT_ROOT, Root


def examine(root: str | Path = DEFAULT_ROOT, config: str | Path | None = None) -> list[Finding]:
    """Check everything that a sweep needs. Loads torch; nothing is created but a temporary file, and nothing changed.

    Args:
        root: Folder that holds everything a sweep writes; it need not exist.
        config: Configuration file; None: `experiments.yaml` of the working directory, if there is one.
    """
    return list(_check_all(Root.at(root), None if config is None else Path(config)))


def _check_all(root: Root, config: Path | None) -> Iterator[Finding]:
    yield check_python()
    yield from check_packages()
    yield check_bytecode()
    yield from check_device()
    yield check_cpu()
    yield check_memory()
    yield check_pictures()
    yield check_root(root)
    yield check_disk(root)
    yield check_mlflow(root.mlflow_db)
    yield from check_places(root)
    yield from check_file_store(root)
    yield check_optuna(root)
    yield check_locks(root)
    yield from check_spool(root)
    yield from check_caches()
    yield check_offline()
    yield from check_configuration(config, root)
