"""A hint for each cause: what is whole is not to be moved away. Each hint is followed."""

import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from orchestrator.errors import SetupError
from orchestrator.search import study_names
from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow import database
from orchestrator.tracking.mlflow.store import MlflowStore

_REPEATABLE = "75868b020152"
"""A revision of MLflow's schema before the newest."""


def hint_of_mlflow(root: Root, uri: str | None = None) -> str:
    with pytest.raises(SetupError, match="cannot open the MLflow store") as caught:
        MlflowStore(root, "demo", uri).open()
    return caught.value.hint


def hint_of_optuna(root: Root) -> str:
    with pytest.raises(SetupError, match="cannot use the studies in") as caught:
        study_names(root)
    return caught.value.hint


@pytest.fixture
def studied(mlflow_root: Root) -> Root:
    """A root with both stores."""
    optuna.create_study(study_name="demo", storage=f"sqlite:///{mlflow_root.optuna_db}")
    return mlflow_root


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(statement)


def run(command: str) -> None:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("store", "ask"), [("mlflow_db", hint_of_mlflow), ("optuna_db", hint_of_optuna)])
def test_a_store_that_another_program_holds_is_whole_and_the_program_is_named(store, ask, studied, monkeypatch):
    monkeypatch.setattr(database, "_WAIT_S", 0.1)
    monkeypatch.setattr("orchestrator.search.store._WAIT_S", 0.1)
    file = getattr(studied, store)
    code = f"import sqlite3; db = sqlite3.connect({str(file)!r}); db.execute('begin exclusive')"
    code += "; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        hint = ask(studied)
        assert hint.startswith("it is whole, and held by python")
        assert f"(process {holder.pid}): end that, and give the same command again" in hint
        holder.kill()
    MlflowStore(studied, "demo", None).open()
    assert study_names(studied) == ["demo"]


def test_an_older_schema_of_mlflow_is_brought_up_to_date_by_the_hint(studied):
    """By its number alone: MLflow brings a store that lacks tables up to date without being asked."""
    with closing(sqlite3.connect(studied.mlflow_db)) as db:
        (newest,) = db.execute("select version_num from alembic_version").fetchone()
    execute(studied.mlflow_db, f"update alembic_version set version_num = '{_REPEATABLE}'")
    hint = hint_of_mlflow(studied)
    assert hint.startswith(f"it is of an older mlflow, and whole: cp {shlex.quote(str(studied.mlflow_db))} ")
    assert hint.endswith(f"/mlflow db upgrade {shlex.quote(studied.mlflow_uri)}")
    assert newest != _REPEATABLE


def test_an_older_schema_of_optuna_is_brought_up_to_date_by_the_hint(studied):
    execute(studied.optuna_db, "update alembic_version set version_num = 'v3.0.0.d'")
    hint = hint_of_optuna(studied)
    assert hint.startswith("it is of an older optuna, and whole: cp ")
    run(hint.partition("whole: ")[2])
    assert study_names(studied) == ["demo"]


@pytest.mark.parametrize(("store", "ask"), [("mlflow_db", hint_of_mlflow), ("optuna_db", hint_of_optuna)])
def test_a_newer_schema_is_not_to_be_moved_away(store, ask, studied):
    execute(getattr(studied, store), "update alembic_version set version_num = 'abc123def456'")
    name = {"mlflow_db": "mlflow", "optuna_db": "optuna"}[store]
    assert ask(studied) == f"it is of a newer {name} than the installed one, and whole: pip install -U {name}"


@pytest.mark.parametrize(("store", "ask"), [("mlflow_db", hint_of_mlflow), ("optuna_db", hint_of_optuna)])
def test_only_what_is_damaged_is_to_be_moved_away(store, ask, studied):
    file = getattr(studied, store)
    copy = shutil.copyfile(file, f"{file}.copy")
    file.write_bytes(b"this is no database" * 100)
    assert ask(studied) == f"it is damaged: put a copy of {file} back if there is one; else move it away to start over"
    shutil.copyfile(copy, file)
    assert study_names(studied) == ["demo"]
    file.unlink()
    assert study_names(studied) == ([] if store == "optuna_db" else ["demo"])


@pytest.mark.parametrize(
    ("uri", "package"),
    [("postgresql://u:p@h/db", "'psycopg[binary]'"), ("mysql://u:p@h/db", "mysqlclient")],
)
def test_a_missing_driver_is_named_as_what_to_install(uri, package, tmp_path):
    assert hint_of_mlflow(Root.at(tmp_path), uri) == f"its driver is not installed: pip install {package}"


def test_a_place_that_is_no_file_is_said_to_be_one(studied):
    studied.optuna_db.unlink()
    studied.optuna_db.mkdir()
    from orchestrator.search.store import open_storage, translated

    with pytest.raises(SetupError) as caught, translated(studied):
        open_storage(studied)
    assert caught.value.hint.startswith(f"see that {studied.optuna_db} is a file in a folder that may be written")
