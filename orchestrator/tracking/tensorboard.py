"""TensorBoard: an event directory a run, with curves and an HParams row. Needs no torch."""

import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from orchestrator import names
from orchestrator.errors import SetupError
from orchestrator.records.labels import find_varied
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.storage.files import make_folder, sync_file, sync_folder
from orchestrator.storage.layout import Root, safe_name
from orchestrator.tracking.entries import curve_points, run_params, summary_metrics

_LOG = logging.getLogger(__name__)
_VERSION = "brain.Event:2"
_FIRST_COLUMNS = (names.FROZEN, names.N_FROZEN, names.SEED, "lr", "batch_size")
"""Only five columns are shown at first: those that "differ", then by the alphabet. What varies comes before others."""
_SHOWN = 5


class TensorBoardRun:
    """Writes the event file of one run. A disk that is full loses no run: the folder is written again at the next call.

    Args:
        folder: Folder of the run; what is there is removed.
        start: What is known of the run.
        say: Hears, once, that the folder cannot be written.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
        varied: What varies in the sweep besides the frozen set.

    Attributes:
        folder: The folder.
        is_open: Whether it has not ended.
    """

    def __init__(
        self,
        folder: Path,
        start: RunStart,
        say: Callable[[str], None],
        *,
        epochs_from: int = 1,
        varied: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._shown = tuple(dict.fromkeys((names.FROZEN, *varied, names.SEED, *_FIRST_COLUMNS)))[:_SHOWN]
        self._epochs_from = epochs_from
        self.is_open = True
        self._start = start
        self._say = say
        self._epochs: dict[int, list[Event]] = {}
        self._file: Path | None = None
        self._complained = False
        self._write([])

    @property
    def run_id(self) -> str | None:
        """None: there is no MLflow run."""
        return None

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves, unless it is there, and write it to disk."""
        if metrics.epoch in self._epochs:
            return
        points = curve_points(metrics, self._epochs_from)
        events = [_build_event(_build_scalar(name, value), step) for name, value, step in points]
        self._write(events)
        self._epochs[metrics.epoch] = events

    def finish(self, result: RunResult) -> None:
        """Write the HParams row's metrics and close the session as a success."""
        metrics = summary_metrics(result)
        events = [_build_event(_build_scalar(name, metrics[name]), 0) for name in names.FIRST_IN_TENSORBOARD]
        self._write([*events, _build_event(_build_session_end(api_pb2.STATUS_SUCCESS))], durable=True)
        self.is_open = False

    def fail(self, error: str) -> None:  # noqa: ARG002 - there is no place for a text that the HParams tab shows
        """Close the session as a failure."""
        self._write([_build_event(_build_session_end(api_pb2.STATUS_FAILURE))], durable=True)
        self.is_open = False

    def kill(self, reason: str) -> None:
        """Close the session as a failure."""
        self.fail(reason)

    def put_off(self, reason: str) -> None:  # noqa: ARG002 - likewise
        """Leave the session open: it has not ended."""
        self.is_open = False

    def _write(self, events: Sequence[Event], *, durable: bool = False) -> None:
        """Write events; where there is no file yet, or an earlier write has failed, all there is before them.

        What ends a run is written to last over a power cut: nobody writes the file again once the run is entered. What
        comes before need not be, since a run that continues writes it again.
        """
        try:
            if self._file is None:
                events = [*self._begin(), *chain.from_iterable(self._epochs.values()), *events]
                if self.folder.exists():  # an earlier attempt: its points would be drawn together with these
                    shutil.rmtree(self.folder)
                make_folder(self.folder)
            file = self._file or self.folder / _name_file(self._start.spec.fingerprint)
            _append(file, events)
            if durable:
                sync_file(file)
            self._file = file
        except OSError as error:
            self._file = None  # its end may be torn
            if not self._complained:
                self._say(f"cannot write the TensorBoard folder {self.folder}: {error}; the run goes on")
            self._complained = True

    def _begin(self) -> list[Event]:
        params = run_params(self._start)
        return [
            Event(wall_time=time.time(), file_version=_VERSION),
            _build_event(_build_experiment(params, self._shown)),
            _build_event(_build_session_start(params)),
        ]


class TensorBoardTracker:
    """Writes `<root>/tensorboard/<experiment>/<run name>`, a folder a run. Its event file ends in the fingerprint.

    Args:
        root: Where it all lies.
        experiment_name: Name of the experiment.
        say: Hears that a folder cannot be written, which fails no run; None: the log does.
    """

    def __init__(self, root: Root, experiment_name: str, say: Callable[[str], None] | None = None) -> None:
        self._directory = root.tensorboard(experiment_name)
        self._say = say or _LOG.warning
        self._runs: list[TensorBoardRun] = []
        self._epochs_from = 1
        self._varied: tuple[str, ...] = ()

    def start_sweep(self, start: SweepStart) -> None:
        """Create the sweep's directory, and count epochs as the runs do that are there.

        Raises:
            SetupError: The directory cannot be created.
        """
        self._varied = find_varied(start.experiment)
        try:
            make_folder(self._directory)
        except OSError as error:
            raise SetupError(
                f"cannot create the TensorBoard folder {self._directory}: {error}", hint="choose another --root"
            ) from error
        with self._tolerating("read"):
            firsts = map(_read_first_step, self._find_files("*"))
            self._epochs_from = next((step for step in firsts if step is not None), 1)

    def start_run(self, start: RunStart) -> TensorBoardRun:
        """Open the run's folder; what an earlier attempt left there is removed.

        A run that continues repeats its epochs, so nothing of its old file is needed, be it torn: the folder that it
        had under another name goes, and so do others of the fingerprint that nobody ended: this run takes their place.
        """
        folder = self._directory / safe_name(start.name)
        kept = {folder, *(run.folder for run in self._runs if run.is_open)}
        with self._tolerating("tidy up"):
            files = [file for file in self._find_files(start.spec.fingerprint) if file.parent not in kept]
            if start.resumes_from and files:
                shutil.rmtree(files.pop().parent)
            for file in files:
                if _read_status(file) is None and not _end_file(file).exists():
                    shutil.rmtree(file.parent)
        run = TensorBoardRun(folder, start, self._say, epochs_from=self._epochs_from, varied=self._varied)
        self._runs.append(run)
        return run

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:  # noqa: ARG002 - there are no MLflow runs here
        """Hand the finished run of this fingerprint to another trial: its folder takes the name of `start`."""
        folder = self._directory / safe_name(start.name)
        with self._tolerating("rename in"):
            finished = [
                file
                for file in self._find_files(start.spec.fingerprint)
                if _read_status(file) == api_pb2.STATUS_SUCCESS
            ]
            if finished and finished[-1].parent != folder:
                if folder.exists():
                    shutil.rmtree(folder)
                finished[-1].parent.rename(folder)
                sync_folder(self._directory)

    def update_sweep(self, summary: SweepSummary) -> None:
        """Do nothing: TensorBoard has no page for a sweep."""

    def end_sweep(self, status: SweepStatus) -> None:  # noqa: ARG002
        """Forget the runs."""
        self._runs.clear()

    @contextmanager
    def _tolerating(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._say(f"cannot {action} the TensorBoard folder {self._directory}: {error}; the sweep goes on")

    def _find_files(self, fingerprint: str) -> list[Path]:
        """Find the event files of a fingerprint, the oldest first."""
        return sorted(self._directory.glob(f"*/events.out.tfevents.*.{fingerprint}"), key=lambda file: file.name)


def _name_file(fingerprint: str) -> str:
    return f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}.{fingerprint}"


def _read_status(file: Path) -> int | None:
    """Read how the session of an event file ended; None: it did not, as far as the file can be read."""
    status: int | None = None
    for content in RawEventFileLoader(str(file)).Load():
        for value in Event.FromString(content).summary.value:
            if value.tag == metadata.SESSION_END_INFO_TAG:
                data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                status = data.session_end_info.status
    return status


def _read_first_step(file: Path) -> int | None:
    """Read the step of a run's first epoch; None where its file has none, or cannot be read as far as that."""
    for content in RawEventFileLoader(str(file)).Load():
        event = Event.FromString(content)
        if any(value.tag == names.CURVE_VAL_ACC for value in event.summary.value):
            return int(event.step)
    return None


def _end_file(file: Path) -> Path:
    """Name the file by which an older version ended the session of a dead owner."""
    return file.with_name(f"{file.name}.end")


def _append(file: Path, events: Iterable[Event]) -> None:
    content = BytesIO()
    for event in events:
        RecordWriter(content).write(event.SerializeToString())
    with file.open("ab") as stream:
        stream.write(content.getvalue())


def _build_event(summary: Summary, step: int | None = None) -> Event:
    return Event(wall_time=time.time(), step=step, summary=summary)


def _build_scalar(name: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _build_experiment(params: Mapping[str, str | int | float], shown: Sequence[str]) -> Summary:
    """Describe the columns of the HParams tab."""
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64,
                differs=name in shown,
            )
            for name, value in params.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in names.FIRST_IN_TENSORBOARD],
    )
    return _build_hparams(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _build_session_start(params: Mapping[str, str | int | float]) -> Summary:
    """Describe the run's row of the HParams tab, which takes its name from the folder: that may be renamed."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in params.items():
        if isinstance(value, str):
            info.hparams[key].string_value = value
        else:
            info.hparams[key].number_value = value
    return _build_hparams(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))


def _build_session_end(status: int) -> Summary:
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    return _build_hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _build_hparams(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary:
    return Summary(
        value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)]
    )
