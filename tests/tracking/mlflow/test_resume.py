"""Runs that continue, start over or change hands, errors in between, and what must not be kept."""

import json
from dataclasses import dataclass

import pytest
from mlflow import MlflowClient

from orchestrator.config.models import DataConfig
from orchestrator.errors import NotFoundError, SweepError
from orchestrator.records.starts import SweepStart
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import (
    make_dataset,
    make_experiment,
    make_history,
    make_result,
    make_run_start,
    make_spec,
    make_summary,
    make_sweep_start,
    make_trials,
)


def test_a_run_that_continues_is_the_same_mlflow_run(tracker, store, mlflow_root):
    first = tracker.start_run(make_run_start(1))
    first.log_epoch(make_history()[0])
    first.kill("stopped after epoch 1; continues with the next sweep")
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start(config_hash="beef", git_commit="f" * 40))
    run = second.start_run(make_run_start(6, resumes_from=1))
    (child,) = store.runs().values()
    assert (run.run_id, child.info.run_id, child.info.run_name) == (first.run_id, first.run_id, "trial_006_stem_seed0")
    assert child.info.status == "RUNNING"
    assert "mlflow.note.content" not in child.data.tags
    tags = {"optuna_trial": "6", "config_hash": "beef", "git_commit": "f" * 40, "pareto": "false"}
    assert tags.items() <= child.data.tags.items()
    assert child.data.params["git_commit"].startswith("0123")  # a param is written once
    assert len(child.inputs.dataset_inputs) == 1


def test_a_sweep_that_counts_from_0_goes_on_so_and_a_new_one_counts_from_1(tracker, store, mlflow_root):
    store.client.delete_tag(store.parent().info.run_id, "epochs_from")  # as an earlier version left it
    history = make_history((0.6, 0.7, 0.8))
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start())
    old = second.start_run(make_run_start(0))
    for epoch in history[:2]:
        old.log_epoch(epoch)
    old.kill("stopped")
    store.client.delete_tag(old.run_id, "epochs_from")

    third = MlflowTracker(mlflow_root, "demo", None)
    third.start_sweep(make_sweep_start())
    # one that continues, one that begins now, and one of the sweep started afresh
    runs = [third.start_run(make_run_start(1, resumes_from=2)), third.start_run(make_run_start(2, "none"))]
    anew = MlflowTracker(mlflow_root, "demo", None)
    anew.start_sweep(make_sweep_start(generation=1))
    runs.append(anew.start_run(make_run_start(0, spec=make_spec(generation=1))))
    for run, first in zip(runs, (0, 0, 1), strict=True):
        for epoch in history:
            run.log_epoch(epoch)
        run.finish(make_result(history=history))
        points = store.client.get_metric_history(run.run_id, "val/acc")
        assert [(point.step, point.value) for point in points] == [(first, 0.6), (first + 1, 0.7), (first + 2, 0.8)]
        kept = store.client.get_run(run.run_id).data
        assert (kept.metrics["best_epoch"], kept.tags["epochs_from"]) == (first + 2, str(first))


def test_the_newest_run_of_a_fingerprint_continues(tracker, store, mlflow_root):
    for number in (0, 1):
        run = tracker.start_run(make_run_start(number))
        run.log_epoch(make_history()[0])
        run.kill("stopped")
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start())
    assert second.start_run(make_run_start(2, resumes_from=1)).run_id == run.run_id
    assert sorted(store.runs()) == ["trial_000_stem_seed0", "trial_002_stem_seed0"]


def test_a_run_in_another_place_of_the_dead_one_says_so(tracker, store, mlflow_root):
    other = MlflowTracker(mlflow_root, "demo", None)
    other.start_sweep(make_sweep_start())
    tracker.start_run(make_run_start(0))  # running, and nobody's as far as `other` knows
    other.start_run(make_run_start(1))
    runs = store.runs()
    assert runs["trial_000_stem_seed0"].info.status == "KILLED"
    note = runs["trial_000_stem_seed0"].data.tags["mlflow.note.content"]
    assert note == "killed: trial_001_stem_seed0 took its place"
    assert runs["trial_001_stem_seed0"].info.status == "RUNNING"


def test_an_end_that_is_told_twice_shows_once(tracker, store):
    run = tracker.start_run(make_run_start())
    for _ in range(2):
        run.finish(make_result())
    (child,) = store.runs().values()
    assert len(store.client.get_metric_history(child.info.run_id, "val_acc")) == 1


def test_an_epoch_that_was_written_in_part_is_completed(tracker, store, mlflow_root):
    run = tracker.start_run(make_run_start())
    epoch = make_history((0.6,), steps=3)[0]
    half = epoch.step_losses[:2]
    for point in half:  # MLflow cuts a long call in pieces: the first arrived, the process died
        store.client.log_metric(run.run_id, "train/loss_step", point.loss, step=point.step)
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start())
    second.start_run(make_run_start(resumes_from=1)).log_epoch(epoch)
    points = store.client.get_metric_history(run.run_id, "train/loss_step")
    assert [point.step for point in points] == [0, 10, 20]
    assert len(store.client.get_metric_history(run.run_id, "val/acc")) == 1


def test_an_epoch_whose_answer_was_lost_is_there_once(tracker, store, monkeypatch):
    run = tracker.start_run(make_run_start())
    log_batch = MlflowClient.log_batch

    def write_and_fail(*args, **kwargs):
        log_batch(*args, **kwargs)
        raise OSError("timeout")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", write_and_fail)
        with pytest.raises(SweepError, match="timeout"):
            run.log_epoch(make_history()[0])
    run.log_epoch(make_history()[0])
    assert len(store.client.get_metric_history(run.run_id, "val/acc")) == 1


def test_what_is_adopted_must_be_there(tracker):
    with pytest.raises(NotFoundError, match=r"has no finished run of trial_003_stem_seed0"):
        tracker.adopt_run("0" * 32, make_run_start(3))


def test_a_parent_that_a_dead_call_left_running_is_closed(tracker, store):
    old = store.parent().info.run_id
    stray = store.client.create_run(
        store.experiment.experiment_id, start_time=1, tags={"kind": "sweep", "sweep": "demo"}
    )
    tracker.start_sweep(make_sweep_start())
    assert store.client.get_run(stray.info.run_id).info.status == "KILLED"
    assert store.client.get_run(old).info.status == "RUNNING"


def test_no_credentials_are_kept(mlflow_root, store):
    secret = "s3cret"
    uri = f"postgresql://anna:{secret}@host/db"
    tracker = MlflowTracker(mlflow_root, "demo", None)
    experiment = make_experiment(tracking={"mlflow_uri": uri}, description=f"see https://anna:{secret}@host/")
    source = f"https://anna:{secret}@host/data"
    tracker.start_sweep(
        make_sweep_start(
            experiment=experiment,
            config_yaml=f"tracking:\n  mlflow_uri: {uri}\n",
            data=make_dataset(source=source),
        )
    )
    table = ({"trial": 0, "error": f"cannot reach {uri}"},)
    tracker.start_run(make_run_start(0, spec=make_spec(data=DataConfig(source=source)))).fail(f"cannot reach {uri}")
    tracker.update_sweep(make_summary((), (), table=table, note=f"data: {source}"))
    tracker.end_sweep("finished")
    kept = [file.read_bytes() for file in mlflow_root.path.rglob("*") if file.is_file()]
    assert len(kept) >= 5  # the database, experiment.yaml, spec.json, error.txt, trials.json
    assert not any(secret.encode() in content for content in kept)
    assert store.parent().data.params["tracking.mlflow_uri"] == "postgresql://***@host/db"
    assert store.parent().data.tags["mlflow.note.content"] == "data: https://***@host/data"
    spec = json.loads(store.artifact(store.runs()["trial_000_stem_seed0"], "spec.json").read_text())
    assert spec["data"]["source"] == "https://***@host/data"


def test_a_note_shows_an_error_as_it_is(tracker, store):
    tracker.start_run(make_run_start()).fail('File "x", in <module>\n<script>alert(1)</script> & co')
    (child,) = store.runs().values()
    note = child.data.tags["mlflow.note.content"]
    assert note == 'failed: File "x", in &lt;module&gt;\n&lt;script&gt;alert(1)&lt;/script&gt; &amp; co'


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshStart(SweepStart):
    generation: int = 1


def test_a_sweep_that_begins_anew_has_a_parent_of_its_own(tracker, store, mlflow_root):
    tracker.start_run(make_run_start(0)).finish(make_result())
    old = store.parent().info.run_id
    start = make_sweep_start()
    for _ in range(2):
        fresh = MlflowTracker(mlflow_root, "demo", None)
        fields = {name: getattr(start, name) for name in ("experiment", "data", "config_yaml", "config_hash")}
        fresh.start_sweep(FreshStart(**fields, git_commit=None))
    fresh.start_run(make_run_start(0, seed=5, spec=make_spec(seed=5, generation=1))).finish(make_result())
    fresh.start_run(make_run_start(0, seed=6)).kill("it had waited in the spool")
    fresh.update_sweep(make_summary(make_trials()[:1], [0]))
    experiment = store.experiment.experiment_id
    parents = {run.info.run_id: run for run in store.client.search_runs([experiment], "tags.kind = 'sweep'")}
    assert len(parents) == 2
    assert parents.pop(old).info.status == "KILLED"  # it was left running
    (new,) = parents
    runs = store.runs()
    assert runs["trial_000_stem_seed0"].data.tags["mlflow.parentRunId"] == old
    assert runs["trial_000_stem_seed5"].data.tags["mlflow.parentRunId"] == new
    assert runs["trial_000_stem_seed6"].data.tags["mlflow.parentRunId"] == old
    # trial 0 of the new study is on the front, not that of the old one
    assert [runs[f"trial_000_stem_seed{seed}"].data.tags["pareto"] for seed in (0, 5)] == ["false", "true"]
