"""Where a sweep writes: every path lies under the root, whatever the names."""

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SetupError
from orchestrator.storage.layout import DEFAULT_ROOT, Root, safe_name

WILD = ["..", ".", "...", "../../etc", "/etc/passwd", "a/../../b", "", " ", "~", "a\\b", "a\nb", ".hidden", "a\x00b"]


def test_the_paths_under_a_root():
    root = Root.at("/data/runs")
    assert root.mlflow_db == Path("/data/runs/mlflow.db")
    assert root.mlflow_uri == "sqlite:////data/runs/mlflow.db"
    assert root.optuna_db == Path("/data/runs/optuna.db")
    assert root.cache == Path("/data/runs/cache")
    assert root.artifacts == Path("/data/runs/artifacts")
    assert root.run_dir("abc") == Path("/data/runs/checkpoints/abc")
    assert root.tensorboard() == Path("/data/runs/tensorboard")
    assert root.tensorboard("beans") == Path("/data/runs/tensorboard/beans")
    assert root.reports("beans-all") == Path("/data/runs/reports/beans-all")
    assert root.lock("beans.v2_1") == Path("/data/runs/locks/beans.v2_1.lock")


def test_what_a_command_needs_to_find_a_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Root.at("mlruns").option == ""
    assert Root.at("my runs").option == f" --root '{tmp_path}/my runs'"


def test_a_root_is_absolute_and_nothing_is_created(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Root.at(DEFAULT_ROOT).path == tmp_path.resolve() / "mlruns"
    assert Root.at("a/../b").path == tmp_path.resolve() / "b"
    assert Root.at("~/runs").path == (tmp_path / "home" / "runs").resolve()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WILD)
def test_a_wild_name_stays_under_the_root(name):
    root = Root.at("/data/runs")
    for path in (root.tensorboard(name), root.reports(name), root.lock(name)):
        inside = Path(os.path.normpath(path)).relative_to("/data/runs")
        assert len(inside.parts) == 2  # one folder of ours, one component of the name's


@given(st.text())
def test_a_safe_name_is_one_visible_component(name):
    safe = safe_name(name)
    assert safe
    assert "/" not in safe
    assert "\x00" not in safe
    assert not safe.startswith(".")
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["beans", "beans-all", "a.b_c-1", "trial_007_stem+layer1_seed0", "lr=0.1", "Äpfel"])
def test_a_tame_name_stays_as_it_is(name):
    assert safe_name(name) == name


@pytest.mark.parametrize("folder", ["with blank", "ä ö ß", "it's", 'say "x"', "100%", "a#b", "deep/er"])
def test_a_root_may_have_any_name(tmp_path, folder):
    root = Root.at(tmp_path / folder)
    root.create()
    root.create()  # again
    assert (tmp_path / folder).is_dir()
    sqlite3.connect(root.optuna_db).close()
    assert root.optuna_db.parent == tmp_path.resolve() / folder


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SetupError, match=r"^cannot create the root /.*/file") as caught:
            Root.at(path).create()
        assert caught.value.hint == "choose another --root"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the super-user")
def test_a_root_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SetupError, match=r"cannot be written$"):
            Root.at(tmp_path).create()
    finally:
        tmp_path.chmod(0o700)


def test_a_path_is_written_relative_to_the_root_so_that_it_can_be_moved(tmp_path):
    root = Root.at(tmp_path)
    assert root.relative(root.run_dir("abc") / "best.ckpt") == "checkpoints/abc/best.ckpt"
    assert root.relative(Path("/elsewhere/best.ckpt")) == "/elsewhere/best.ckpt"


@pytest.mark.parametrize("name", ["what?", "50%20off"])
def test_a_path_that_no_store_can_be_addressed_by_is_refused(tmp_path, name):
    with pytest.raises(SetupError, match=r"which means something else in a database.s address"):
        Root.at(tmp_path / name).create()
