"""A real tracking server that is killed in the middle of a run and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.mlflow.spooling import SpoolingTracker
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import make_history, make_result, make_run_start, make_summary, make_sweep_start, make_trials

# a server takes 5 s to start, on a busy machine 20
pytestmark = pytest.mark.slow
EPOCHS = make_history((0.5, 0.6, 0.7, 0.75, 0.8))


class Server:
    """An MLflow server in a process group of its own, on a port of its own."""

    def __init__(self, folder, template):
        self.folder = folder
        shutil.copyfile(template, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes less
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"no server after two minutes: {(self.folder / 'server.log').read_text()[-2000:]}")

    def signal(self, number):
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()
            self.process = None

    def stop(self):
        if self.process is not None:
            self.signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory, mlflow_store_template):
    server = Server(tmp_path_factory.mktemp("server"), mlflow_store_template)
    server.start()
    yield server
    server.stop()


def test_a_server_killed_and_restarted_in_the_middle_of_a_run(server, mlflow_root, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.mlflow.spooling._PAUSE_S", 0.0)
    said = []
    uri = server.uri.replace("//", "//anna:s3cret@")
    tracker = SpoolingTracker(MlflowTracker(mlflow_root, "demo", uri), mlflow_root, "demo", said.append)
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start(0))
    run.log_epoch(EPOCHS[0])

    server.signal(signal.SIGKILL)
    began = time.monotonic()
    run.log_epoch(EPOCHS[1])
    run.log_epoch(EPOCHS[2])
    assert time.monotonic() - began < 20
    run.finish(make_result(val_acc=0.8, history=EPOCHS[:3]))
    second = tracker.start_run(make_run_start(1, seed=1))
    second.log_epoch(EPOCHS[0])
    tracker.update_sweep(make_summary(make_trials()[:1], [0]))
    assert len(said) == 1
    assert second.run_id is None

    server.start()
    for epoch in EPOCHS[1:]:
        second.log_epoch(epoch)
    second.finish(make_result(seed=1, val_acc=0.8, history=EPOCHS))
    tracker.update_sweep(make_summary(make_trials()[:2], [1]))
    tracker.end_sweep("finished")

    assert not mlflow_root.spool("demo").exists()
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment], run_view_type=3)}
    assert sorted(runs) == ["demo", "trial_000_stem_seed0", "trial_001_stem_seed1"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert second.run_id == runs["trial_001_stem_seed1"].info.run_id
    for name, epochs in (("trial_000_stem_seed0", 3), ("trial_001_stem_seed1", 5)):
        for curve in ("val/acc", "val/loss", "train/acc", "lr"):
            points = client.get_metric_history(runs[name].info.run_id, curve)
            assert [point.step for point in points] == list(range(1, epochs + 1)), (name, curve)
        assert len(client.get_metric_history(runs[name].info.run_id, "val_acc")) == 1
        assert len(client.list_artifacts(runs[name].info.run_id)) == 3
    assert [runs[name].data.tags["pareto"] for name in sorted(runs)[1:]] == ["false", "true"]
    assert len(said) == 2
    assert said[1].startswith(f"the MLflow store http://***@127.0.0.1:{server.port} answers again")
    assert "s3cret" not in "".join(said)


def test_a_server_that_hangs_holds_a_run_up_for_seconds_alone(server, mlflow_root, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")  # of the user
    said = []
    tracker = SpoolingTracker(MlflowTracker(mlflow_root, "hangs", server.uri), mlflow_root, "hangs", said.append)
    tracker.start_sweep(make_sweep_start("hangs"))
    run = tracker.start_run(make_run_start(0))
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for epoch in EPOCHS[:3]:
            run.log_epoch(epoch)
        assert time.monotonic() - began < 15  # twice two seconds, asked twice each; tries are seconds apart
        assert len(said) == 1
    finally:
        server.signal(signal.SIGCONT)
    run.finish(make_result(val_acc=0.8, history=EPOCHS[:3]))
    tracker.end_sweep("finished")
    client = MlflowClient(tracking_uri=server.uri)
    # what it had swallowed while it hung arrived as well, and is there once
    for curve in ("val/acc", "train/loss", "val_acc"):
        steps = [point.step for point in client.get_metric_history(run.run_id, curve)]
        assert steps == ([0] if curve == "val_acc" else [1, 2, 3]), curve
