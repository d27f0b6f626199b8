"""One child run in MLflow, and how anything is written there: clipped, masked, and never twice."""

import html
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path
from typing import Literal

from orchestrator import names
from orchestrator.errors import OrchestratorError
from orchestrator.masking import mask_credentials
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.storage.files import sync_tree
from orchestrator.storage.layout import PREDICTIONS_FILE
from orchestrator.tracking.entries import curve_points, epoch_step, summary_metrics
from orchestrator.tracking.mlflow.confusion import render_confusion
from orchestrator.tracking.mlflow.relocation import to_path
from orchestrator.tracking.mlflow.store import MlflowStore

from mlflow import MlflowClient  # isort: skip - after the store, which turns telemetry off
from mlflow.entities import Metric, Param, Run, RunTag  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

_LOG = logging.getLogger("orchestrator")
TABLE_FILE = "trials.json"
NOTE = "mlflow.note.content"
_PARAM_LIMIT = 6000
_TAG_LIMIT = 8000
_PARAMS_A_CALL = 100
_KEY_CURVES = (names.CURVE_STEP_LOSS, names.CURVE_VAL_ACC)
"""What tells which points are there: the curves of an epoch are written in one piece."""

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]


class MlflowRun:
    """One child run. Whatever is written again, after an answer that was lost or by a run that continues, stays single.

    Args:
        store: The store, for its errors.
        client: The open client.
        run_id: The run.
        epochs_from: Number of the first epoch; see `names.EPOCHS_FROM`.
        fresh: Whether the run was made just now, so that nothing needs to be read.

    Attributes:
        ended: Whether it was ended here.
    """

    def __init__(
        self, store: MlflowStore, client: MlflowClient, run_id: str, *, epochs_from: int, fresh: bool = False
    ) -> None:
        self._store = store
        self._client = client
        self._run_id = run_id
        self._epochs_from = epochs_from
        self.ended = False
        self._there: dict[str, set[int]] | None = {name: set() for name in _KEY_CURVES} if fresh else None

    @property
    def run_id(self) -> str:
        """The MLflow run."""
        return self._run_id

    def log_epoch(self, metrics: EpochMetrics, *, at_ms: int | None = None) -> None:
        """Add an epoch to the curves, in one call; one that is there already is passed over.

        Args:
            metrics: The epoch.
            at_ms: When it was (Unix time, milliseconds); None: now.

        Raises:
            SweepError: The store is lost; so for the other methods.
        """
        now = now_ms() if at_ms is None else at_ms
        with self._store.translated("write to"):
            there = self._read_steps() if self._there is None else self._there
            self._there = there
            if epoch_step(metrics, self._epochs_from) in there[names.CURVE_VAL_ACC]:
                return
            # step losses first: MLflow cuts a long call in pieces, and the last one says that the epoch is whole
            points = sorted(
                curve_points(metrics, self._epochs_from), key=lambda point: point[0] != names.CURVE_STEP_LOSS
            )
            new = [Metric(name, value, now, step) for name, value, step in points if step not in there.get(name, ())]
            self._there = None  # unknown, until the store has answered
            self._client.log_batch(self._run_id, metrics=new)
            for name, _, step in points:
                if name in there:
                    there[name].add(step)
            self._there = there

    def finish(self, result: RunResult, *, at_ms: int | None = None) -> None:
        """Log summary metrics, versions, confusion matrices and predictions, and end as FINISHED."""
        params = {f"version_{name}": version for name, version in result.versions.items()}
        params |= {"device": result.device, "precision_used": result.precision}
        note = "the training finished, but its results could not be tracked"
        with self.failing_if_raised(note), self._store.translated("write to"):
            run = self._client.get_run(self._run_id)
            summary = summary_metrics(result, self._epochs_from)
            new = {key: value for key, value in summary.items() if key not in run.data.metrics}
            log_metrics(self._client, self._run_id, new, at_ms)
            log_params(self._client, self._run_id, params, there=run)
            self._log_confusion(result)
            self._log_predictions(result)
            remove_note(self._client, run)
            if result.notes:
                set_note(self._client, self._run_id, html.escape("\n\n".join(result.notes), quote=False))
            sync_artifacts(run)
            self._client.set_terminated(self._run_id, "FINISHED", end_time=at_ms)
        self.ended = True

    def fail(self, error: str, *, at_ms: int | None = None) -> None:
        """End as FAILED; the note holds the beginning of the error, `error.txt` all of it."""
        with self._store.translated("write to"):
            self._client.log_text(self._run_id, mask_credentials(error), "error.txt")
        self._end("FAILED", f"failed: {error}", at_ms)

    def kill(self, reason: str, *, at_ms: int | None = None) -> None:
        """End as KILLED, with the reason as a note."""
        self._end("KILLED", f"killed: {reason}", at_ms)

    def put_off(self, reason: str) -> None:
        """Leave it to the next start of the sweep: SCHEDULED, with the reason as a note and the tag `put_off`."""
        with self._store.translated("write to"):
            put_off_run(self._client, self._run_id, reason)
        self.ended = True

    @contextmanager
    def failing_if_raised(self, note: str) -> Iterator[None]:
        """End the run as FAILED, with `note`, when the body raises: nobody else may. Not where the store is gone."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error.__cause__, MlflowException):
                with suppress(OrchestratorError):  # the first error is the one to show
                    self._end("FAILED", note, None)
            raise

    def _end(self, status: EndStatus, note: str, at_ms: int | None) -> None:
        with self._store.translated("write to"):
            end_run(self._client, self._run_id, status, note, at_ms)
        self.ended = True

    def _read_steps(self) -> dict[str, set[int]]:
        return {name: {p.step for p in self._client.get_metric_history(self._run_id, name)} for name in _KEY_CURVES}

    def _log_confusion(self, result: RunResult) -> None:
        matrices = {"validation": result.val_confusion, "test": result.test_confusion}
        content = {"class_names": result.class_names, "rows": "true class", "columns": "predicted class", **matrices}
        self._client.log_dict(self._run_id, content, "confusion_matrix.json")
        try:
            picture = render_confusion(matrices, result.class_names)
        except Exception as error:  # noqa: BLE001 - of a picture: the numbers are kept
            _LOG.warning("no confusion_matrix.png is kept: it cannot be drawn (%s: %s)", type(error).__name__, error)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "confusion_matrix.png"
            file.write_bytes(picture)
            self._client.log_artifact(self._run_id, str(file))

    def _log_predictions(self, result: RunResult) -> None:
        """Keep the predictions of each image, where the run left them (an older version did not)."""
        file = self._store.root.run_dir(result.fingerprint) / PREDICTIONS_FILE
        if file.is_file():
            self._client.log_artifact(self._run_id, str(file))


def sync_artifacts(run: Run) -> None:
    """Make the artifacts of a run last over a power cut, where they are on a local disk: then it may say FINISHED."""
    folder = to_path(run.info.artifact_uri or "")
    if folder is not None and folder.is_dir():
        sync_tree(folder)


def end_run(client: MlflowClient, run_id: str, status: EndStatus, note: str, at_ms: int | None = None) -> None:
    """End a run with a note, which shows as it is: the page reads Markdown, and HTML in it."""
    set_note(client, run_id, html.escape(note, quote=False))
    client.set_terminated(run_id, status, end_time=at_ms)


def put_off_run(client: MlflowClient, run_id: str, reason: str) -> None:
    """Leave a run, or a whole sweep, to the next start of the sweep. MLflow shows SCHEDULED as neither red nor busy."""
    set_note(
        client, run_id, f"put off: {html.escape(reason, quote=False)}; the next start of the sweep goes on with it"
    )
    client.set_tag(run_id, names.PUT_OFF, "true")
    client.update_run(run_id, status="SCHEDULED")


def take_up_run(client: MlflowClient, run: Run, name: str | None = None) -> None:
    """Go on with a run, under another name where one is given: it says no longer that it was put off, or ended."""
    remove_note(client, run)
    if names.PUT_OFF in run.data.tags:
        client.delete_tag(run.info.run_id, names.PUT_OFF)
    client.update_run(run.info.run_id, status="RUNNING", name=name)


def write_table(client: MlflowClient, run_id: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace the trial table. `log_table` would append to it; the format and the tag are the ones it uses."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = {"columns": columns, "data": [[_json_value(row.get(key)) for key in columns] for row in rows]}
    client.log_text(run_id, mask_credentials(json.dumps(table, default=str)), TABLE_FILE)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE_FILE, "type": "table"}]))


def _json_value(value: object) -> object:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def set_note(client: MlflowClient, run_id: str, note: str) -> None:
    """Set the note of a run, Markdown."""
    client.set_tag(run_id, NOTE, _clip(mask_credentials(note), _TAG_LIMIT))


def remove_note(client: MlflowClient, run: Run) -> None:
    """Remove the note of a run, if it had one when `run` was read."""
    if NOTE in run.data.tags:
        client.delete_tag(run.info.run_id, NOTE)


def log_metrics(client: MlflowClient, run_id: str, values: Mapping[str, float], at_ms: int | None = None) -> None:
    """Log metrics at step 0, if there are any."""
    if not values:
        return
    now = now_ms() if at_ms is None else at_ms
    client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in values.items()])


def log_params(client: MlflowClient, run_id: str, values: Mapping[str, object], there: Run | None = None) -> None:
    """Log params but those that `there` has: a param is written once."""
    known = there.data.params if there is not None else {}
    params = [
        Param(key, _clip(mask_credentials(str(value)), _PARAM_LIMIT))
        for key, value in values.items()
        if key not in known
    ]
    for first in range(0, len(params), _PARAMS_A_CALL):
        client.log_batch(run_id, params=params[first : first + _PARAMS_A_CALL])


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags in one call."""
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def user_tag() -> dict[str, str]:
    """Tag of a run that says who started it."""
    try:
        return {"mlflow.user": getuser()}
    except (OSError, KeyError):  # a container may run as a user without a name
        return {}


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
