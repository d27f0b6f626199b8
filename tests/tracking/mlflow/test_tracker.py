"""What MLflow holds after a sweep, read with a fresh client."""

import json
import os

import matplotlib.image
import pytest

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, SearchConfig
from orchestrator.errors import NotFoundError, SweepError
from orchestrator.tracking.mlflow import run as mlflow_run
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import (
    CLASS_NAMES,
    DATA_FINGERPRINT,
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
from tests.scored import SCORES
from tests.tracking.reading import Store


def test_a_sweep_is_one_parent_with_its_configuration(tracker, store):
    parent = store.parent()
    assert (parent.info.run_name, parent.info.status) == ("demo", "RUNNING")
    wanted = {"kind": "sweep", "sweep": "demo", "config_hash": "c0ffee00"}
    assert wanted.items() <= parent.data.tags.items()
    assert parent.data.tags["git_commit"] == "0123456789abcdef0123456789abcdef01234567"
    wanted = {"data.source": "synthetic", "trainer.max_epochs": "30", "search.seeds": "[0]", "search.lr": "null"}
    assert wanted.items() <= parent.data.params.items()
    assert store.artifact(parent, "experiment.yaml").read_text() == "name: demo\ndata:\n  source: synthetic\n"


@pytest.mark.parametrize("view", ["sweep", "runs"])
def test_the_experiment_has_views_with_the_summary_columns(tracker, store, view):
    state = json.loads(store.experiment.tags[f"mlflow.sharedViewState.{view}"])
    assert {"params.`frozen`", "metrics.`val_acc`", "metrics.`trainable_params`"} < set(state["selectedColumns"])
    assert state.get("searchFilter") == (None if view == "sweep" else "tags.kind = 'run'")


def test_what_varies_is_a_column_of_the_views_of_an_old_experiment_too(tracker, store, mlflow_root):
    search = SearchConfig.model_validate({"lr": {"choices": [1e-3, 3e-3]}, "optimizer": {"choices": ["adam", "sgd"]}})
    start = make_sweep_start(experiment=make_experiment(search=search))
    MlflowTracker(mlflow_root, "demo", None).start_sweep(start)
    for view in ("sweep", "runs"):
        columns = json.loads(store.experiment.tags[f"mlflow.sharedViewState.{view}"])["selectedColumns"]
        assert columns[:4] == ["params.`frozen`", "params.`lr`", "params.`optimizer`", "metrics.`val_acc`"]


@pytest.mark.parametrize("status", ["finished", "failed", "killed"])
def test_the_parent_ends_with_a_true_status(tracker, store, status):
    tracker.end_sweep(status)
    assert store.parent().info.status == status.upper()


def test_a_second_call_goes_on_with_the_parent(tracker, store, mlflow_root):
    tracker.end_sweep("killed")
    before = store.parent().info.run_id
    longer = make_experiment(execution={"workers": 2})
    MlflowTracker(mlflow_root, "demo", None).start_sweep(
        make_sweep_start(experiment=longer, config_hash="beef", config_yaml="new: true\n")
    )
    parent = store.parent()
    assert (parent.info.run_id, parent.info.status) == (before, "RUNNING")
    assert parent.data.tags["config_hash"] == "beef"
    assert store.artifact(parent, "experiment.yaml").read_text() == "new: true\n"


def test_what_is_known_before_training_is_a_metric_of_run_and_sweep(tracker, store, mlflow_root):
    tracker.start_sweep(make_sweep_start(scores=SCORES))
    start = make_run_start(0, scores=SCORES.of(FrozenSet.parse("stem")))
    tracker.start_run(start)
    tracker.start_run(make_run_start(1, "none", scores=SCORES.of(FrozenSet())))
    again = MlflowTracker(mlflow_root, "demo", None)
    again.start_sweep(make_sweep_start(scores=SCORES))
    run = again.start_run(make_run_start(0, scores=SCORES.of(FrozenSet.parse("stem")), resumes_from=1))
    runs = store.runs()
    assert runs[start.name].info.run_id == run.run_id
    assert runs[start.name].data.metrics == {"logme": -0.5, "grad_share_frozen": 1 / 30}
    assert len(store.client.get_metric_history(run.run_id, "logme")) == 1
    assert runs["trial_001_none_seed0"].data.metrics == {"grad_share_frozen": 0}
    found = store.parent().data.metrics
    assert {key: found[key] for key in ("logme_stem", "logme_layer4", "grad_norm_layer3")} == {
        "logme_stem": -0.5,
        "logme_layer4": 0.1,
        "grad_norm_layer3": 4,
    }
    assert len(found) == 10


def test_runs_of_a_dead_owner_are_put_off(tracker, store, mlflow_root):
    tracker.start_run(make_run_start(0)).finish(make_result())
    tracker.start_run(make_run_start(1))
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start())
    runs = store.runs()
    assert runs["trial_000_stem_seed0"].info.status == "FINISHED"
    stale = runs["trial_001_stem_seed0"]
    assert (stale.info.status, stale.data.tags["put_off"]) == ("SCHEDULED", "true")
    note = "put off: the process that ran it died; the next start of the sweep goes on with it"
    assert stale.data.tags["mlflow.note.content"] == note


def test_a_sweep_that_was_put_off_is_neither_red_nor_busy(tracker, store, mlflow_root):
    run = tracker.start_run(make_run_start(1))
    run.log_epoch(make_history()[0])
    run.put_off("stopped after epoch 1")
    tracker.end_sweep("put_off")
    (child,) = store.runs().values()
    for seen in (child, store.parent()):
        assert (seen.info.status, seen.data.tags["put_off"]) == ("SCHEDULED", "true")

    again = MlflowTracker(mlflow_root, "demo", None)
    again.start_sweep(make_sweep_start())
    again.start_run(make_run_start(1, resumes_from=1))
    (continued,) = store.runs().values()
    assert continued.info.run_id == child.info.run_id
    for seen in (continued, store.parent()):
        assert seen.info.status == "RUNNING"
        assert not {"put_off", "mlflow.note.content"} & set(seen.data.tags)


def test_what_was_put_off_in_a_study_that_was_begun_anew_since_is_killed(tracker, store, mlflow_root):
    tracker.start_run(make_run_start(1)).put_off("stopped after epoch 1")
    tracker.end_sweep("put_off")
    MlflowTracker(mlflow_root, "demo", None).start_sweep(make_sweep_start(generation=1))
    (child,) = store.runs().values()
    assert (child.info.status, "put_off" in child.data.tags) == ("KILLED", False)


def test_a_run_is_a_child_with_tags_and_params(tracker, store):
    start = make_run_start(7, "stem+layer1", seed=3, reused_from="other/trial_000_stem_seed0")
    run = tracker.start_run(start)
    run.finish(make_result("stem+layer1", versions={"python": "3.11.9", "torch": "2.15.0"}))
    (child,) = store.runs().values()
    assert child.info.run_id == run.run_id
    expected = {
        "mlflow.parentRunId": store.parent().info.run_id,
        "kind": "run",
        "sweep": "demo",
        "optuna_trial": "7",
        "seed": "3",
        "pareto": "false",
        "config_hash": "c0ffee00",
        "fingerprint": start.spec.fingerprint,
        "reused_from": "other/trial_000_stem_seed0",
    }
    assert expected.items() <= child.data.tags.items()
    params = {"version_python": "3.11.9", "version_torch": "2.15.0", "fingerprint": start.spec.fingerprint}
    params |= {"git_commit": "0123456789abcdef0123456789abcdef01234567", "patience": "10", "weight_decay": "0.0"}
    assert params.items() <= child.data.params.items()


def test_a_run_has_every_summary_metric_at_step_0(tracker, store):
    result = make_result("stem", 0.8, peak_memory_mb=512.0)
    tracker.start_run(make_run_start()).finish(result)
    (child,) = store.runs().values()
    expected = {
        *("val_acc", "val_loss", "train_acc", "train_loss", "test_acc", "test_loss", "gap_train_val", "best_epoch"),
        *("epochs_run", "trainable_params", "trainable_pct", "total_params", "duration_s", "s_per_epoch"),
        *("images_per_s", "gflops_forward_per_image", "gflops_train_per_image", "peak_memory_mb"),
    }
    assert set(child.data.metrics) == expected
    assert child.data.metrics["gap_train_val"] == pytest.approx(0.85 - 0.8)
    assert child.data.metrics["trainable_pct"] == pytest.approx(100 * (11_178_051 - 9_536) / 11_178_051)
    steps = {p.step for name in expected for p in store.client.get_metric_history(child.info.run_id, name)}
    assert steps == {0}


def test_a_run_on_a_gpu_has_what_is_resident_there_and_its_notes(tracker, store):
    history = make_history()
    noted = history[0].model_copy(update={"notes": ("training steps run without CUDA graphs: <no>",)})
    result = make_result("stem", 0.8, history=(noted, *history[1:]), resident_mb=64.5)
    tracker.start_run(make_run_start()).finish(result)
    (child,) = store.runs().values()
    assert child.data.metrics["resident_mb"] == 64.5
    assert child.data.tags["mlflow.note.content"] == "training steps run without CUDA graphs: &lt;no&gt;"
    assert child.data.params["matmul_precision"] == "highest"


def test_without_a_commit_none_is_claimed(mlflow_root, store):
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start(git_commit=None))
    tracker.start_run(make_run_start())
    for run in (store.parent(), *store.runs().values()):
        assert "git_commit" not in run.data.tags | run.data.params


@pytest.mark.parametrize(
    ("source", "source_type", "detail"),
    [
        ("synthetic", "synthetic", {"classes": 3, "train": 240, "validation": 90, "test": 90, "seed": 0}),
        ("AI-Lab-Makerere/beans", "hugging_face", {"path": "AI-Lab-Makerere/beans", "revision": None}),
    ],
)
def test_the_data_set_is_an_input(mlflow_root, store, source, source_type, detail):
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start(data=make_dataset(source=source)))
    tracker.start_run(make_run_start(spec=make_spec(data=DataConfig(source=source))))
    (child,) = store.runs().values()
    (given,) = child.inputs.dataset_inputs
    assert given.dataset.name == source
    assert given.dataset.digest == DATA_FINGERPRINT[:36]
    assert (given.dataset.source_type, json.loads(given.dataset.source)) == (source_type, detail)
    sizes = {"num_rows": 360, "train": 240, "validation": 60, "test": 60, "classes": 3}
    assert json.loads(given.dataset.profile) == sizes


def test_a_local_data_set_is_named_by_its_folder(mlflow_root, store, tmp_path):
    folder = tmp_path / "leaves"
    folder.mkdir()
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start(data=make_dataset(source=str(folder))))
    tracker.start_run(make_run_start(spec=make_spec(data=DataConfig(source=str(folder)))))
    (child,) = store.runs().values()
    dataset = child.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.source_type) == ("leaves", "local")
    assert json.loads(dataset.source) == {"uri": folder.as_uri()}


def test_a_finished_run_keeps_its_confusion_matrices_and_specification(tracker, store):
    result = make_result(val_confusion=((18, 2, 0), (1, 19, 0), (0, 0, 20)))
    start = make_run_start()
    tracker.start_run(start).finish(result)
    (child,) = store.runs().values()
    content = json.loads(store.artifact(child, "confusion_matrix.json").read_text())
    assert content["class_names"] == list(CLASS_NAMES)
    assert content["validation"] == [[18, 2, 0], [1, 19, 0], [0, 0, 20]]
    assert content["test"] == [list(row) for row in result.test_confusion]
    image = matplotlib.image.imread(store.artifact(child, "confusion_matrix.png"))
    assert image.std() > 0.05
    assert json.loads(store.artifact(child, "spec.json").read_text()) == start.spec.model_dump(mode="json")


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(tracker, store, mlflow_root, monkeypatch, caplog):
    def refuse(*_args):
        raise ValueError("ParseFatalException: Double subscript")

    monkeypatch.setattr(mlflow_run, "render_confusion", refuse)
    start, result = make_run_start(), make_result(class_names=("$10_$20", "$20_$50", "healthy"))
    file = mlflow_root.run_dir(result.fingerprint) / "predictions.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"predictions")
    tracker.start_run(start).finish(result)
    (child,) = store.runs().values()
    assert child.info.status == "FINISHED"
    assert store.artifact(child, "predictions.npz").read_bytes() == b"predictions"
    assert json.loads(store.artifact(child, "confusion_matrix.json").read_text())["class_names"][0] == "$10_$20"
    (said,) = caplog.messages
    assert said.startswith("no confusion_matrix.png is kept: it cannot be drawn (ValueError: ParseFatal")


def test_a_finished_run_keeps_the_predictions_that_its_training_left(tracker, store, mlflow_root):
    start, result = make_run_start(), make_result()
    file = mlflow_root.run_dir(result.fingerprint) / "predictions.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"what the worker wrote")
    tracker.start_run(start).finish(result)
    (child,) = store.runs().values()
    assert store.artifact(child, "predictions.npz").read_bytes() == b"what the worker wrote"


def test_a_failed_run_keeps_its_error_whole(tracker, store):
    error = "RuntimeError: boom\n" + "x" * 10_000
    tracker.start_run(make_run_start()).fail(error)
    (child,) = store.runs().values()
    assert child.info.status == "FAILED"
    assert child.data.tags["mlflow.note.content"].startswith("failed: RuntimeError: boom\nxxx")
    assert len(child.data.tags["mlflow.note.content"]) <= 8000
    assert store.artifact(child, "error.txt").read_text() == error


def test_a_killed_run_says_why(tracker, store):
    tracker.start_run(make_run_start()).kill("interrupted")
    (child,) = store.runs().values()
    assert child.data.tags["mlflow.note.content"] == "killed: interrupted"


def test_an_update_replaces_table_metrics_and_note(tracker, store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.root.mlflow_uri)  # load_table searches there, not by its client
    picture = tmp_path / "pareto.png"
    picture.write_bytes(b"first")
    trials = make_trials()[:3]
    tracker.update_sweep(make_summary(trials[:2], [0], files=(picture,)))
    picture.write_bytes(b"second")
    tracker.update_sweep(make_summary(trials, [0, 2], note="## New", files=(picture,)))
    parent = store.parent()
    table = store.client.load_table(store.experiment.experiment_id, "trials.json", run_ids=[parent.info.run_id])
    assert table["trial"].tolist() == [0, 1, 2]
    assert table["pareto"].tolist() == [True, False, True]
    assert table["val_acc"].tolist() == pytest.approx([0.95, 0.94, 0.96])
    assert parent.data.metrics == {"n_trials": 3.0, "front_size": 2.0}
    assert parent.data.tags["mlflow.note.content"] == "## New"
    assert store.artifact(parent, "pareto.png").read_bytes() == b"second"


def test_the_table_takes_what_json_cannot(tracker, store):
    rows = ({"trial": 0, "val_acc": float("nan")}, {"trial": 1, "val_acc": None, "error": "boom"})
    tracker.update_sweep(make_summary((), (), table=rows))
    content = json.loads(store.artifact(store.parent(), "trials.json").read_text())
    assert content == {"columns": ["trial", "val_acc", "error"], "data": [[0, None, None], [1, None, "boom"]]}


def test_the_front_marks_children_of_earlier_calls_too(tracker, store, mlflow_root):
    for seed in (0, 1):
        tracker.start_run(make_run_start(0, seed=seed)).finish(make_result())
    tracker.update_sweep(make_summary(make_trials()[:1], [0]))
    tracker.end_sweep("finished")
    second = MlflowTracker(mlflow_root, "demo", None)
    second.start_sweep(make_sweep_start())
    second.start_run(make_run_start(1)).finish(make_result())
    second.start_run(make_run_start(2)).fail("boom")

    def marks():
        return {name: run.data.tags["pareto"] for name, run in store.runs().items()}

    zero = {"trial_000_stem_seed0": "true", "trial_000_stem_seed1": "true"}
    assert marks() == zero | {"trial_001_stem_seed0": "false", "trial_002_stem_seed0": "false"}
    second.update_sweep(make_summary(make_trials()[:2], [1]))
    assert marks() == dict.fromkeys(zero, "false") | {"trial_001_stem_seed0": "true", "trial_002_stem_seed0": "false"}


def test_results_that_cannot_be_tracked_leave_no_running_run(tracker, store, monkeypatch):
    def lose(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    run = tracker.start_run(make_run_start())
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", lose)
    with pytest.raises(SweepError, match=r"cannot write to the MLflow store sqlite:.*No space left on device"):
        run.finish(make_result())
    (child,) = store.runs().values()
    assert child.info.status == "FAILED"
    assert child.data.tags["mlflow.note.content"] == "the training finished, but its results could not be tracked"


def test_files_are_kept_on_the_parent_later(tracker, store, mlflow_root, tmp_path):
    tracker.end_sweep("finished")
    picture = tmp_path / "accuracies.png"
    picture.write_bytes(b"picture")
    MlflowTracker(mlflow_root, "demo", None).keep_files([picture])
    assert store.artifact(store.parent(), "accuracies.png").read_bytes() == b"picture"
    assert store.parent().info.status == "FINISHED"


def test_files_of_an_unknown_sweep_have_no_place(mlflow_root):
    with pytest.raises(NotFoundError, match=r"has no sweep 'demo'"):
        MlflowTracker(mlflow_root, "demo", None).keep_files([])


def test_a_long_sweep_is_read_over_many_pages(tracker, store, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.mlflow.runs._PAGE", 2)
    for i in range(5):
        tracker.start_run(make_run_start(i)).finish(make_result())
    tracker.update_sweep(make_summary(make_trials(), list(range(5))))
    assert [run.data.tags["pareto"] for run in store.runs().values()] == ["true"] * 5


def test_everything_lies_under_the_root_and_nothing_in_the_working_folder(mlflow_root, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    tracker = MlflowTracker(mlflow_root, "demo", None)
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start())
    run.log_epoch(make_history()[0])
    run.finish(make_result())
    tracker.end_sweep("finished")
    assert list(work.iterdir()) == []
    assert len(list(mlflow_root.artifacts.glob("demo/*/artifacts/spec.json"))) == 1


def test_another_database_still_keeps_artifacts_under_the_root(mlflow_root, tmp_path, mlflow_store_template):
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_bytes(mlflow_store_template.read_bytes())
    tracker = MlflowTracker(mlflow_root, "demo", f"sqlite:///{elsewhere}")
    tracker.start_sweep(make_sweep_start())
    tracker.start_run(make_run_start())
    assert len(list(mlflow_root.artifacts.glob("demo/*/artifacts/spec.json"))) == 1
    assert Store(mlflow_root).experiment is None


def test_no_global_state_of_mlflow_is_touched(tracker, mlflow_root):
    import mlflow

    tracker.start_run(make_run_start()).finish(make_result())
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() != mlflow_root.mlflow_uri
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
