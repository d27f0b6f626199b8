"""What we use of MLflow's inside does what we use it for, in the release that is installed."""

import sqlite3
from contextlib import closing

from mlflow import MlflowClient

from orchestrator.tracking.mlflow.internals import forget_artifact_places, read_latest_metrics


def test_the_latest_point_of_each_metric_has_its_step(mlflow_root):
    client = MlflowClient(tracking_uri=mlflow_root.mlflow_uri)
    run = client.create_run("0").info.run_id
    for step, value in ((1, 0.5), (7, 0.25)):
        client.log_metric(run, "system/power", value, step=step)
    (found,) = read_latest_metrics(client.get_run(run))
    assert (found.key, found.value, found.step) == ("system/power", 0.25, 7)


def test_a_store_is_asked_again_where_artifacts_lie(mlflow_root, tmp_path):
    client = MlflowClient(tracking_uri=mlflow_root.mlflow_uri)
    places = [tmp_path / "old", tmp_path / "new"]
    experiment = client.create_experiment("x", artifact_location=places[0].as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "a", "a.txt")
    with closing(sqlite3.connect(mlflow_root.mlflow_db)) as db, db:
        db.execute("update runs set artifact_uri = replace(artifact_uri, '/old', '/new')")
    client.log_text(run, "b", "b.txt")  # it remembers
    forget_artifact_places()
    client.log_text(run, "c", "c.txt")
    assert [{path.name for path in place.rglob("*.txt")} for place in places] == [{"a.txt", "b.txt"}, {"c.txt"}]
