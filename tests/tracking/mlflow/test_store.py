"""Opening the store: once, quickly, and with errors that say where."""

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException, get_error_code
from sqlalchemy import event
from sqlalchemy.pool import Pool

from orchestrator.errors import SetupError, SweepError
from orchestrator.masking import mask_credentials
from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow.store import MlflowStore, is_rebuff, is_refusal
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import make_run_start, make_sweep_start


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound, but nobody listens


def test_an_unreachable_server_is_reported_soon_and_without_its_password(tmp_path, closed_port):
    uri = f"http://anna:s3cret@127.0.0.1:{closed_port}"
    began = time.monotonic()
    with pytest.raises(SetupError, match="cannot open the MLflow store") as caught:
        MlflowTracker(Root.at(tmp_path), "demo", uri).start_sweep(make_sweep_start())
    assert time.monotonic() - began < 15
    message = caught.value.message
    assert message.startswith(f"cannot open the MLflow store http://***@127.0.0.1:{closed_port}: ")
    assert "s3cret" not in f"{message}{caught.value.hint}"
    assert "anna" not in message
    assert caught.value.hint.startswith("start the server, or correct tracking.mlflow_uri")


def test_a_server_is_given_up_soon_in_the_whole_process_and_what_the_user_has_set_stays():
    code = (
        "import orchestrator.tracking.mlflow\n"
        "from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT\n"
        "print(MLFLOW_HTTP_REQUEST_TIMEOUT.get(), MLFLOW_HTTP_REQUEST_MAX_RETRIES.get())"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    for given, expected in (({}, "10 1"), ({"MLFLOW_HTTP_REQUEST_TIMEOUT": "77"}, "77 1")):
        said = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment | given, timeout=60)
        assert said.split() == expected.split()


def test_a_damaged_file_is_reported_at_once(tmp_path):
    root = Root.at(tmp_path)
    root.mlflow_db.write_bytes(b"this is no database" * 100)
    began = time.monotonic()
    with pytest.raises(SetupError, match=r"cannot open the MLflow store sqlite:.*file is not a database"):
        MlflowStore(root, "demo", None).open()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "uri",
    ["file:/tmp/somewhere", "./mlruns", "ftp://example.org/x", "postgresql://u:p@h:port/db", "sqlite+nodriver:///x"],
)
def test_a_uri_that_mlflow_cannot_use_is_named(tmp_path, uri, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match="cannot open the MLflow store") as caught:
        MlflowStore(Root.at(tmp_path), "demo", uri).open()
    assert mask_credentials(uri) in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_store_is_initialised_once_and_says_so(tmp_path, caplog, mlflow_store_template):
    root = Root.at(tmp_path / "not" / "there")
    with caplog.at_level(logging.INFO, logger="orchestrator"):
        MlflowStore(root, "demo", None).open()
        MlflowStore(root, "demo", None).open()
    said = [record.message for record in caplog.records if "initialising" in record.message]
    assert said == [f"initialising the MLflow store {root.mlflow_uri}: this takes some seconds, once"]
    with sqlite3.connect(root.mlflow_db) as database:
        assert database.execute("SELECT name FROM experiments ORDER BY name").fetchall() == [("Default",), ("demo",)]
    database.close()


def test_a_store_that_is_made_ready_has_its_tables_and_no_experiment_yet(tmp_path):
    root = Root.at(tmp_path)
    MlflowTracker(root, "demo", None).make_ready()
    with closing(sqlite3.connect(root.mlflow_db)) as connection:
        assert connection.execute("select name from experiments").fetchall() == [("Default",)]


def test_what_is_wrong_with_a_store_is_said_by_its_opening_alone(tmp_path, closed_port):
    root = Root.at(tmp_path)
    root.mlflow_db.write_bytes(b"no database at all, but something else")
    for uri in (None, f"http://127.0.0.1:{closed_port}", "sqlite+nodriver:///x"):
        tracker = MlflowTracker(root, "demo", uri)
        tracker.make_ready()
        with pytest.raises(SetupError, match="cannot open the MLflow store"):
            tracker.start_sweep(make_sweep_start())


@pytest.mark.parametrize("empty", [True, False])
def test_what_a_death_left_of_a_store_that_was_being_made_is_no_hindrance(tmp_path, empty):
    """MLflow itself gives up for ever on a file that holds some of its tables: `table metrics already exists`."""
    root = Root.at(tmp_path)
    half_made = root.mlflow_db.with_name(".mlflow.db.tmp")
    with sqlite3.connect(half_made) as database:
        database.execute("CREATE TABLE metrics (key TEXT)")
    database.close()
    half_made.with_name(f"{half_made.name}-journal").write_bytes(b"torn")
    if empty:
        root.mlflow_db.touch()
    client, experiment = MlflowStore(root, "demo", None).open()
    assert client.get_run(client.create_run(experiment).info.run_id).info.experiment_id == experiment
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_a_deleted_experiment_is_not_written_to(mlflow_root):
    _, experiment = MlflowStore(mlflow_root, "demo", None).open()
    MlflowClient(tracking_uri=mlflow_root.mlflow_uri).delete_experiment(experiment)
    with pytest.raises(SetupError, match=r"the MLflow experiment 'demo' in sqlite:.* is deleted") as caught:
        MlflowStore(mlflow_root, "demo", None).open()
    assert f"--experiment-id {experiment}" in caught.value.hint


def test_a_store_that_is_lost_on_the_way_stops_the_sweep(mlflow_root):
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start())
    with sqlite3.connect(mlflow_root.mlflow_db) as database:
        database.execute("ALTER TABLE runs RENAME TO gone")
    database.close()
    with pytest.raises(SweepError, match="cannot write to the MLflow store sqlite:") as caught:
        tracker.start_run(make_run_start())
    assert "give the same command again" in caught.value.hint


def test_a_full_disk_is_said_in_one_line_and_not_shown_as_a_traceback(mlflow_root, capfd):
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start())

    def fill(connection, *_):
        connection.execute("PRAGMA max_page_count = 1")  # no page more than there are

    def write_much():
        for number in range(200):
            tracker.start_run(make_run_start(number, seed=number))

    event.listen(Pool, "checkout", fill)
    try:
        with pytest.raises(SweepError, match=r"database or disk is full$") as caught:
            write_much()
    finally:
        event.remove(Pool, "checkout", fill)
    assert caught.value.hint.startswith("the disk is full: free some space, and give the same command again")
    assert capfd.readouterr() == ("", "")


PAGE = "API request to endpoint /api/2.0/mlflow/runs/log-batch failed with error code {} != 200. Response body: '<p>'"


def answer(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("413 Client Error", response=response)


@pytest.mark.parametrize(
    ("cause", "refusal", "rebuff"),
    [
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), True, False),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}), False, False),
        (RestException({"error": "bad request"}), False, True),  # JSON, but none of MLflow's
        (RestException({"error_code": 400, "message": "the gateway"}), False, True),
        (MlflowException(PAGE.format(400), error_code=get_error_code(400)), False, True),
        (MlflowException(PAGE.format(413), error_code=get_error_code(413)), False, True),
        (MlflowException(PAGE.format(403), error_code=get_error_code(403)), False, False),
        (MlflowException(PAGE.format(502), error_code=get_error_code(502)), False, False),
        (answer(413), False, True),  # of artifacts
        (answer(503), False, False),
        (requests.ConnectionError("refused"), False, False),
        (MlflowException("The run 1 must be in the 'active' state", error_code=1000), True, False),  # a database
    ],
)
def test_who_says_no_is_told_by_the_form_of_the_answer(cause, refusal, rebuff):
    error = SweepError("cannot write")
    error.__cause__ = cause
    assert (is_refusal(error), is_rebuff(error)) == (refusal, rebuff)
