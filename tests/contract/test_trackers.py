"""One suite over every tracker, by reading back what it wrote.

A `Reader` says what a store holds in the words of this package; each reads with another client than the one that
wrote: a fresh `MlflowClient`, TensorBoard's `EventAccumulator`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from orchestrator.interfaces import Tracker
from orchestrator.storage.layout import Root
from orchestrator.tracking.fanout import FanoutTracker
from orchestrator.tracking.memory import MemoryTracker
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from orchestrator.tracking.tensorboard import TensorBoardTracker
from tests.factories import make_history, make_result, make_run_start, make_summary, make_sweep_start, make_trials
from tests.tracking.flaky import FlakyTracker


@dataclass(kw_only=True)
class Seen:
    """A run as read back."""

    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    pareto: bool | None = None
    """Whether it is marked as on the front; None where marks have no place."""


def read_memory(tracker: MemoryTracker) -> dict[str, Seen]:
    return {
        run.start.name: Seen(
            status=run.status,
            params={key: str(value) for key, value in run.params.items()},
            metrics=run.metrics,
            curves=run.curves,
            pareto=run.pareto,
        )
        for run in tracker.runs
    }


def read_mlflow(root: Root, experiment: str) -> dict[str, Seen]:
    client = MlflowClient(tracking_uri=root.mlflow_uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], "tags.kind = 'run'")
    assert len({run.info.run_name for run in found}) == len(found)
    curves = ("train/loss", "train/acc", "val/loss", "val/acc", "lr", "train/loss_step")
    return {
        run.info.run_name: Seen(
            status=run.info.status.lower(),
            params=run.data.params,
            metrics=run.data.metrics,
            curves={
                name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                for name in curves
                if name in run.data.metrics
            },
            pareto=run.data.tags["pareto"] == "true",
        )
        for run in found
    }


def read_tensorboard(root: Root, experiment: str) -> dict[str, Seen]:
    seen = {}
    for directory in root.tensorboard(experiment).iterdir():
        events = EventAccumulator(str(directory))
        events.Reload()
        points = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        plugin = {
            tag: plugin_data_pb2.HParamsPluginData.FromString(content)
            for tag, content in events.PluginTagToContent("hparams").items()
        }
        start = plugin[metadata.SESSION_START_INFO_TAG].session_start_info
        end = plugin.get(metadata.SESSION_END_INFO_TAG)
        seen[directory.name] = Seen(
            # TensorBoard knows success and failure only; api.proto: 1 is STATUS_SUCCESS, 2 is STATUS_FAILURE
            status="running" if end is None else {1: "finished", 2: "failed"}[end.session_end_info.status],
            params={
                key: value.string_value if value.HasField("string_value") else f"{value.number_value:g}"
                for key, value in start.hparams.items()
            },
            metrics={tag: value[-1][1] for tag, value in points.items() if "/" not in tag and tag != "lr"},
            curves=points,
        )
    return seen


@dataclass(kw_only=True)
class Case:
    """A kind of tracker: how to open one, and how to read what all of them wrote."""

    kind: str
    open: Callable[[], Tracker]
    read: Callable[[], dict[str, Seen]]

    @property
    def killed(self) -> str:
        return "failed" if self.kind == "tensorboard" else "killed"


KINDS = ["memory", "tensorboard", "mlflow", "fanout-mlflow", "fanout-tensorboard", "spool", "spool-down", "spool-flaky"]


@pytest.fixture(params=KINDS)
def case(request, mlflow_root):
    root, kind = mlflow_root, request.param.removeprefix("fanout-").partition("-")[0]
    memory = MemoryTracker()
    openers = {
        "memory": lambda: memory,
        "tensorboard": lambda: TensorBoardTracker(root, "demo"),
        "mlflow": lambda: MlflowTracker(root, "demo", None),
    }
    readers = {
        "memory": lambda: read_memory(memory),
        "tensorboard": lambda: read_tensorboard(root, "demo"),
        "mlflow": lambda: read_mlflow(root, "demo"),
    }
    if kind == "spool":
        return open_spool_case(request.param, root)
    fan = request.param.startswith("fanout-")
    opener = (lambda: FanoutTracker([openers["memory"](), openers[kind]()])) if fan else openers[kind]
    return Case(kind=kind, open=opener, read=readers[kind])


def open_spool_case(name, root):
    """MLflow behind a spool: the store answers, is down from the start of the sweep to the look, or fails at random."""
    opened = []

    def draw_faults():
        dice = random.Random(7)
        return iter(lambda: dice.choice(["before", "after", None, None]), "never")

    def open_tracker():
        faults = {"spool": None, "spool-down": lambda: iter(lambda: "before", None), "spool-flaky": draw_faults}[name]
        opened.append(FlakyTracker(root, faults))
        return opened[-1]

    def read():
        opened[-1].settle()
        return read_mlflow(root, "demo")

    return Case(kind="mlflow", open=open_tracker, read=read)


def test_a_finished_run_has_its_params_metrics_and_curves(case):
    history, result = make_history((0.6, 0.7, 0.8)), make_result("stem+layer1", 0.8)
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start(7, "stem+layer1", seed=3))
    for epoch in history:
        run.log_epoch(epoch)
    run.finish(result)
    tracker.end_sweep("finished")

    seen = case.read()
    assert list(seen) == ["trial_007_stem+layer1_seed3"]
    run = seen["trial_007_stem+layer1_seed3"]
    assert run.status == "finished"
    expected = {"frozen": "stem+layer1", "n_frozen": "2", "seed": "3", "optimizer": "adam", "lr": "0.0001"}
    expected |= {"tune_stem": "frozen", "tune_layer2": "full"}
    expected |= {"freeze_stem": "1", "freeze_layer1": "1", "freeze_layer2": "0", "freeze_layer4": "0"}
    expected |= {"batch_size": "16", "max_epochs": "3", "image_size": "32", "frozen_batchnorm": "eval"}
    expected |= {"backbone": "resnet18", "weights": "none", "precision": "32-true", "accelerator": "cpu"}
    assert {key: run.params.get(key) for key in expected} == expected
    # stem and layer1 do not train: 11_178_051 - 9_536 - 147_968 = 11_020_547
    assert run.metrics["trainable_params"] == 11_020_547
    assert run.metrics["val_acc"] == pytest.approx(0.8)
    assert run.metrics.get("best_epoch", 3) == 3  # the last of three: epochs count from 1; TensorBoard has no such tag
    assert run.metrics["test_acc"] == pytest.approx(0.78)
    assert run.metrics["val_loss"] == pytest.approx(0.2)
    assert run.metrics["duration_s"] == pytest.approx(2.0 + 2.1 + 2.2 + 1.5)

    assert [step for step, _ in run.curves["val/acc"]] == [1, 2, 3]
    assert [value for _, value in run.curves["val/acc"]] == pytest.approx([0.6, 0.7, 0.8])
    assert [value for _, value in run.curves["train/acc"]] == pytest.approx([0.65, 0.75, 0.85])
    assert [value for _, value in run.curves["val/loss"]] == pytest.approx([0.4, 0.3, 0.2])
    assert [value for _, value in run.curves["train/loss"]] == pytest.approx([0.35, 0.25, 0.15])
    assert [value for _, value in run.curves["lr"]] == pytest.approx([1e-4] * 3)
    assert [step for step, _ in run.curves["train/loss_step"]] == [0, 10, 20, 30, 40, 50]


def test_every_ending_has_a_true_status(case):
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    good, bad, stopped, _open = (tracker.start_run(make_run_start(i, "stem")) for i in range(4))
    good.finish(make_result())
    bad.fail("RuntimeError: boom")
    stopped.kill("interrupted")

    statuses = {name: run.status for name, run in case.read().items()}
    assert statuses == {
        "trial_000_stem_seed0": "finished",
        "trial_001_stem_seed0": "failed",
        "trial_002_stem_seed0": case.killed,
        "trial_003_stem_seed0": "running",
    }
    tracker.end_sweep("killed")


def test_a_lost_run_has_the_curves_up_to_its_loss_and_no_summary(case):
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start())
    run.log_epoch(make_history()[0])
    run.fail("RuntimeError: boom")
    tracker.end_sweep("failed")

    (seen,) = case.read().values()
    assert seen.curves["val/acc"] == [(1, pytest.approx(0.6))]
    assert "val_acc" not in seen.metrics


def test_a_second_call_goes_on_with_the_same_sweep(case):
    first = case.open()
    first.start_sweep(make_sweep_start())
    first.start_run(make_run_start(0)).finish(make_result())
    first.end_sweep("finished")
    second = case.open()
    second.start_sweep(make_sweep_start())
    second.start_run(make_run_start(1)).finish(make_result())
    second.end_sweep("finished")

    assert sorted(case.read()) == ["trial_000_stem_seed0", "trial_001_stem_seed0"]


def test_a_sweep_is_updated_as_often_as_one_likes(case):
    trials = make_trials()[:2]
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    for trial in trials:
        tracker.start_run(make_run_start(trial.number, trial.frozen)).finish(trial.runs[0].result)
        tracker.update_sweep(make_summary(trials[: trial.number + 1], [trial.number]))
    tracker.update_sweep(make_summary(trials, [0, 1]))
    tracker.end_sweep("finished")
    assert {run.status for run in case.read().values()} == {"finished"}


EPOCHS = make_history((0.6, 0.7, 0.8))


def begin(case, *, epochs=2, end=None, number=0):
    """Run the first epochs of a training in a process of its own, which dies without ending the sweep."""
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start(number))
    for epoch in EPOCHS[:epochs]:
        run.log_epoch(epoch)
    if end is not None:
        getattr(run, end)("something happened")
    return run


def go_on(case, start, *, tracker=None):
    """Run a training to its end, all of its epochs, in another process."""
    if tracker is None:
        tracker = case.open()
        tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(start)
    for epoch in EPOCHS:
        run.log_epoch(epoch)
    run.finish(make_result(val_acc=0.8, history=EPOCHS))
    tracker.end_sweep("finished")
    return run


def assert_each_epoch_once(run):
    assert run.status == "finished"
    assert run.curves["val/acc"] == [(1, pytest.approx(0.6)), (2, pytest.approx(0.7)), (3, pytest.approx(0.8))]
    for name in ("val/loss", "train/loss", "train/acc", "lr"):
        assert [step for step, _ in run.curves[name]] == [1, 2, 3], name
    assert [step for step, _ in run.curves["train/loss_step"]] == [0, 10, 20, 30, 40, 50]
    assert run.metrics["val_acc"] == pytest.approx(0.8)


@pytest.mark.parametrize("end", [None, "kill", "fail"])
def test_a_run_that_continues_has_each_epoch_once_under_its_new_name(case, end):
    begin(case, end=end)
    go_on(case, make_run_start(4, resumes_from=2))
    seen = case.read()
    assert list(seen) == ["trial_004_stem_seed0"]
    assert_each_epoch_once(seen["trial_004_stem_seed0"])


def test_a_run_of_before_names_said_what_varies_is_found_and_takes_its_new_name(case):
    begin(case, end="kill")
    name = "trial_004_stem_lr=0.003_seed0"
    go_on(case, make_run_start(4, resumes_from=2, name=name))
    seen = case.read()
    assert list(seen) == [name]
    assert_each_epoch_once(seen[name])


def test_a_run_may_continue_more_than_once(case):
    begin(case, epochs=1)
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    second = tracker.start_run(make_run_start(0, resumes_from=1))
    for epoch in EPOCHS[:2]:
        second.log_epoch(epoch)
    go_on(case, make_run_start(0, resumes_from=2))
    (seen,) = case.read().values()
    assert_each_epoch_once(seen)


@pytest.mark.parametrize("end", [None, "put_off"])
def test_a_run_that_starts_over_takes_the_place_of_the_old_one(case, end):
    begin(case, end=end)
    go_on(case, make_run_start(4))
    seen = case.read()
    assert list(seen) == ["trial_004_stem_seed0"]
    assert_each_epoch_once(seen["trial_004_stem_seed0"])


def test_what_was_put_off_is_no_failure_and_goes_on(case):
    begin(case, number=1, end="put_off")
    assert case.read()["trial_001_stem_seed0"].status in {"put_off", "scheduled", "running"}
    go_on(case, make_run_start(1, resumes_from=2))
    (seen,) = case.read().values()
    assert seen.status == "finished"
    assert_each_epoch_once(seen)


def test_what_a_finished_sweep_has_not_gone_on_with_is_killed(case):
    begin(case, number=1, end="put_off")
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    tracker.end_sweep("finished")
    (seen,) = case.read().values()
    assert seen.status in {"killed", "running"}  # TensorBoard knows no sweep


def test_a_run_that_continues_what_is_gone_opens_a_new_one(case):
    begin(case, number=1, end="kill")
    go_on(case, make_run_start(4, seed=9, resumes_from=2))
    seen = case.read()
    assert sorted(seen) == ["trial_001_stem_seed0", "trial_004_stem_seed9"]
    assert_each_epoch_once(seen["trial_004_stem_seed9"])


def test_a_finished_run_that_nobody_else_heard_of_is_tracked_once(case):
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    go_on(case, make_run_start(0), tracker=tracker)
    go_on(case, make_run_start(4, resumes_from=3))
    seen = case.read()
    assert list(seen) == ["trial_004_stem_seed0"]
    assert_each_epoch_once(seen["trial_004_stem_seed0"])


def test_a_retry_repeats_its_epochs(case):
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    run = tracker.start_run(make_run_start())
    for epoch in (*EPOCHS[:2], *EPOCHS[:2], *EPOCHS):
        run.log_epoch(epoch)
    run.finish(make_result(val_acc=0.8, history=EPOCHS))
    tracker.end_sweep("finished")
    (seen,) = case.read().values()
    assert_each_epoch_once(seen)


def test_a_finished_run_goes_to_another_trial(case):
    tracker = case.open()
    tracker.start_sweep(make_sweep_start())
    first = go_on(case, make_run_start(0), tracker=tracker)
    other = tracker.start_run(make_run_start(1, seed=1))
    other.finish(make_result(seed=1))
    second = case.open()
    second.start_sweep(make_sweep_start())
    second.adopt_run(first.run_id, make_run_start(5))
    second.update_sweep(make_summary(make_trials()[:1], [5]))
    second.end_sweep("finished")
    seen = case.read()
    assert sorted(seen) == ["trial_001_stem_seed1", "trial_005_stem_seed0"]
    assert_each_epoch_once(seen["trial_005_stem_seed0"])
    assert seen["trial_005_stem_seed0"].pareto in (True, None)
    assert seen["trial_001_stem_seed1"].pareto in (False, None)
