"""What TensorBoard's own HParams plugin makes of the event files."""

import os
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from orchestrator.config.models import SearchConfig
from orchestrator.errors import SetupError
from orchestrator.storage.layout import Root
from orchestrator.tracking.tensorboard import TensorBoardTracker
from tests.factories import make_experiment, make_history, make_result, make_run_start, make_sweep_start

SHOWN = ("val_acc", "test_acc", "trainable_params", "val_loss", "duration_s")


def read_rows(root):
    """Ask the plugin for the rows of its table, as the page does."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(root.tensorboard("demo")))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(root.path))
    context = Context(base_plugin.TBContext(data_provider=provider))
    request = RequestContext()
    columns = [api_pb2.ColParams(metric=api_pb2.MetricName(tag=name)) for name in SHOWN]
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    query = api_pb2.ListSessionGroupsRequest(
        col_params=columns,
        allowed_statuses=statuses,
        start_index=0,
        slice_size=100,
        aggregation_type=api_pb2.AGGREGATION_AVG,
        include_metrics=True,
    )
    return Handler(request, context, "", query).run().session_groups


@pytest.fixture
def root(tmp_path):
    return Root.at(tmp_path)


@pytest.fixture
def tracker(root):
    tracker = TensorBoardTracker(root, "demo")
    tracker.start_sweep(make_sweep_start())
    yield tracker
    tracker.end_sweep("finished")


def test_a_finished_run_is_a_row_of_the_hparams_tab(tracker, root):
    run = tracker.start_run(make_run_start(1, "stem"))
    for epoch in make_history():
        run.log_epoch(epoch)
    run.finish(make_result("stem", 0.8))

    (row,) = read_rows(root)
    assert row.name == "trial_001_stem_seed0"
    assert row.hparams["frozen"].string_value == "stem"
    assert row.hparams["lr"].number_value == 1e-4
    assert row.hparams["freeze_stem"].number_value == 1
    assert [session.status for session in row.sessions] == [api_pb2.STATUS_SUCCESS]
    values = {value.name.tag: value.value for value in row.metric_values}
    assert tuple(values) == SHOWN
    assert values["val_acc"] == pytest.approx(0.8)
    assert values["trainable_params"] == 11_178_051 - 9_536


def test_what_varies_is_a_column_of_the_hparams_tab_from_the_start(tracker, root):
    search = SearchConfig.model_validate(
        {"weight_decay": {"choices": [0, 0.1]}, "optimizer": {"choices": ["adam", "sgd"]}}
    )
    tracker.start_sweep(make_sweep_start(experiment=make_experiment(search=search)))
    run = tracker.start_run(make_run_start(1, "stem"))
    events = EventAccumulator(str(run.folder))
    events.Reload()
    content = events.PluginTagToContent("hparams")[metadata.EXPERIMENT_TAG]
    infos = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.hparam_infos
    shown = {info.name for info in infos if info.differs}
    assert shown == {"frozen", "weight_decay", "optimizer", "seed", "n_frozen"}


def test_a_failed_run_is_a_row_too(tracker, root):
    tracker.start_run(make_run_start(1, "stem")).fail("RuntimeError: boom")
    (row,) = read_rows(root)
    assert [session.status for session in row.sessions] == [api_pb2.STATUS_FAILURE]


def test_a_repeated_run_starts_from_an_empty_directory(tracker, root):
    start = make_run_start(1, "stem")
    tracker.start_run(start).kill("stopped")
    (before,) = (root.tensorboard("demo") / start.name).iterdir()
    tracker.start_run(start).finish(make_result())
    (after,) = (root.tensorboard("demo") / start.name).iterdir()
    assert before.name != after.name
    assert len(read_rows(root)) == 1


def read_points(root, name, tag="val/acc"):
    events = EventAccumulator(str(root.tensorboard("demo") / name))
    events.Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def test_a_run_that_continues_has_one_folder_though_its_old_file_is_torn(tracker, root):
    first = tracker.start_run(make_run_start(1, "stem"))
    for epoch in make_history()[:2]:
        first.log_epoch(epoch)
    (file,) = (root.tensorboard("demo") / "trial_001_stem_seed0").iterdir()
    os.truncate(file, file.stat().st_size - 7)

    second = TensorBoardTracker(root, "demo")
    run = second.start_run(make_run_start(6, "stem", resumes_from=2))
    for epoch in make_history():
        run.log_epoch(epoch)
    run.finish(make_result())
    assert [folder.name for folder in root.tensorboard("demo").iterdir()] == ["trial_006_stem_seed0"]
    assert read_points(root, "trial_006_stem_seed0") == [(1, 0.6), (2, 0.7), (3, 0.8)]
    (row,) = read_rows(root)
    assert row.name == "trial_006_stem_seed0"
    assert [session.status for session in row.sessions] == [api_pb2.STATUS_SUCCESS]


def test_a_sweep_that_counts_from_0_goes_on_so(tracker, root):
    tracker._epochs_from = 0  # as an earlier version counted
    old = tracker.start_run(make_run_start(0, "none"))
    for epoch in make_history():
        old.log_epoch(epoch)
    old.finish(make_result("none"))
    tracker.start_run(make_run_start(1, "stem")).log_epoch(make_history()[0])

    second = TensorBoardTracker(root, "demo")
    second.start_sweep(make_sweep_start())
    for number, key, epochs in ((1, "stem", 1), (2, "layer4", 0)):  # one that continues, and one that begins
        run = second.start_run(make_run_start(number, key, resumes_from=epochs))
        for epoch in make_history():
            run.log_epoch(epoch)
        assert read_points(root, f"trial_00{number}_{key}_seed0") == [(0, 0.6), (1, 0.7), (2, 0.8)]


def test_a_run_that_starts_over_takes_the_place_of_the_dead_one(tracker, root):
    tracker.start_run(make_run_start(1, "stem")).log_epoch(make_history()[0])
    (file,) = (root.tensorboard("demo") / "trial_001_stem_seed0").iterdir()
    os.truncate(file, file.stat().st_size - 7)
    for number in (2, 3):
        TensorBoardTracker(root, "demo").start_run(make_run_start(number, "stem"))
    statuses = {row.name: row.sessions[0].status for row in read_rows(root)}
    assert statuses == {"trial_003_stem_seed0": api_pb2.STATUS_UNKNOWN}


def test_an_adopted_run_has_the_new_name_in_the_hparams_tab(tracker, root):
    tracker.start_run(make_run_start(1, "stem")).finish(make_result())
    tracker.adopt_run(None, make_run_start(8, "stem"))
    (row,) = read_rows(root)
    assert row.name == "trial_008_stem_seed0"


def test_a_full_disk_fails_no_run_and_leaves_no_gap(root, monkeypatch):
    said = []
    tracker = TensorBoardTracker(root, "demo", said.append)
    run = tracker.start_run(make_run_start())
    history = make_history((0.5, 0.6, 0.7, 0.8))
    run.log_epoch(history[0])

    def write_in_part(file, _events):
        with file.open("ab") as stream:
            stream.write(b"torn")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.tensorboard._append", write_in_part)
        run.log_epoch(history[1])
        run.log_epoch(history[2])
    run.log_epoch(history[3])
    run.finish(make_result(val_acc=0.8, history=history))
    assert read_points(root, "trial_000_stem_seed0") == [(1, 0.5), (2, 0.6), (3, 0.7), (4, 0.8)]
    assert len(said) == 1
    assert said[0].endswith("No space left on device; the run goes on")


def test_a_folder_that_cannot_be_written_fails_no_run(root, tracker, caplog):
    (root.tensorboard("demo") / "trial_000_stem_seed0").write_text("in the way")
    run = tracker.start_run(make_run_start())
    for epoch in make_history():
        run.log_epoch(epoch)
    run.finish(make_result())
    tracker.adopt_run(None, make_run_start(8))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot write the TensorBoard folder" in caplog.text


def test_epochs_can_be_read_while_the_run_goes_on(tracker, root):
    run = tracker.start_run(make_run_start())
    (file,) = (root.tensorboard("demo") / "trial_000_stem_seed0").iterdir()
    size = file.stat().st_size
    run.log_epoch(make_history()[0])
    assert file.stat().st_size > size


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(SetupError, match=f"cannot create the TensorBoard folder {tmp_path}/tensorboard/demo"):
        TensorBoardTracker(Root.at(tmp_path), "demo").start_sweep(make_sweep_start())


def test_it_needs_no_torch():
    code = "import sys, orchestrator.tracking.tensorboard; print('torch' in sys.modules or 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
