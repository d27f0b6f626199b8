"""One child run in MLflow, and how anything is written there: clipped, masked, and never twice."""

import html
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal

from orchestrator import names
from orchestrator.errors import OrchestratorError
from orchestrator.masking import mask_credentials
from orchestrator.records import EpochMetrics, RunResult
from orchestrator.tracking.confusion import draw_confusion
from orchestrator.tracking.entries import curve_points, summary_metrics
from orchestrator.tracking.mlflow_store import MlflowStore

from mlflow import MlflowClient  # isort: skip - after the store, which turns telemetry off
from mlflow.entities import Metric, Param, Run, RunTag  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

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
        fresh: Whether the run was made just now, so that nothing needs to be read.

    Attributes:
        ended: Whether it was ended here.
    """

    def __init__(self, store: MlflowStore, client: MlflowClient, run_id: str, *, fresh: bool = False) -> None:
        self._store = store
        self._client = client
        self._run_id = run_id
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
            if metrics.epoch in there[names.CURVE_VAL_ACC]:
                return
            # step losses first: MLflow cuts a long call in pieces, and the last one says that the epoch is whole
            points = sorted(curve_points(metrics), key=lambda point: point[0] != names.CURVE_STEP_LOSS)
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
            summary = {key: value for key, value in summary_metrics(result).items() if key not in run.data.metrics}
            log_metrics(self._client, self._run_id, summary, at_ms)
            log_params(self._client, self._run_id, params, there=run)
            self._log_confusion(result)
            self._log_predictions(result)
            remove_note(self._client, run)
            if result.notes:
                set_note(self._client, self._run_id, html.escape("\n\n".join(result.notes), quote=False))
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
        self._client.log_figure(self._run_id, draw_confusion(matrices, result.class_names), "confusion_matrix.png")

    def _log_predictions(self, result: RunResult) -> None:
        """Keep the predictions of each image, where the run left them (an older version did not)."""
        file = self._store.root.run_dir(result.fingerprint) / names.PREDICTIONS_FILE
        if file.is_file():
            self._client.log_artifact(self._run_id, str(file))


def end_run(client: MlflowClient, run_id: str, status: EndStatus, note: str, at_ms: int | None = None) -> None:
    """End a run with a note, which shows as it is: the page reads Markdown, and HTML in it."""
    set_note(client, run_id, html.escape(note, quote=False))
    client.set_terminated(run_id, status, end_time=at_ms)


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


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
