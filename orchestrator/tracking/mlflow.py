"""MLflow: a parent run a sweep, a child run a training. No global state: one client, one explicit URI."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path

from orchestrator import names
from orchestrator.errors import NotFoundError, OrchestratorError, SetupError
from orchestrator.interfaces import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.layout import Root
from orchestrator.records import EpochMetrics, RunResult, flatten
from orchestrator.tracking.confusion import draw_confusion
from orchestrator.tracking.dataset import build_dataset_input
from orchestrator.tracking.entries import curve_points, run_params, summary_metrics
from orchestrator.tracking.mlflow_store import MlflowStore

from mlflow import MlflowClient  # isort: skip - after the store, which turns telemetry off
from mlflow.entities import Metric, Param, Run, RunTag  # isort: skip

TABLE_FILE = "trials.json"
CONFIG_FILE = "experiment.yaml"
_PARAM_LIMIT = 6000
_TAG_LIMIT = 8000
_PARAMS_A_CALL = 100
_PAGE = 1000
_NOTE = "mlflow.note.content"
_PARENT = "mlflow.parentRunId"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowRun:
    """One child run."""

    def __init__(self, store: MlflowStore, client: MlflowClient, run_id: str) -> None:
        self._store = store
        self._client = client
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        """The MLflow run."""
        return self._run_id

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves, in one call.

        Raises:
            SweepError: The store is lost; so for the other methods.
        """
        now = _now_ms()
        points = [Metric(name, value, now, step) for name, value, step in curve_points(metrics)]
        with self._store.translated("write to"):
            self._client.log_batch(self._run_id, metrics=points)

    def finish(self, result: RunResult) -> None:
        """Log summary metrics, versions and confusion matrices, and end as FINISHED."""
        params = {f"version_{name}": version for name, version in result.versions.items()}
        params |= {"device": result.device, "precision_used": result.precision}
        note = "the training finished, but its results could not be tracked"
        with self.failing_if_raised(note), self._store.translated("write to"):
            _log_metrics(self._client, self._run_id, summary_metrics(result))
            _log_params(self._client, self._run_id, params)
            self._log_confusion(result)
            self._client.set_terminated(self._run_id, "FINISHED")

    def fail(self, error: str) -> None:
        """End as FAILED; the note holds the beginning of the error, `error.txt` all of it."""
        with self._store.translated("write to"):
            self._client.log_text(self._run_id, error, "error.txt")
        self._end("FAILED", f"failed: {error}")

    def kill(self, reason: str) -> None:
        """End as KILLED, with the reason as a note."""
        self._end("KILLED", f"killed: {reason}")

    @contextmanager
    def failing_if_raised(self, note: str) -> Iterator[None]:
        """End the run as FAILED, with `note`, when the body raises: nobody else will."""
        try:
            yield
        except BaseException:
            with suppress(OrchestratorError):  # the first error is the one to show
                self._end("FAILED", note)
            raise

    def _end(self, status: str, note: str) -> None:
        with self._store.translated("write to"):
            _end_run(self._client, self._run_id, status, note)

    def _log_confusion(self, result: RunResult) -> None:
        matrices = {"validation": result.val_confusion, "test": result.test_confusion}
        content = {"class_names": result.class_names, "rows": "true class", "columns": "predicted class", **matrices}
        self._client.log_dict(self._run_id, content, "confusion_matrix.json")
        self._client.log_figure(self._run_id, draw_confusion(matrices, result.class_names), "confusion_matrix.png")


class MlflowTracker:
    """Tracks a sweep in MLflow.

    Args:
        root: Where the default store and all artifacts lie.
        experiment_name: Name of the experiment, here and in MLflow.
        uri: Tracking URI; None: the SQLite store under the root.
    """

    def __init__(self, root: Root, experiment_name: str, uri: str | None) -> None:
        self._store = MlflowStore(root, experiment_name, uri)
        self._name = experiment_name
        self._opened: tuple[MlflowClient, str] | None = None
        self._parent_id: str | None = None
        self._start: SweepStart | None = None

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep's parent run, or go on with the newest there is; close children that nobody runs.

        Params are written once in MLflow: on a parent that is there already, only new ones are added, and
        `experiment.yaml` and the `config_hash` tag say what holds now.

        Raises:
            SetupError: The store cannot be reached or opened.
        """
        client, experiment = self._open()
        self._start = start
        with self._store.translated("write to", SetupError):
            parent = self._find_parent()
            if parent is None:
                parent = client.create_run(experiment, run_name=self._name, tags=self._tags(names.KIND_SWEEP))
            else:
                client.update_run(parent.info.run_id, status="RUNNING")
            self._parent_id = parent.info.run_id
            self._log_configuration(parent, start)
            self._close_stale_children()

    def start_run(self, start: RunStart) -> MlflowRun:
        """Open a child run with its params, its data set and its specification.

        Raises:
            SweepError: The store is lost.
        """
        client, experiment = self._require_open()
        sweep = self._require_start()
        spec = start.spec
        tags = self._tags(names.KIND_RUN) | {
            _PARENT: self._require_parent(),
            names.OPTUNA_TRIAL: str(start.trial),
            names.SEED: str(spec.seed),
            names.PARETO: "false",
            names.FINGERPRINT: spec.fingerprint,
        }
        if start.reused_from is not None:
            tags[names.REUSED_FROM] = start.reused_from
        params: dict[str, object] = {**run_params(start), names.FINGERPRINT: spec.fingerprint}
        if sweep.git_commit is not None:
            params["git_commit"] = sweep.git_commit
        with self._store.translated("write to"):
            run_id = client.create_run(experiment, run_name=start.name, tags=tags).info.run_id
        run = MlflowRun(self._store, client, run_id)
        with run.failing_if_raised("the run could not be tracked from its start"), self._store.translated("write to"):
            _log_params(client, run_id, params)
            client.log_inputs(run_id, [build_dataset_input(sweep.data, spec.data)])
            client.log_text(run_id, spec.model_dump_json(indent=1), names.SPEC_FILE)
        return run

    def update_sweep(self, summary: SweepSummary) -> None:
        """Write metrics, note, trial table and files to the parent, and the `pareto` tag to every child.

        Raises:
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        parent = self._require_parent()
        with self._store.translated("write to"):
            _log_metrics(client, parent, summary.metrics)
            client.set_tag(parent, _NOTE, _clip(summary.note, _TAG_LIMIT))
            self._write_table(summary.table)
            for path in summary.files:
                client.log_artifact(parent, str(path))
            for child in self._find_children():
                pareto = _bool(int(child.data.tags[names.OPTUNA_TRIAL]) in summary.front)
                if child.data.tags.get(names.PARETO) != pareto:
                    client.set_tag(child.info.run_id, names.PARETO, pareto)

    def end_sweep(self, status: SweepStatus) -> None:
        """End the parent run with a true status.

        Raises:
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("write to"):
            client.set_terminated(self._require_parent(), _STATUS[status])

    def keep_files(self, files: Iterable[Path]) -> None:
        """Keep files as artifacts of the parent run of a sweep that was tracked earlier.

        Raises:
            SetupError: The store cannot be reached or opened.
            NotFoundError: The sweep has no parent run there.
        """
        client, _ = self._open()
        with self._store.translated("write to", SetupError):
            parent = self._find_parent()
            if parent is None:
                raise NotFoundError(
                    f"the MLflow store {self._store.uri} has no sweep {self._name!r}",
                    hint=f"run it first: orchestrator sweep {self._name}",
                )
            for path in files:
                client.log_artifact(parent.info.run_id, str(path))

    def _open(self) -> tuple[MlflowClient, str]:
        if self._opened is None:
            self._opened = self._store.open()
        return self._opened

    def _require_open(self) -> tuple[MlflowClient, str]:
        if self._opened is None:
            raise RuntimeError("start_sweep comes first")
        return self._opened

    def _require_parent(self) -> str:
        if self._parent_id is None:
            raise RuntimeError("start_sweep comes first")
        return self._parent_id

    def _require_start(self) -> SweepStart:
        if self._start is None:
            raise RuntimeError("start_sweep comes first")
        return self._start

    def _tags(self, kind: str) -> dict[str, str]:
        start = self._require_start()
        tags = {names.KIND: kind, names.SWEEP: self._name, names.CONFIG_HASH: start.config_hash, **_user_tag()}
        if start.git_commit is not None:
            tags |= {"git_commit": start.git_commit, "mlflow.source.git.commit": start.git_commit}
        return tags

    def _log_configuration(self, parent: Run, start: SweepStart) -> None:
        client, _ = self._require_open()
        run_id = parent.info.run_id
        flat = {key: _plain(value) for key, value in flatten(start.experiment.model_dump(mode="json")).items()}
        new = {key: value for key, value in flat.items() if key not in parent.data.params}
        _log_params(client, run_id, new)
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in self._tags(names.KIND_SWEEP).items()])
        client.log_text(run_id, start.config_yaml, CONFIG_FILE)

    def _close_stale_children(self) -> None:
        """End the runs of a dead owner: this one holds the sweep's lock, so nobody runs them."""
        client, _ = self._require_open()
        for child in self._find_children("RUNNING"):
            _end_run(client, child.info.run_id, "KILLED", "killed: the process that ran it died")

    def _write_table(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Replace the trial table. `log_table` would append to it; the format and the tag are the ones it uses."""
        client, _ = self._require_open()
        parent = self._require_parent()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = {"columns": columns, "data": [[_json_value(row.get(key)) for key in columns] for row in rows]}
        client.log_text(parent, json.dumps(table, default=str), TABLE_FILE)
        client.set_tag(parent, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE_FILE, "type": "table"}]))

    def _find_parent(self) -> Run | None:
        found = self._search(f"tags.{names.KIND} = '{names.KIND_SWEEP}'")
        return max(found, key=lambda run: int(run.info.start_time), default=None)

    def _find_children(self, status: str | None = None) -> list[Run]:
        query = f"tags.{names.KIND} = '{names.KIND_RUN}'"
        return self._search(f"{query} and attributes.status = '{status}'" if status else query)

    def _search(self, query: str) -> list[Run]:
        client, experiment = self._require_open()
        found: list[Run] = []
        token: str | None = None
        while True:
            page = client.search_runs([experiment], query, max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _end_run(client: MlflowClient, run_id: str, status: str, note: str) -> None:
    client.set_tag(run_id, _NOTE, _clip(note, _TAG_LIMIT))
    client.set_terminated(run_id, status)


def _log_metrics(client: MlflowClient, run_id: str, values: Mapping[str, float]) -> None:
    now = _now_ms()
    client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in values.items()])


def _log_params(client: MlflowClient, run_id: str, values: Mapping[str, object]) -> None:
    params = [Param(key, _clip(str(value), _PARAM_LIMIT)) for key, value in values.items()]
    for first in range(0, len(params), _PARAMS_A_CALL):
        client.log_batch(run_id, params=params[first : first + _PARAMS_A_CALL])


def _plain(value: object) -> str:
    """Write a configuration value as in YAML's flow style: `null`, `true`, `[0, 1]`; strings as they are."""
    return value if isinstance(value, str) else json.dumps(value)


def _json_value(value: object) -> object:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _bool(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if value else "false"


def _user_tag() -> dict[str, str]:
    try:
        return {"mlflow.user": getuser()}
    except (OSError, KeyError):  # a container may run as a user without a name
        return {}


def _now_ms() -> int:
    return int(time.time() * 1000)
