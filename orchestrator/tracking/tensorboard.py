"""TensorBoard: an event directory a run, with curves and an HParams row. Needs no torch."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from orchestrator import names
from orchestrator.errors import SetupError
from orchestrator.interfaces import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.layout import Root, safe_name
from orchestrator.records import EpochMetrics, RunResult
from orchestrator.tracking.entries import curve_points, run_params, summary_metrics

_HPARAMS_METRICS = (names.VAL_ACC, names.TEST_ACC, names.TRAINABLE_PARAMS, names.VAL_LOSS, names.DURATION_S)
_FIRST_COLUMNS = (names.FROZEN, names.N_FROZEN, names.SEED, "lr", "batch_size")
"""Only five columns are shown at first: those that "differ", then by the alphabet."""
_FLUSH_S = 10


class TensorBoardRun:
    """Writes the event file of one run."""

    def __init__(self, directory: Path, start: RunStart) -> None:
        if directory.exists():  # an earlier attempt: its points would be drawn together with these
            shutil.rmtree(directory)
        self._name = start.name
        self._writer = EventFileWriter(str(directory), flush_secs=_FLUSH_S)
        params = run_params(start)
        self._add(_build_experiment(params))
        self._add(_build_session_start(start.name, params))
        self._writer.flush()

    @property
    def run_id(self) -> str | None:
        """None: there is no MLflow run."""
        return None

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves and write it to disk."""
        for name, value, step in curve_points(metrics):
            self._add(_build_scalar(name, value), step)
        self._writer.flush()

    def finish(self, result: RunResult) -> None:
        """Write the HParams row's metrics and close the file; the session is a success."""
        metrics = summary_metrics(result)
        for name in _HPARAMS_METRICS:
            self._add(_build_scalar(name, metrics[name]), 0)
        self._end(api_pb2.STATUS_SUCCESS)

    def fail(self, error: str) -> None:  # noqa: ARG002 - there is no place for a text that the HParams tab shows
        """Close the file; the session is a failure."""
        self._end(api_pb2.STATUS_FAILURE)

    def kill(self, reason: str) -> None:  # noqa: ARG002
        """Close the file; the session is a failure."""
        self._end(api_pb2.STATUS_FAILURE)

    def close(self) -> None:
        """Close the file of a run that nobody ended. Does nothing to one that has ended."""
        self._writer.close()

    def _end(self, status: int) -> None:
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._add(
            _build_hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))
        )
        self._writer.close()

    def _add(self, summary: Summary, step: int | None = None) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


class TensorBoardTracker:
    """Writes `<root>/tensorboard/<experiment>/<run name>`, a directory a run."""

    def __init__(self, root: Root, experiment_name: str) -> None:
        self._directory = root.tensorboard(experiment_name)
        self._runs: list[TensorBoardRun] = []

    def start_sweep(self, start: SweepStart) -> None:  # noqa: ARG002 - a sweep has no place of its own here
        """Create the sweep's directory.

        Raises:
            SetupError: The directory cannot be created.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"cannot create the TensorBoard folder {self._directory}: {error}", hint="choose another --root"
            ) from error

    def start_run(self, start: RunStart) -> TensorBoardRun:
        """Open the run's directory; what an earlier attempt left there is removed."""
        run = TensorBoardRun(self._directory / safe_name(start.name), start)
        self._runs.append(run)
        return run

    def update_sweep(self, summary: SweepSummary) -> None:
        """Do nothing: TensorBoard has no page for a sweep."""

    def end_sweep(self, status: SweepStatus) -> None:  # noqa: ARG002
        """Close the files that are still open."""
        for run in self._runs:
            run.close()
        self._runs.clear()


def _build_scalar(name: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _build_experiment(params: Mapping[str, str | int | float]) -> Summary:
    """Describe the columns of the HParams tab."""
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64,
                differs=name in _FIRST_COLUMNS,
            )
            for name, value in params.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in _HPARAMS_METRICS],
    )
    return _build_hparams(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _build_session_start(name: str, params: Mapping[str, str | int | float]) -> Summary:
    """Describe the run's row of the HParams tab."""
    info = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in params.items():
        if isinstance(value, str):
            info.hparams[key].string_value = value
        else:
            info.hparams[key].number_value = value
    return _build_hparams(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))


def _build_hparams(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary:
    return Summary(
        value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)]
    )
