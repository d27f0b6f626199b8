"""Each check on surroundings that were made bad on purpose."""

import os
import platform
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from huggingface_hub import constants

from orchestrator.doctor import caches, examine, machine, packages, stores
from orchestrator.doctor.configuration import check_configuration
from orchestrator.doctor.finding import Finding
from orchestrator.machine.limits import Cores, Memory
from orchestrator.report.pictures import canvas
from orchestrator.storage.databases import find_revisions, newest_revision
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import hold_lock

GIB = 2**30


def tree(folder: Path) -> dict[str, tuple[float, int]]:
    return {str(path): (path.stat().st_mtime, path.stat().st_size) for path in folder.rglob("*")}


def change(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


# All of it


def test_sound_surroundings_are_in_order_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "experiments.yaml").write_text("experiments: {a: {data: {source: synthetic}}}\n")
    before = tree(tmp_path)
    found = by_check(examine(tmp_path / "mlruns"))
    assert tree(tmp_path) == before
    assert {finding.status for finding in found.values()} <= {"ok", "warn"}
    expected = {
        "python",
        "packages",
        "bytecode",
        "device",
        "precision",
        "cpu",
        "memory",
        "pictures",
        "root",
        "disk",
        "mlflow",
        "optuna",
        "locks",
    }
    assert expected | {"hub cache", "data cache", "weights cache", "downloads", "configuration"} == found.keys()
    for check in ("python", "packages", "precision", "root", "mlflow", "optuna", "configuration"):
        assert found[check].status == "ok", found[check]
    assert not (tmp_path / "mlruns").exists()
    assert f"torch {metadata.version('torch')}" in found["packages"].message


# Packages


@pytest.mark.parametrize(
    ("name", "version"), [("pytorch-lightning", "2.6.2"), ("pytorch-lightning", "2.6.3"), ("lightning", "2.6.3")]
)
def test_a_malicious_release_is_refused(monkeypatch, name, version):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda each: version if each == name else real(each))
    first, *_ = packages.check_packages()
    assert first.status == "fail"
    assert f"{name} {version} is a malicious release" in first.message


def test_packages_that_are_missing_or_too_old_are_named_together(monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "optuna":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    (finding,) = packages.check_packages()
    assert finding.status == "fail"
    assert "torch is 1.0, and >=2.11 is needed" in finding.message
    assert "optuna is missing" in finding.message
    assert "make setup" in finding.hint


def test_packages_that_each_process_compiles_anew_are_a_warning(tmp_path, monkeypatch):
    site = tmp_path / "site"
    for name in packages._LARGE:
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
    monkeypatch.setattr(packages, "find_spec", lambda name: SimpleNamespace(origin=str(site / name / "__init__.py")))

    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert packages.check_bytecode().status == "ok"  # the first process writes it
    monkeypatch.setattr(os, "access", lambda path, mode: path != site)
    assert "cannot be written" in packages.check_bytecode().message
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = packages.check_bytecode()
    assert found.status == "warn"
    assert "torch, mlflow, matplotlib" in found.message
    assert "PYTHONDONTWRITEBYTECODE" in found.message

    command = shlex.split(found.hint.partition(": ")[2])
    subprocess.run(command, check=True)
    assert packages.check_bytecode().status == "ok"


def test_an_old_python_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.2")
    assert packages.check_python().status == "fail"


# The machine


def test_a_root_that_cannot_be_a_root(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for place in (file, file / "below"):
        finding = machine.check_root(Root.at(place))
        assert (finding.status, finding.message) == ("fail", f"{file} is no folder")
    strange = tmp_path / "what?"
    strange.mkdir()
    assert "'?'" in machine.check_root(Root.at(strange)).message


def test_a_root_that_cannot_be_written_or_locked(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    finding = machine.check_root(Root.at(tmp_path / "new"))
    assert finding.status == "fail"
    assert f"{tmp_path} was tried) cannot be written and locked: Read-only file system" in finding.message


@pytest.mark.parametrize(("free", "status"), [(100 * GIB, "ok"), (5 * GIB - 1, "warn"), (GIB // 2 - 1, "fail")])
def test_the_disk_is_judged_by_its_free_space(tmp_path, monkeypatch, free, status):
    usage = SimpleNamespace(total=200 * GIB, used=0, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    finding = machine.check_disk(Root.at(tmp_path / "new"))
    assert (finding.status, f"{free / GIB:.1f} of 200.0 GiB free" in finding.message) == (status, True)


def test_a_cache_that_cannot_be_made_is_a_warning(tmp_path):
    (tmp_path / "file").touch()
    finding = caches._check_cache("weights cache", tmp_path / "file" / "hub", "TORCH_HOME")
    assert finding.status == "warn"
    assert finding.message.endswith(f"{tmp_path}/file cannot be written")
    assert "TORCH_HOME" in str(finding.hint)


def test_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(machine, "read_memory", lambda: Memory(total=8 * GIB, available=GIB))
    assert machine.check_memory().status == "warn"


def test_the_limits_of_a_container_are_shown_with_their_source(monkeypatch):
    limit = Memory(total=4 * GIB, available=3 * GIB, limited_by=Path("/sys/fs/cgroup/memory.max"))
    monkeypatch.setattr(machine, "read_memory", lambda: limit)
    quota = Cores(usable=1, quota=1.5, limited_by=Path("/sys/fs/cgroup/cpu.max"))
    monkeypatch.setattr(machine, "read_cores", lambda: quota)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    found = machine.check_memory().message
    assert found == "3.0 of 4.0 GiB available: the limit of the container (/sys/fs/cgroup/memory.max)"
    found = machine.check_cpu().message
    assert found == "1 of 16 cores usable: the container is given the time of 1.5 (/sys/fs/cgroup/cpu.max)"


def test_a_picture_is_drawn_and_one_that_cannot_be_keeps_nobody_from_sweeping(monkeypatch):
    assert machine.check_pictures().status == "ok"

    def refuse(*_args, **_options):
        raise ValueError("Key backend: 'x' is no backend")

    monkeypatch.setattr(canvas, "Page", refuse)
    finding = machine.check_pictures()
    assert (finding.status, "ValueError: Key backend" in finding.message) == ("warn", True)


# Databases


def test_an_mlflow_store_of_the_installed_version_is_in_order(mlflow_root):
    """The fixture's store was made by MLflow itself."""
    before = tree(mlflow_root.path)
    finding = stores.check_mlflow(mlflow_root.mlflow_db)
    assert finding.status == "ok", finding
    assert "0 runs" in finding.message
    assert tree(mlflow_root.path) == before


def test_an_older_mlflow_store_says_what_to_run(mlflow_root):
    revisions = find_revisions("mlflow", "store/db_migrations/versions")
    older = revisions[newest_revision(revisions)]
    change(mlflow_root.mlflow_db, f"UPDATE alembic_version SET version_num = '{older}'")
    finding = stores.check_mlflow(mlflow_root.mlflow_db)
    assert finding.status == "fail"
    assert f"its schema {older} is older" in finding.message
    assert f"mlflow db upgrade sqlite:///{mlflow_root.mlflow_db}" in finding.hint


def test_a_newer_or_foreign_database_is_told_apart(mlflow_root, tmp_path):
    change(mlflow_root.mlflow_db, "UPDATE alembic_version SET version_num = 'feedbeef0000'")
    assert "schema feedbeef0000 is of a newer mlflow" in stores.check_mlflow(mlflow_root.mlflow_db).message
    foreign = tmp_path / "foreign.db"
    change(foreign, "CREATE TABLE birds (name)")
    finding = stores.check_mlflow(foreign)
    assert (finding.status, "none of mlflow" in finding.message) == ("fail", True)


def test_what_is_no_database_or_damaged_is_refused(mlflow_root, tmp_path):
    (tmp_path / "text.db").write_text("this is no database at all, but longer than a header" * 10)
    assert "cannot be read: file is not a database" in stores.check_mlflow(tmp_path / "text.db").message
    content = bytearray(mlflow_root.mlflow_db.read_bytes())
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    mlflow_root.mlflow_db.write_bytes(content)
    finding = stores.check_mlflow(mlflow_root.mlflow_db)
    assert finding.status == "fail"
    assert "move" in finding.hint


def test_an_empty_file_is_filled_by_the_first_sweep(tmp_path):
    (tmp_path / "mlflow.db").touch()
    assert stores.check_mlflow(tmp_path / "mlflow.db").status == "ok"


def test_optuna_studies_are_counted_and_an_older_schema_says_what_to_run(tmp_path):
    root = Root.at(tmp_path)
    storage = optuna.storages.RDBStorage(f"sqlite:///{root.optuna_db}")
    for name in ("a", "b"):
        optuna.create_study(study_name=name, storage=storage)
    finding = stores.check_optuna(root)
    assert (finding.status, "2 studies" in finding.message) == ("ok", True)
    assert storage.get_head_version() in finding.message
    change(root.optuna_db, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    finding = stores.check_optuna(root)
    assert finding.status == "fail"
    assert f"optuna storage upgrade --storage sqlite:///{root.optuna_db}" in finding.hint


def test_an_old_file_store_has_a_migration_line_that_mlflow_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Root.at(tmp_path / "old runs")
    assert list(stores.check_file_store(root)) == []
    (root.path / "0").mkdir(parents=True)
    (root.path / "0" / "meta.yaml").write_text("name: Default\n")
    (finding,) = stores.check_file_store(root)
    target = f"'sqlite:///{root.path}/mlflow.db'"
    assert f"mlflow migrate-filestore --source '{root.path}' --target {target}" in finding.hint
    source = (Path(metadata.distribution("mlflow").locate_file("mlflow")) / "store/fs2db/cli.py").read_text()
    assert all(word in source for word in ('"migrate-filestore"', '"--source"', '"--target"'))
    root.mlflow_db.touch()  # it would be deleted: another one then
    (finding,) = stores.check_file_store(root)
    assert f"--target 'sqlite:///{root.path}/migrated.db'" in finding.hint


# Who works here


def test_the_owner_of_a_sweep_is_named(tmp_path):
    root = Root.at(tmp_path)
    assert stores.check_locks(root).message == "nobody sweeps here"
    with hold_lock(root.lock("beans")):
        assert f"beans by process {os.getpid()} on " in stores.check_locks(root).message
    assert stores.check_locks(root).message == "nobody sweeps here"


def test_records_that_wait_for_the_store_are_a_warning(tmp_path):
    spool = Root.at(tmp_path).spool("beans")
    spool.parent.mkdir()
    spool.touch()
    assert list(stores.check_spool(Root.at(tmp_path))) == []
    spool.write_text("{}\n")
    (finding,) = stores.check_spool(Root.at(tmp_path))
    assert (finding.status, "(3 bytes)" in finding.message) == ("warn", True)


def test_caches_are_measured_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "data" / "x").mkdir(parents=True)
    with (tmp_path / "data" / "x" / "file").open("wb") as file:
        file.truncate(GIB // 2)  # sparse
    (tmp_path / "data" / "link").symlink_to("x/file")  # is not counted twice
    assert [finding.message for finding in caches.check_caches()] == [
        f"{tmp_path}/hub: nothing yet",
        f"{tmp_path}/data: 0.50 GiB",
        f"{tmp_path}/torch/hub: nothing yet",
    ]


@pytest.mark.parametrize(("value", "status"), [("1", "warn"), ("true", "warn"), ("0", "ok"), ("", "ok")])
def test_offline_flags_are_named(monkeypatch, value, status):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", value)
    finding = caches.check_offline()
    assert (finding.status, "HF_DATASETS_OFFLINE" in finding.message) == (status, status == "warn")


# The configuration


def test_mistakes_of_the_configuration_are_on_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Root.at("mlruns")
    (missing,) = check_configuration(None, root)
    assert missing.status == "warn"
    (named,) = check_configuration(Path("other.yaml"), root)
    assert (named.status, named.message) == ("fail", "other.yaml: no such file")
    Path("experiments.yaml").write_text("experiments: {a: {data: {source: 5}}, b: {trainr: {}, data: {source: x}}}")
    (bad,) = check_configuration(None, root)
    assert bad.status == "fail"
    assert bad.message.startswith("2 mistakes; ")
    assert "\n" not in bad.message


def test_tracking_stores_of_the_configuration_are_tried_and_credentials_masked(tmp_path, mlflow_root):
    shutil.copy(mlflow_root.mlflow_db, tmp_path / "elsewhere.db")
    uris = {
        "a": "http://user:secret@127.0.0.1:9/mlflow",  # the discard port: nobody listens
        "b": f"sqlite:///{tmp_path}/elsewhere.db",
        "c": "postgresql://user:secret@db/mlflow",
    }
    entries = (
        f"{name}: {{data: {{source: synthetic}}, tracking: {{mlflow_uri: '{uri}'}}}}" for name, uri in uris.items()
    )
    file = tmp_path / "experiments.yaml"
    file.write_text(f"experiments: {{{', '.join(entries)}}}")
    configuration, server, database, other = check_configuration(file, mlflow_root)
    assert [each.status for each in (configuration, server, database, other)] == ["ok", "warn", "ok", "ok"]
    assert "http://***@127.0.0.1:9/mlflow does not answer" in server.message
    assert "postgresql://***@db/mlflow: not tried" in other.message
    assert not any("secret" in each.model_dump_json() for each in (configuration, server, database, other))


def test_a_root_that_was_moved_is_named_until_a_command_has_mended_it(mlflow_root, tmp_path):
    from orchestrator.app.keeping import mend_store
    from orchestrator.tracking.mlflow.store import MlflowStore

    MlflowStore(mlflow_root, "demo", None).open()
    assert list(stores.check_places(mlflow_root)) == []
    root = Root.at(mlflow_root.path.rename(tmp_path / "new"))
    (finding,) = stores.check_places(root)
    assert finding.status == "warn"
    assert finding.message.startswith(f"the root was {mlflow_root.path} before, and its MLflow store looks for")
    said = []
    mend_store(root, said.append)
    assert [f"the root {root.path} was {mlflow_root.path} before" in each for each in said] == [True]
    assert list(stores.check_places(root)) == []
