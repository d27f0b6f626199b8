"""A root that is moved or copied: artifacts are read and written where the root lies, and nobody else's are touched."""

import fcntl
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.errors import SetupError
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import hold_lock
from orchestrator.tracking.mlflow.relocation import to_path
from orchestrator.tracking.mlflow.store import MlflowStore
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import make_result, make_run_start, make_sweep_start
from tests.tracking.reading import Store

SAID = "the MLflow store looks for its artifacts here now"


def track(root: Root, number: int = 0, *, name: str = "demo", uri: str | None = None) -> tuple[list[str], str]:
    """Track one finished run of a sweep; what was said, and the run."""
    said: list[str] = []
    tracker = MlflowTracker(root, name, uri, said.append)
    tracker.start_sweep(make_sweep_start(name))
    run = tracker.start_run(make_run_start(number, seed=number))
    run.finish(make_result(seed=number))
    tracker.end_sweep("finished")
    return said, run.run_id


def move(root: Root, to: Path) -> Root:
    root.path.rename(to)
    return Root.at(to)


def places(root: Root) -> set[str]:
    """All places of artifacts that the tables know."""
    with closing(sqlite3.connect(root.mlflow_db)) as db:
        return {
            value
            for query in ("select artifact_location from experiments", "select artifact_uri from runs")
            for (value,) in db.execute(query)
        }


def test_a_moved_root_keeps_its_artifacts_and_writes_beside_them(mlflow_root, tmp_path):
    said, first = track(mlflow_root)
    assert said == []
    old = mlflow_root.path
    root = move(mlflow_root, tmp_path / "new place")
    said, second = track(root, 1)
    assert len(said) == 1
    assert said[0].startswith(f"the root {root.path} was {old} before: {SAID} (")
    assert not old.exists()
    store = Store(root)
    for run in (first, second):
        assert {each.path for each in store.client.list_artifacts(run)} >= {"spec.json", "confusion_matrix.json"}
    assert all(to_path(place).is_relative_to(root.artifacts) for place in places(root) if "template" not in place)
    assert track(root, 2)[0] == []  # mended once


def test_report_too_finds_its_place(mlflow_root, tmp_path):
    track(mlflow_root)
    root = move(mlflow_root, tmp_path / "new")
    picture = tmp_path / "front.png"
    picture.write_bytes(b"png")
    said = []
    MlflowTracker(root, "demo", None, said.append).keep_files([picture])
    assert len(said) == 1
    parent = Store(root).parent().info.run_id
    assert "front.png" in {each.path for each in Store(root).client.list_artifacts(parent)}
    assert not mlflow_root.path.exists()


def test_a_copy_uses_its_own_and_the_original_stays_as_it_is(mlflow_root, tmp_path):
    _, first = track(mlflow_root)
    copy = Root.at(tmp_path / "copy")
    shutil.copytree(mlflow_root.path, copy.path)
    before = {path: path.read_bytes() for path in mlflow_root.path.rglob("*") if path.is_file()}
    said, second = track(copy, 1)
    assert len(said) == 1
    assert {path: path.read_bytes() for path in mlflow_root.path.rglob("*") if path.is_file()} == before
    for run in (first, second):
        assert Store(copy).client.get_run(run).info.artifact_uri.startswith(copy.path.as_uri())
    assert track(mlflow_root, 2)[0] == []


def test_what_an_older_version_wrote_to_the_old_place_is_brought_along(mlflow_root, tmp_path):
    _, run = track(mlflow_root)
    old = mlflow_root.path
    root = move(mlflow_root, tmp_path / "new")
    late = old / "artifacts" / "demo" / run / "artifacts"
    late.mkdir(parents=True)  # brought into being again
    (late / "late.txt").write_text("late")
    said, _ = track(root, 1)
    assert said[0].endswith("; 1 folders of artifacts that had been written there since were copied here)")
    assert "late.txt" in {each.path for each in Store(root).client.list_artifacts(run)}
    assert (late / "late.txt").exists()


def test_places_that_never_were_under_the_root_stay(mlflow_root, tmp_path):
    track(mlflow_root)
    client = MlflowClient(tracking_uri=mlflow_root.mlflow_uri)
    own = {
        "s3": "s3://bucket/artifacts/s3",
        "disk": f"file://{tmp_path}/big/artifacts/disk",
        "beside": f"file://{mlflow_root.path}-2/artifacts/beside",
    }
    for name, place in own.items():
        client.create_run(client.create_experiment(name, artifact_location=place))
    root = move(mlflow_root, tmp_path / "new")
    track(root, 1)
    client = MlflowClient(tracking_uri=root.mlflow_uri)
    for name, place in own.items():
        experiment = client.get_experiment_by_name(name)
        assert experiment.artifact_location == place
        (found,) = client.search_runs([experiment.experiment_id])
        assert found.info.artifact_uri.startswith(place)


@pytest.mark.parametrize(("old", "new"), [("a", "a/b"), ("a/b", "a"), ("a b%é", "c'd_%"), ("a", "a2")])
def test_paths_that_contain_each_other_or_are_escaped(old, new, tmp_path, mlflow_store_template):
    root = Root.at(tmp_path / old)
    root.create()
    shutil.copyfile(mlflow_store_template, root.mlflow_db)
    _, run = track(root)
    aside = tmp_path / "aside"
    root.path.rename(aside)
    shutil.rmtree(tmp_path / "a", ignore_errors=True)
    (tmp_path / new).parent.mkdir(exist_ok=True)
    root = move(Root.at(aside), tmp_path / new)
    for again in (1, 2):
        assert len(track(root, again)[0]) == (again == 1)
    assert len(Store(root).client.list_artifacts(run)) == 3
    assert all(to_path(place).is_relative_to(root.artifacts) for place in places(root) if "template" not in place)


def test_models_and_traces_move_along(mlflow_root, tmp_path):
    track(mlflow_root)
    old = mlflow_root.path
    with closing(sqlite3.connect(mlflow_root.mlflow_db)) as db, db:
        db.execute("pragma foreign_keys = off")
        db.execute(
            "insert into logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, "
            "last_updated_timestamp_ms, status, lifecycle_stage) values ('m', 1, 'net', ?, 0, 0, 1, 'active')",
            (f"file://{old}/artifacts/demo/models/m/artifacts",),
        )
        for key in ("mlflow.artifactLocation", "note"):
            db.execute("insert into trace_tags (key, value, request_id) values (?, ?, 't')", (key, f"{old}/t"))
    root = move(mlflow_root, tmp_path / "new")
    track(root, 1)
    with closing(sqlite3.connect(root.mlflow_db)) as db:
        models = db.execute("select artifact_location from logged_models").fetchall()
        traces = dict(db.execute("select key, value from trace_tags"))
    assert models == [(f"{root.artifacts.as_uri()}/demo/models/m/artifacts",)]
    assert traces == {"mlflow.artifactLocation": f"{root.path}/t", "note": f"{old}/t"}


def test_a_sweep_under_way_that_knows_the_root_by_another_path_is_left_alone(mlflow_root, tmp_path):
    track(mlflow_root)
    root = move(mlflow_root, tmp_path / "new")
    with hold_lock(root.lock("demo")):
        assert len(track(root, 1)[0]) == 1  # its own lock
    other = move(root, tmp_path / "newer")
    other.lock("else").parent.mkdir(exist_ok=True)
    with other.lock("else").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write('{"pid": 1, "host": "another", "started": "now"}')
        file.flush()
        with pytest.raises(SetupError, match="else is being swept in it by process 1 on another") as caught:
            track(other, 2)
    assert "wait until it has ended" in caught.value.hint
    assert len(track(other, 2)[0]) == 1


def test_the_experiment_called_default_keeps_its_artifacts_under_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Root.at(tmp_path / "root")
    root.create()
    MlflowStore(root, "x", None).open()
    _, run = track(root, name="Default")
    assert Store(root).client.get_run(run).info.artifact_uri.startswith(f"{root.artifacts.as_uri()}/0/")
    assert not (tmp_path / "mlruns").exists()
    moved = move(root, tmp_path / "new")
    assert len(track(moved, 1, name="Default")[0]) == 1
    assert len(Store(moved).client.list_artifacts(run)) == 3


def test_what_an_older_version_kept_of_default_outside_the_root_is_brought_in(mlflow_root, tmp_path):
    outside = tmp_path / "cwd" / "mlruns" / "0"
    with closing(sqlite3.connect(mlflow_root.mlflow_db)) as db, db:
        db.execute("update experiments set artifact_location = ? where experiment_id = 0", (str(outside),))
        db.execute(
            "insert into runs (run_uuid, user_id, name, source_type, status, start_time, lifecycle_stage, "
            "experiment_id, artifact_uri) values ('ours', '', 'x', 'LOCAL', 'FINISHED', 0, 'active', 0, ?), "
            "('theirs', '', 'y', 'LOCAL', 'FINISHED', 0, 'active', 0, ?)",
            tuple(f"{outside}/{name}/artifacts" for name in ("ours", "theirs")),
        )
        db.execute("insert into tags values ('kind', 'run', 'ours')")
    for name in ("ours", "theirs"):
        (outside / name / "artifacts").mkdir(parents=True)
        (outside / name / "artifacts" / "spec.json").write_text(name)
    said, _ = track(mlflow_root, 1)
    (sentence,) = said
    assert sentence == (
        f"the artifacts of the experiment 'Default' belong to {mlflow_root.artifacts}/0 now, not to {outside}; "
        "the artifacts of 1 runs were copied there"
    )
    client = Store(mlflow_root).client
    assert client.get_run("theirs").info.artifact_uri == f"{outside}/theirs/artifacts"
    assert client.get_run("ours").info.artifact_uri == f"{mlflow_root.artifacts.as_uri()}/0/ours/artifacts"
    assert [each.path for each in client.list_artifacts("ours")] == ["spec.json"]
    assert track(mlflow_root, 2)[0] == []


def test_a_database_elsewhere_follows_a_root_that_was_moved_and_not_one_that_was_copied(
    tmp_path, mlflow_store_template
):
    shutil.copyfile(mlflow_store_template, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    root = Root.at(tmp_path / "root")
    root.create()
    _, first = track(root, uri=uri)
    moved = move(root, tmp_path / "moved")
    said, second = track(moved, 1, uri=uri)
    assert [SAID in each for each in said] == [True]
    client = MlflowClient(tracking_uri=uri)
    for run in (first, second):
        assert client.get_run(run).info.artifact_uri.startswith(moved.artifacts.as_uri())
        assert len(client.list_artifacts(run)) == 3
    copy = Root.at(tmp_path / "copy")
    shutil.copytree(moved.path, copy.path)
    said, _ = track(copy, 2, uri=uri)
    (sentence,) = said
    assert sentence.startswith(f"the root {copy.path} is a copy of {moved.path}: on a tracking server it counts as a")
    assert client.get_run(first).info.artifact_uri.startswith(moved.artifacts.as_uri())
