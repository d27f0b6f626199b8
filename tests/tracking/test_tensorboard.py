"""What TensorBoard's own HParams plugin makes of the event files."""

import subprocess
import sys

import pytest
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from orchestrator.errors import SetupError
from orchestrator.layout import Root
from orchestrator.tracking.tensorboard import TensorBoardTracker
from tests.factories import make_history, make_result, make_run_start, make_sweep_start

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
