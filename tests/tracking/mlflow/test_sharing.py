"""An experiment that is not a sweep's alone: other roots, other people's runs, and people who delete things."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.errors import SetupError
from orchestrator.storage.identity import Identity, read_identity
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import (
    make_history,
    make_result,
    make_run,
    make_run_start,
    make_summary,
    make_sweep_start,
    make_trials,
)


class Shared:
    """A store that several roots use: a database elsewhere, as a server's is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/shared.db"
        self.client = MlflowClient(tracking_uri=self.uri)

    def root(self, name: str) -> Root:
        root = Root.at(self.folder / name)
        root.create()
        return root

    def start(self, root: Root, said: list[str] | None = None) -> MlflowTracker:
        tracker = MlflowTracker(root, "demo", self.uri, (said if said is not None else []).append)
        tracker.start_sweep(make_sweep_start())
        return tracker

    def runs(self, query: str = "") -> dict[str, object]:
        experiment = self.client.get_experiment_by_name("demo").experiment_id
        return {run.info.run_id: run for run in self.client.search_runs([experiment], query)}

    def parents(self) -> dict[str, object]:
        return self.runs("tags.kind = 'sweep'")


@pytest.fixture
def shared(tmp_path, mlflow_store_template) -> Shared:
    shutil.copyfile(mlflow_store_template, tmp_path / "shared.db")
    return Shared(tmp_path)


# Two roots


def test_two_roots_have_a_parent_each_and_leave_each_others_live_runs_alone(shared):
    first = shared.start(shared.root("a"))
    live = first.start_run(make_run_start(0))
    second = shared.start(shared.root("b"))
    other = second.start_run(make_run_start(0))
    other.finish(make_result(val_acc=0.5))
    second.update_sweep(make_summary(make_trials()[:1], []))
    assert shared.runs()[live.run_id].info.status == "RUNNING"
    live.finish(make_result())
    first.update_sweep(make_summary(make_trials()[:1], [0]))
    runs, parents = shared.runs(), shared.parents()
    assert len(parents) == 2
    assert runs[live.run_id].data.tags["mlflow.parentRunId"] != runs[other.run_id].data.tags["mlflow.parentRunId"]
    assert (runs[live.run_id].data.tags["pareto"], runs[other.run_id].data.tags["pareto"]) == ("true", "false")
    assert {run.info.status for run in parents.values()} == {"RUNNING"}


def test_a_root_takes_no_run_of_another_root(shared):
    first = shared.start(shared.root("a"))
    live = first.start_run(make_run_start(0))
    second = shared.start(shared.root("b"))
    run = second.start_run(make_run_start(0, resumes_from=2))
    assert run.run_id != live.run_id
    assert shared.runs()[live.run_id].info.status == "RUNNING"


def test_its_own_lock_proves_a_run_dead_also_after_a_move(shared):
    root = shared.root("a")
    dead = shared.start(root).start_run(make_run_start(0))
    moved = Root.at(root.path.rename(shared.folder / "moved"))
    again = shared.start(moved)
    assert shared.runs()[dead.run_id].info.status == "SCHEDULED"
    assert len(shared.parents()) == 1
    assert again.start_run(make_run_start(0, resumes_from=1)).run_id == dead.run_id


def test_a_copy_beside_the_original_is_another_root(shared):
    root = shared.root("a")
    live = shared.start(root).start_run(make_run_start(0))
    copy = Root.at(shared.folder / "copy")
    shutil.copytree(root.path, copy.path)
    said = []
    shared.start(copy, said)
    assert [each for each in said if "is a copy of" in each] == said[:1] != []
    assert shared.runs()[live.run_id].info.status == "RUNNING"
    assert len(shared.parents()) == 2
    assert read_identity(copy.identity).copy_of == str(root.path)
    shared.start(copy)
    assert len(shared.parents()) == 2


def test_a_copy_whose_original_is_out_of_sight_is_asked_about_while_that_runs(shared):
    root = shared.root("a")
    live = shared.start(root).start_run(make_run_start(0))
    identity = read_identity(root.identity)
    copy = shared.root("copy")  # as on another machine: another folder, and the original's path leads nowhere
    elsewhere = identity.model_copy(update={"path": "/elsewhere/a", "inode": 1, "host": "other"})
    copy.identity.write_text(elsewhere.model_dump_json())
    with pytest.raises(SetupError, match=r"is RUNNING, from a root with the same id at .*:/.*/a, and") as caught:
        shared.start(copy)
    assert str(copy.path) in caught.value.message
    assert shared.runs()[live.run_id].info.status == "RUNNING"
    # each hint leads on
    command = caught.value.hint.partition('python -c "')[2].rstrip('"').replace("ADDRESS", shared.uri)
    copy.identity.unlink()
    shared.start(copy)
    assert len(shared.parents()) == 2
    copy.identity.write_text(elsewhere.model_dump_json())
    exec(command)
    shared.start(copy)
    assert len(shared.parents()) == 2
    assert shared.runs()[live.run_id].info.status == "RUNNING"  # nothing proves it dead


def test_an_identity_that_cannot_be_read_is_named(shared):
    root = shared.root("a")
    root.identity.write_text("{")
    with pytest.raises(SetupError, match=r"cannot tell which root this is: .*root\.json: ") as caught:
        shared.start(root)
    assert "counts as a new one" in caught.value.hint
    root.identity.unlink()
    shared.start(root)


def test_what_an_older_version_tracked_on_a_server_is_found_by_the_runs_that_the_root_knows(shared):
    """Today's tags lack; two roots share the parent, which goes to the first that comes."""
    roots = [shared.root("a"), shared.root("b")]
    finished = []
    for root in roots:
        run = shared.start(root).start_run(make_run_start(0))
        run.finish(make_result())
        record = make_run(0).model_copy(update={"mlflow_run_id": run.run_id})
        Ledger(root).directory(record.fingerprint).mkdir(parents=True)
        Ledger(root).enter("demo", record)
        finished.append(run.run_id)
    (old, extra) = sorted(shared.parents(), key=lambda each: shared.runs()[each].info.start_time)
    shared.client.delete_run(extra)
    for run_id in (*finished, old):
        for tag in ("root_id", "root_place"):
            shared.client.delete_tag(run_id, tag)
        if run_id != old:
            shared.client.set_tag(run_id, "mlflow.parentRunId", old)
    for root in roots:
        shared.start(root).end_sweep("finished")
    runs = shared.runs()
    assert runs[finished[0]].data.tags["mlflow.parentRunId"] == old
    assert runs[finished[1]].data.tags["mlflow.parentRunId"] in set(shared.parents()) - {old}
    assert len(shared.parents()) == 2


def test_the_own_store_needs_no_identity(mlflow_root, store):
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    assert not mlflow_root.identity.exists()
    assert not any(tag.startswith("root_") for tag in store.parent().data.tags)


def test_a_renamed_folder_is_still_this_place():
    identity = Identity(id="x", path="/b", host="h", inode=7)
    assert identity.is_at("7@g:/a")
    assert identity.is_at("8@h:/b")
    assert not identity.is_at("8@h:/a")
    assert not identity.is_at("")


# Other people's runs


def test_a_foreign_run_in_the_experiment_is_left_alone(tracker, store, mlflow_root):
    experiment = store.experiment.experiment_id
    parent = store.parent().info.run_id
    foreign = [
        store.client.create_run(experiment, run_name="mine", tags=tags).info.run_id
        for tags in ({}, {"kind": "run"}, {"kind": "run", "sweep": "demo"}, {"mlflow.parentRunId": parent})
    ]
    tracker.start_run(make_run_start(0)).finish(make_result())
    before = [dict(store.client.get_run(each).data.tags) for each in foreign]
    tracker.update_sweep(make_summary(make_trials()[:1], [0]))
    tracker.end_sweep("finished")
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    after = [store.client.get_run(each) for each in foreign]
    assert [run.info.status for run in after] == ["RUNNING"] * 4
    assert [run.data.tags for run in after] == before


# What people delete in the UI


@pytest.mark.parametrize("tag", ["optuna_trial", "kind", "sweep", "fingerprint", "seed", "pareto", "run_key"])
def test_a_tag_that_was_deleted_is_put_back(tag, tracker, store, mlflow_root):
    run = tracker.start_run(make_run_start(1))
    run.log_epoch(make_history()[0])
    before = store.client.get_run(run.run_id).data.tags
    store.client.delete_tag(run.run_id, tag)
    tracker.update_sweep(make_summary(make_trials()[:2], [1]))
    found = store.client.get_run(run.run_id).data.tags
    assert found["pareto"] == "true"
    assert {key: found.get(key) for key in before if key not in {"run_key", "pareto"}} == {
        key: value for key, value in before.items() if key not in {"run_key", "pareto"}
    }
    store.client.delete_tag(run.run_id, tag) if tag in found else None
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start())
    assert store.client.get_run(run.run_id).info.status == "SCHEDULED"
    assert second.start_run(make_run_start(1, resumes_from=1)).run_id == run.run_id


@pytest.mark.parametrize("tag", ["kind", "sweep"])
def test_a_parent_that_has_lost_a_tag_is_still_the_parent(tag, tracker, store, mlflow_root):
    tracker.start_run(make_run_start(0)).finish(make_result())
    parent = store.parent().info.run_id
    store.client.delete_tag(parent, tag)
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    assert store.parent().info.run_id == parent


def test_a_parent_that_was_deleted_is_made_anew_with_its_children(tracker, store, mlflow_root):
    run = tracker.start_run(make_run_start(0))
    run.finish(make_result())
    first = store.parent().info.run_id
    store.client.delete_run(first)
    tracker.update_sweep(make_summary(make_trials()[:1], [0], metrics={"n_trials": 1}))
    tracker.end_sweep("finished")
    second = store.parent()
    assert second.info.run_id != first
    assert (second.info.status, second.data.metrics["n_trials"]) == ("FINISHED", 1)
    assert second.data.params["data.source"] == "synthetic"
    store.client.delete_run(second.info.run_id)
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    third = store.parent().info.run_id
    assert third not in {first, second.info.run_id}
    child = store.client.get_run(run.run_id)
    assert (child.data.tags["mlflow.parentRunId"], child.data.tags["pareto"]) == (third, "true")


def test_a_run_that_was_deleted_is_not_written_to_and_the_others_are(tracker, store):
    run = tracker.start_run(make_run_start(0))
    store.client.delete_run(run.run_id)
    tracker.start_run(make_run_start(1, seed=1)).finish(make_result(seed=1))
    tracker.update_sweep(make_summary(make_trials()[:2], [0, 1]))
    assert [child.data.tags["pareto"] for child in store.runs().values()] == ["true"]


# A request that arrives, and whose answer does not


def test_a_parent_whose_answer_was_lost_is_found_at_once(mlflow_root, store, monkeypatch):
    make = MlflowClient.create_run

    def lose(*args, **kwargs):
        make(*args, **kwargs)
        raise MlflowException("API request to runs/create failed: connection broken")

    tracker = MlflowTracker(mlflow_root, "demo", None)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lose)
        tracker.start_sweep(make_sweep_start())
    tracker.start_run(make_run_start(0)).finish(make_result())
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    (child,) = store.runs().values()
    assert child.data.tags["mlflow.parentRunId"] == store.parent().info.run_id


def test_an_experiment_whose_answer_was_lost_is_found_at_once(mlflow_root, store, monkeypatch):
    make = MlflowClient.create_experiment

    def lose(*args, **kwargs):
        make(*args, **kwargs)
        raise MlflowException("the experiment 'demo' already exists", error_code=3001)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_experiment", lose)
        MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    assert store.parent().info.status == "RUNNING"


def test_what_a_client_sent_twice_is_there_once(mlflow_root, store, monkeypatch):
    """A client of a server sends a request again where the connection broke, and the server makes two runs."""
    make = MlflowClient.create_run

    def twice(*args, **kwargs):
        make(*args, **kwargs)
        return make(*args, **kwargs)

    monkeypatch.setattr("orchestrator.tracking.mlflow.store.MlflowStore.is_remote", True)
    monkeypatch.setattr(MlflowClient, "create_run", twice)
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start(0))
    run.finish(make_result())
    tracker.end_sweep("finished")
    assert store.parent().info.status == "FINISHED"
    (child,) = store.runs().values()
    assert (child.info.run_id, child.info.status) == (run.run_id, "FINISHED")


def test_two_parents_that_an_older_version_made_of_one_request_become_one(tracker, store, mlflow_root):
    run = tracker.start_run(make_run_start(0))
    run.finish(make_result())
    parent = store.parent()
    tags = {key: parent.data.tags[key] for key in ("kind", "sweep", "generation")}
    double = store.client.create_run(store.experiment.experiment_id, start_time=parent.info.start_time, tags=tags)
    store.client.delete_tag(parent.info.run_id, "run_key")
    late = tracker.start_run(make_run_start(1, seed=1))
    late.finish(make_result(seed=1))
    third = tracker.start_run(make_run_start(2, seed=2))
    third.finish(make_result(seed=2))
    store.client.set_tag(late.run_id, "mlflow.parentRunId", double.info.run_id)
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    assert store.parent().info.run_id == parent.info.run_id
    assert {each.data.tags["mlflow.parentRunId"] for each in store.runs().values()} == {parent.info.run_id}
