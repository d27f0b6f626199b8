"""A tracking store that is lost in the middle fails no run; nothing is lost and nothing is doubled."""

import multiprocessing
import os
import signal
import socket
import time
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, get_error_code

from orchestrator.errors import SetupError, SweepError
from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow.spooling import SpoolingTracker
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import make_history, make_result, make_run_start, make_summary, make_sweep_start, make_trials
from tests.tracking.flaky import FlakyTracker

EPOCHS = make_history((0.6, 0.7, 0.8))
CURVES = {"val/acc": [1, 2, 3], "val/loss": [1, 2, 3], "lr": [1, 2, 3], "train/loss_step": [0, 10, 20, 30, 40, 50]}


def read_runs(root, uri=None):
    """Every run, the deleted ones too: nothing is hidden here."""
    client = MlflowClient(tracking_uri=uri or root.mlflow_uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    return client, {run.info.run_name: run for run in client.search_runs([experiment], run_view_type=3)}


def read_steps(client, run, name):
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def assert_whole(client, run):
    """A finished run has each point once, and each summary metric too."""
    assert run.info.status == "FINISHED"
    for name, steps in CURVES.items():
        assert read_steps(client, run, name) == steps, name
    assert read_steps(client, run, "val_acc") == [0]
    assert run.data.params["version_python"] == "3.11.9"
    assert len(client.list_artifacts(run.info.run_id)) == 3  # spec.json, confusion_matrix.json and .png
    assert "mlflow.note.content" not in run.data.tags


def train(tracker, start, *, lose_after=None):
    run = tracker.start_run(start)
    for epoch in EPOCHS:
        run.log_epoch(epoch)
        if epoch.epoch == lose_after:
            tracker.client.go_down()
    run.finish(make_result(val_acc=0.8, history=EPOCHS))
    return run


@pytest.fixture
def tracker(mlflow_root):
    tracker = FlakyTracker(mlflow_root)
    tracker.start_sweep(make_sweep_start())
    return tracker


def test_a_store_that_answers_leaves_no_spool(tracker, mlflow_root):
    run = train(tracker, make_run_start())
    assert run.run_id is not None
    tracker.update_sweep(make_summary(make_trials()[:1], [0]))
    tracker.end_sweep("finished")
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])
    assert tracker.said == []
    assert not mlflow_root.spool("demo").parent.exists()


def test_what_a_lost_store_misses_arrives_when_it_is_back(tracker, mlflow_root):
    first = train(tracker, make_run_start(0), lose_after=0)
    second = train(tracker, make_run_start(1, seed=1))
    third = tracker.start_run(make_run_start(2, seed=2))
    third.fail("RuntimeError: boom")
    tracker.update_sweep(make_summary(make_trials()[:1], [0], note="## Old"))
    tracker.update_sweep(make_summary(make_trials()[:2], [1], note="## New"))
    assert first.run_id is not None
    assert (second.run_id, third.run_id) == (None, None)
    began = time.time()
    time.sleep(0.01)

    tracker.client.come_back()
    fourth = tracker.start_run(make_run_start(3, seed=3))
    tracker.settle()  # a call delivers for two seconds at most, and this machine may be slow
    client, runs = read_runs(mlflow_root)
    assert sorted(runs) == ["demo", *(f"trial_00{i}_stem_seed{i}" for i in range(4))]
    assert_whole(client, runs["trial_000_stem_seed0"])
    assert_whole(client, runs["trial_001_stem_seed1"])
    assert runs["trial_002_stem_seed2"].info.status == "FAILED"
    assert runs["trial_002_stem_seed2"].data.tags["mlflow.note.content"] == "failed: RuntimeError: boom"
    assert runs["trial_003_stem_seed3"].info.status == "RUNNING"
    assert [runs[f"trial_00{i}_stem_seed{i}"].data.tags["pareto"] for i in (0, 1)] == ["false", "true"]
    assert runs["demo"].data.tags["mlflow.note.content"] == "## New"
    assert (second.run_id, fourth.run_id) == (
        runs["trial_001_stem_seed1"].info.run_id,
        runs["trial_003_stem_seed3"].info.run_id,
    )
    # it says when things were, not when they arrived
    assert runs["trial_001_stem_seed1"].info.start_time < began * 1000
    assert runs["trial_001_stem_seed1"].info.end_time < began * 1000
    assert not mlflow_root.spool("demo").exists()


def test_the_user_hears_once_that_it_is_lost_and_once_that_it_is_back(tracker, mlflow_root):
    for number in range(2):
        train(tracker, make_run_start(number, seed=number), lose_after=0)
        tracker.settle()
    assert len(tracker.said) == 4
    for lost, back in (tracker.said[:2], tracker.said[2:]):
        assert lost.startswith(f"cannot write to the MLflow store {mlflow_root.mlflow_uri}: API request to log_batch")
        assert lost.endswith(f"the runs go on, and what it misses waits in {mlflow_root.spool('demo')}")
        assert back == f"the MLflow store {mlflow_root.mlflow_uri} answers again: 3 messages delivered"


def test_the_next_start_of_the_sweep_delivers_what_is_left(tracker, mlflow_root):
    tracker.client.go_down()
    train(tracker, make_run_start(0))
    unfinished = tracker.start_run(make_run_start(1, seed=1))
    unfinished.log_epoch(EPOCHS[0])
    tracker.update_sweep(make_summary(make_trials()[:1], [0], note="## Late"))
    tracker.end_sweep("killed")
    assert tracker.said[-1].endswith("the next start of this sweep delivers it")

    second = FlakyTracker(mlflow_root)
    second.start_sweep(make_sweep_start(git_commit="f" * 40, config_hash="beef"))
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])
    assert runs["trial_000_stem_seed0"].data.tags["config_hash"] == "c0ffee00"  # it was started by the first call
    assert runs["trial_000_stem_seed0"].data.params["git_commit"].startswith("0123")
    stale = runs["trial_001_stem_seed1"]
    assert (stale.info.status, read_steps(client, stale, "val/acc")) == ("SCHEDULED", [1])
    assert (
        stale.data.tags["mlflow.note.content"]
        == "put off: the process that ran it died; the next start of the sweep goes on with it"
    )
    assert (runs["demo"].info.status, runs["demo"].data.tags["mlflow.note.content"]) == ("RUNNING", "## Late")
    assert second.said == [f"7 messages of an earlier call reached the MLflow store {mlflow_root.mlflow_uri}"]


def test_a_store_that_is_lost_to_the_end_and_back_at_its_end_has_all(tracker, mlflow_root):
    tracker.client.go_down()
    train(tracker, make_run_start(0))
    tracker.client.come_back()
    tracker.end_sweep("finished")
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])
    assert runs["demo"].info.status == "FINISHED"


def test_a_store_that_is_lost_at_the_start_ends_the_sweep(mlflow_root):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://anna:s3cret@127.0.0.1:{probe.getsockname()[1]}"
        said = []
        tracker = SpoolingTracker(MlflowTracker(mlflow_root, "demo", uri), mlflow_root, "demo", said.append)
        with pytest.raises(SetupError, match=r"cannot open the MLflow store http://\*\*\*@127"):
            tracker.start_sweep(make_sweep_start())
    assert said == []


def test_a_message_that_the_store_refuses_is_set_aside(tracker, mlflow_root):
    run = tracker.start_run(make_run_start(0))
    MlflowClient(tracking_uri=mlflow_root.mlflow_uri).delete_run(run.run_id)  # by a user, in the middle
    run.log_epoch(EPOCHS[0])
    run.finish(make_result())
    tracker.adopt_run("0" * 32, make_run_start(5, seed=77))
    train(tracker, make_run_start(1, seed=1))
    tracker.end_sweep("finished")
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_001_stem_seed1"])
    aside = mlflow_root.spool("demo").with_name("demo.refused.jsonl")
    assert len(aside.read_text().splitlines()) == 3
    assert len(tracker.said) == 2  # once a run
    assert tracker.said[0].endswith(f"what it refused is kept in {aside}")
    assert "has no finished run of trial_005_stem_seed77" in tracker.said[1]
    assert not mlflow_root.spool("demo").exists()
    again = FlakyTracker(mlflow_root)
    again.start_sweep(make_sweep_start())
    assert [said.partition("; ")[2] for said in again.said] == [f"3 messages stay refused, in {aside}"]
    assert len(aside.read_text().splitlines()) == 3


def test_what_was_refused_is_delivered_by_the_next_start_once_it_can_be(tracker, mlflow_root):
    run = tracker.start_run(make_run_start(0))
    run.log_epoch(EPOCHS[0])
    client = MlflowClient(tracking_uri=mlflow_root.mlflow_uri)
    client.delete_run(run.run_id)
    for epoch in EPOCHS[1:]:
        run.log_epoch(epoch)
    run.finish(make_result())
    tracker.end_sweep("finished")
    client.restore_run(run.run_id)
    again = FlakyTracker(mlflow_root)
    again.start_sweep(make_sweep_start())
    assert again.said == [f"3 refused messages reached the MLflow store {mlflow_root.mlflow_uri} after all"]
    assert not mlflow_root.refused("demo").exists()
    assert_whole(client, client.get_run(run.run_id))


PAGE = (
    "API request to endpoint /api/2.0/mlflow/runs/log-batch failed with error code {} != 200. Response body: '<html>'"
)


EVERYTHING = ("log_batch", "get_experiment", "get_run", "get_metric_history", "search_runs", "set_terminated")


def turn_away(monkeypatch, status, names, times):
    """Let something before the store answer some calls with a page of its own, so many times in all."""
    left = iter(range(times))

    def proxied(method):
        def call(*args, **kwargs):
            if next(left, None) is not None:
                raise MlflowException(PAGE.format(status), error_code=get_error_code(status))
            return method(*args, **kwargs)

        return call

    for name in names:
        monkeypatch.setattr(MlflowClient, name, proxied(getattr(MlflowClient, name)))


def test_a_proxy_that_answers_everything_with_a_page_of_its_own_is_waited_for(tracker, mlflow_root, monkeypatch):
    run = tracker.start_run(make_run_start(0))
    turn_away(monkeypatch, 400, EVERYTHING, 7)  # the first epoch and a question, then each time the first alone
    for epoch in EPOCHS:
        run.log_epoch(epoch)
    assert len(mlflow_root.spool("demo").read_text().splitlines()) == 3
    run.finish(make_result())
    tracker.end_sweep("finished")
    assert not mlflow_root.refused("demo").exists()
    assert not mlflow_root.spool("demo").exists()
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])
    assert len(tracker.said) == 2
    assert "failed with error code 400" in tracker.said[0]
    assert tracker.said[1].endswith("answers again: 4 messages delivered")


@pytest.mark.parametrize("status", [400, 413])
def test_a_proxy_that_takes_one_kind_of_request_for_an_attack_holds_nothing_else_up(
    status, tracker, mlflow_root, monkeypatch
):
    """It lets questions through; what it refuses is delivered at the end, or by the next start."""
    run = tracker.start_run(make_run_start(0))
    turn_away(monkeypatch, status, ("log_batch",), 2)
    run.log_epoch(EPOCHS[0])
    assert len(mlflow_root.refused("demo").read_text().splitlines()) == 1
    for epoch in EPOCHS[1:]:
        run.log_epoch(epoch)
    client, runs = read_runs(mlflow_root)
    assert read_steps(client, runs["trial_000_stem_seed0"], "val/acc") == [2, 3]
    run.finish(make_result())
    tracker.end_sweep("finished")
    assert not mlflow_root.refused("demo").exists()
    assert_whole_in_any_order(client, read_runs(mlflow_root)[1]["trial_000_stem_seed0"])
    assert tracker.said[-1] == f"1 refused messages reached the MLflow store {mlflow_root.mlflow_uri} after all"


def assert_whole_in_any_order(client, run):
    assert run.info.status == "FINISHED"
    for name, steps in CURVES.items():
        assert sorted(read_steps(client, run, name)) == steps, name


def test_a_summary_that_a_proxy_refuses_is_offered_by_the_next_start(tracker, mlflow_root, monkeypatch):
    train(tracker, make_run_start(0))
    turn_away(monkeypatch, 413, ("log_text",), 2)
    tracker.update_sweep(make_summary(make_trials()[:1], [0], metrics={"n_trials": 1}))
    tracker.end_sweep("finished")
    client, runs = read_runs(mlflow_root)
    assert runs["demo"].info.status == "FINISHED"
    again = FlakyTracker(mlflow_root)
    again.start_sweep(make_sweep_start())
    assert not mlflow_root.spool("demo").exists()
    assert "trials.json" in {each.path for each in client.list_artifacts(runs["demo"].info.run_id)}


def test_a_summary_that_waits_names_its_files_under_the_root_wherever_that_lies(tracker, mlflow_root, tmp_path):
    picture = mlflow_root.reports("demo") / "front.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    tracker.client.go_down()
    tracker.update_sweep(make_summary((), (), files=(picture,)))
    root = Root.at(mlflow_root.path.rename(tmp_path / "new"))
    FlakyTracker(root).start_sweep(make_sweep_start())
    client, runs = read_runs(root)
    assert "front.png" in {each.path for each in client.list_artifacts(runs["demo"].info.run_id)}


def test_a_full_disk_under_the_artifacts_fails_no_run(tracker, mlflow_root, monkeypatch):
    run, full = tracker.start_run(make_run_start()), Mock(side_effect=OSError(28, "No space left on device"))
    for epoch in EPOCHS:
        run.log_epoch(epoch)
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_artifact", full)
        run.finish(make_result(val_acc=0.8, history=EPOCHS))
    assert "No space left on device" in tracker.said[0]
    tracker.end_sweep("finished")
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])


def test_a_disk_that_takes_no_spool_is_said_once(tracker, mlflow_root, monkeypatch):
    tracker.client.go_down()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        train(tracker, make_run_start())
    warnings = [text for text in tracker.said if "waits in memory alone" in text]
    assert len(warnings) == 1
    tracker.settle()
    client, runs = read_runs(mlflow_root)
    assert_whole(client, runs["trial_000_stem_seed0"])


def test_a_backlog_does_not_hold_a_run_up(tracker):
    tracker.client.go_down()
    for number in range(3):
        train(tracker, make_run_start(number, seed=number))
    tracker.client.come_back()
    left = []
    while not tracker._spool.is_empty:
        tracker._try(0.0)
        left.append(len(tracker._spool._waiting))
    assert left[:3] == [14, 13, 12]  # three runs of a start, three epochs and an end: one message a call


def test_a_server_that_swallows_requests_is_asked_rarely(tmp_path, monkeypatch, mlflow_root):
    tracker = SpoolingTracker(MlflowTracker(mlflow_root, "demo", None), mlflow_root, "demo", lambda _text: None)
    clock = [1000.0]
    monkeypatch.setattr("orchestrator.tracking.mlflow.spooling.time.monotonic", lambda: clock[0])
    tracker._lose(SweepError("gone"), took_s=0.0)
    assert tracker._next_try == 1005.0  # refused at once: every five seconds
    tracker._lose(SweepError("gone"), took_s=5.0)
    assert tracker._next_try == 1050.0  # a tenth of the time at most: 5 s of 50


def test_a_spool_that_cannot_be_read_stops_before_anything_runs(mlflow_root):
    mlflow_root.spool("demo").mkdir(parents=True)
    with pytest.raises(SetupError, match="cannot read what waits for the tracking store"):
        FlakyTracker(mlflow_root).start_sweep(make_sweep_start())


def deliver_and_die(root, death):
    """Deliver a backlog in a process that is killed after the `death`-th delivery, before its note."""
    tracker = FlakyTracker(root)
    notes = [0]

    def die():
        notes[0] += 1
        if notes[0] == death:
            os.kill(os.getpid(), signal.SIGKILL)
        note()

    note, tracker._spool.note_delivered = tracker._spool.note_delivered, die
    tracker.start_sweep(make_sweep_start())


@pytest.mark.parametrize("stale", [False, True], ids=["", "the start was known"])
def test_a_death_between_a_delivery_and_its_note_doubles_nothing(mlflow_root, stale):
    tracker = FlakyTracker(mlflow_root)
    tracker.start_sweep(make_sweep_start())
    if stale:  # the store has heard of the run that the backlog continues
        run = tracker.start_run(make_run_start())
        run.log_epoch(EPOCHS[0])
        run.kill("interrupted")
    tracker.client.go_down()
    train(tracker, make_run_start(3, resumes_from=1 if stale else 0))
    tracker.update_sweep(make_summary(make_trials()[:1], [3]))
    killed = tracker.start_run(make_run_start(4, seed=1))
    killed.log_epoch(EPOCHS[0])
    killed.kill("interrupted")
    del tracker

    fork = multiprocessing.get_context("fork")
    codes = []
    # each of the eight is delivered, and then again by the next process: the note moves one on a process
    for _ in range(20):
        child = fork.Process(target=deliver_and_die, args=(mlflow_root, 2))
        child.start()
        child.join(60)
        codes.append(child.exitcode)
        if child.exitcode == 0:
            break
    assert codes == [-signal.SIGKILL] * 7 + [0]

    client, runs = read_runs(mlflow_root)
    assert sorted(runs) == ["demo", "trial_003_stem_seed0", "trial_004_stem_seed1"]
    assert_whole(client, runs["trial_003_stem_seed0"])
    assert runs["trial_003_stem_seed0"].data.tags["pareto"] == "true"
    assert read_steps(client, runs["trial_004_stem_seed1"], "val/acc") == [1]
    assert runs["trial_004_stem_seed1"].info.status == "KILLED"
    assert runs["trial_004_stem_seed1"].data.tags["mlflow.note.content"] == "killed: interrupted"
    assert not mlflow_root.spool("demo").exists()
