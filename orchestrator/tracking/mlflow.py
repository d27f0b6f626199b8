"""MLflow: a parent run a sweep, a child run a training. No global state: one client, one explicit URI."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchestrator import names
from orchestrator.errors import NotFoundError, SetupError
from orchestrator.interfaces import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.layout import Root
from orchestrator.masking import mask_credentials
from orchestrator.records import flatten
from orchestrator.tracking.dataset import build_dataset_input
from orchestrator.tracking.entries import Origin, block_scores, run_params, run_scores
from orchestrator.tracking.mlflow_run import (
    MlflowRun,
    end_run,
    log_metrics,
    log_params,
    remove_note,
    set_note,
    set_tags,
)
from orchestrator.tracking.mlflow_store import MlflowStore

from mlflow import MlflowClient  # isort: skip - after the store, which turns telemetry off
from mlflow.entities import Run  # isort: skip

if TYPE_CHECKING:
    from orchestrator.tracking.gpu_metrics import GpuMetrics

TABLE_FILE = "trials.json"
CONFIG_FILE = "experiment.yaml"
RUN_KEY = "run_key"
"""Tag of a child run: the keys of the starts that opened it or went on with it."""
_GENERATION = "generation"
_PAGE = 1000
_PARENT = "mlflow.parentRunId"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


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
        self._origin: Origin | None = None
        self._live: list[MlflowRun] = []
        self._gpus: GpuMetrics | None = None
        self._parents: dict[str, str] = {}
        """Parent run of each generation."""

    @property
    def uri(self) -> str:
        """Tracking URI as it may be shown: credentials are masked."""
        return self._store.uri

    @property
    def origin(self) -> Origin:
        """What runs say of this call of the sweep."""
        if self._origin is None:
            raise RuntimeError("start_sweep comes first")
        return self._origin

    def make_ready(self) -> None:
        """Make the tables of a store that is a file ahead of `start_sweep`, which says what is wrong with it."""
        self._store.make_ready()

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep's parent run, or go on with the newest there is; close what nobody runs.

        Params are written once in MLflow: on a parent that is there already, only new ones are added, and
        `experiment.yaml` and the `config_hash` tag say what holds now.

        Raises:
            SetupError: The store cannot be reached or opened.
        """
        client, experiment = self._open()
        self._origin = Origin.of(start)
        generation = str(start.generation)
        with self._store.translated("write to", SetupError):
            parents = self._find_parents()
            parent = next((run for run in parents if run.data.tags.get(_GENERATION, "0") == generation), None)
            if parent is None:
                tags = self._tags(names.KIND_SWEEP, self.origin) | {_GENERATION: generation}
                parent = client.create_run(experiment, run_name=self._name, tags=tags)
            else:
                client.update_run(parent.info.run_id, status="RUNNING")
            for other in parents:
                if other.info.status == "RUNNING" and other.info.run_id != parent.info.run_id:
                    client.set_terminated(other.info.run_id, "KILLED")
            self._parent_id = parent.info.run_id
            # the newest come first, and they win
            self._parents = {run.data.tags.get(_GENERATION, "0"): run.info.run_id for run in reversed(parents)}
            self._parents[generation] = self._parent_id
            self._log_configuration(parent, start)
        self.close_stale_runs("the process that ran it died")
        if start.gpu_uuids:
            from orchestrator.tracking.gpu_metrics import GpuMetrics

            self._gpus = GpuMetrics(client, self._require_parent(), start.gpu_uuids).start()

    def start_run(
        self,
        start: RunStart,
        *,
        origin: Origin | None = None,
        key: str | None = None,
        again: bool = False,
        at_ms: int | None = None,
    ) -> MlflowRun:
        """Open a child run with its params, data set and specification, or go on with an unfinished one.

        Where `start.resumes_from` is not 0, that is the newest of its fingerprint: unfinished, or finished by a
        process that died before anybody else heard of it. Others of it that seem to run are closed as KILLED, unless
        this tracker opened them.

        Args:
            start: What is known of the run.
            origin: The sweep's call that it was started in; None: this one.
            key: Names this start, so that it can be repeated; None: it never is.
            again: The same start may have reached the store before: the run with `key` is looked for first.
            at_ms: When it was (Unix time, milliseconds); None: now.

        Raises:
            SweepError: The store is lost.
        """
        client, experiment = self._require_open()
        origin = origin or self.origin
        key = key or uuid4().hex[:16]
        tags = self._run_tags(start, origin, key)
        with self._store.translated("write to"):
            found = self._find_run(start, key if again else None)
            if found is None:
                made = client.create_run(experiment, start_time=at_ms, run_name=start.name, tags=tags)
                run = MlflowRun(self._store, client, made.info.run_id, fresh=True)
            else:
                self._reopen(found, start.name, tags)
                run = MlflowRun(self._store, client, found.info.run_id)
        params: dict[str, object] = {**run_params(start), names.FINGERPRINT: start.spec.fingerprint}
        if origin.git_commit is not None:
            params["git_commit"] = origin.git_commit
        with run.failing_if_raised("the run could not be tracked from its start"), self._store.translated("write to"):
            self._live.append(run)
            log_params(client, run.run_id, params, there=found)
            there = found.data.metrics if found is not None else {}
            known = {key: value for key, value in run_scores(start).items() if key not in there}
            log_metrics(client, run.run_id, known, at_ms)
            client.log_inputs(run.run_id, [build_dataset_input(origin.data, start.spec.data)])
            specification = mask_credentials(start.spec.model_dump_json(indent=1))
            client.log_text(run.run_id, specification, names.SPEC_FILE)
        return run

    def find_run(self, key: str) -> MlflowRun:
        """Find the child run that a start with `key` opened or went on with.

        Raises:
            NotFoundError: There is none.
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("read"):
            found = self._search_key(key)
        if found is None:
            raise NotFoundError(f"the MLflow store {self._store.uri} has no run that was started as {key}")
        return MlflowRun(self._store, client, found.info.run_id)

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:
        """Give a finished child run to another trial of this sweep: it takes the name and trial of `start`.

        Where the id is None or unknown (the run reached the store late), it is the newest finished run of the
        fingerprint. The `pareto` tag follows with the next update of the sweep.

        Raises:
            NotFoundError: There is no such run.
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("write to"):
            known = {run.info.run_id: run for run in self._find_same(start) if run.info.status == "FINISHED"}
            found = known.get(run_id or "") or max(known.values(), key=_started, default=None)
            if found is None:
                raise NotFoundError(
                    f"the MLflow store {self._store.uri} has no finished run of {start.name}",
                    hint=f"its fingerprint is {start.spec.fingerprint}",
                )
            client.update_run(found.info.run_id, name=start.name)
            client.set_tag(found.info.run_id, names.OPTUNA_TRIAL, str(start.trial))

    def update_sweep(self, summary: SweepSummary, *, at_ms: int | None = None) -> None:
        """Write metrics, note, trial table and files to the parent, and the `pareto` tag to every child.

        Args:
            summary: What holds now. Its trials are not read; files that are gone are passed over.
            at_ms: When it was (Unix time, milliseconds); None: now.

        Raises:
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        parent = self._require_parent()
        with self._store.translated("write to"):
            log_metrics(client, parent, summary.metrics, at_ms)
            set_note(client, parent, summary.note)
            self._write_table(summary.table)
            for path in summary.files:
                if path.exists():
                    client.log_artifact(parent, str(path))
            for child in self._find_children():
                if child.data.tags.get(_PARENT) != parent:
                    continue
                pareto = _bool(int(child.data.tags[names.OPTUNA_TRIAL]) in summary.front)
                if child.data.tags.get(names.PARETO) != pareto:
                    client.set_tag(child.info.run_id, names.PARETO, pareto)

    def close_stale_runs(self, reason: str) -> None:
        """End the runs of a dead owner: this one holds the sweep's lock, so nobody runs them.

        Raises:
            SetupError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("write to", SetupError):
            for child in self._find_children("RUNNING"):
                end_run(client, child.info.run_id, "KILLED", f"killed: {reason}")
        self._live.clear()

    def end_sweep(self, status: SweepStatus) -> None:
        """End the parent run with a true status.

        Raises:
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        if self._gpus is not None:
            self._gpus.stop()
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
            parent = next(iter(self._find_parents()), None)
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

    def _tags(self, kind: str, origin: Origin) -> dict[str, str]:
        tags = {names.KIND: kind, names.SWEEP: self._name, names.CONFIG_HASH: origin.config_hash, **_user_tag()}
        if origin.git_commit is not None:
            tags |= {"git_commit": origin.git_commit, "mlflow.source.git.commit": origin.git_commit}
        return tags

    def _log_configuration(self, parent: Run, start: SweepStart) -> None:
        client, _ = self._require_open()
        run_id = parent.info.run_id
        flat = {key: _plain(value) for key, value in flatten(start.experiment.model_dump(mode="json")).items()}
        log_params(client, run_id, flat, there=parent)
        log_metrics(client, run_id, block_scores(start))
        set_tags(client, run_id, self._tags(names.KIND_SWEEP, self.origin))
        client.log_text(run_id, mask_credentials(start.config_yaml), CONFIG_FILE)

    def _run_tags(self, start: RunStart, origin: Origin, key: str) -> dict[str, str]:
        tags = self._tags(names.KIND_RUN, origin) | {
            # a run of the study before may have waited in the spool
            _PARENT: self._parents.get(str(start.spec.generation), self._require_parent()),
            names.OPTUNA_TRIAL: str(start.trial),
            names.SEED: str(start.spec.seed),
            names.PARETO: "false",
            names.FINGERPRINT: start.spec.fingerprint,
            RUN_KEY: key,
        }
        return tags if start.reused_from is None else tags | {names.REUSED_FROM: start.reused_from}

    def _find_run(self, start: RunStart, key: str | None) -> Run | None:
        """Find the run that `start` goes on with, and close those that it leaves behind."""
        client, _ = self._require_open()
        found = self._search_key(key) if key is not None else None
        live = {run.run_id for run in self._live if not run.ended}
        same = [run for run in self._find_same(start) if run.info.run_id not in live]
        if found is None and start.resumes_from:
            found = max(same, key=_started, default=None)
        for run in same:
            if run.info.status == "RUNNING" and (found is None or run.info.run_id != found.info.run_id):
                end_run(client, run.info.run_id, "KILLED", f"killed: {start.name} took its place")
        return found

    def _reopen(self, run: Run, name: str, tags: Mapping[str, str]) -> None:
        """Go on with a run under another name. It keeps the keys of its earlier starts."""
        client, _ = self._require_open()
        keys = run.data.tags.get(RUN_KEY, "").split()
        remove_note(client, run)
        set_tags(client, run.info.run_id, {**tags, RUN_KEY: " ".join(dict.fromkeys([*keys, tags[RUN_KEY]]))})
        client.update_run(run.info.run_id, status="RUNNING", name=name)

    def _write_table(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Replace the trial table. `log_table` would append to it; the format and the tag are the ones it uses."""
        client, _ = self._require_open()
        parent = self._require_parent()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = {"columns": columns, "data": [[_json_value(row.get(key)) for key in columns] for row in rows]}
        client.log_text(parent, mask_credentials(json.dumps(table, default=str)), TABLE_FILE)
        client.set_tag(parent, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE_FILE, "type": "table"}]))

    def _find_parents(self) -> list[Run]:
        """Find the sweep's parent runs, the newest first: one, but for those that `--fresh` left behind."""
        return sorted(self._search(f"tags.{names.KIND} = '{names.KIND_SWEEP}'"), key=_started, reverse=True)

    def _find_same(self, start: RunStart) -> list[Run]:
        query = f"tags.{names.KIND} = '{names.KIND_RUN}' and tags.{names.FINGERPRINT} = '{start.spec.fingerprint}'"
        return self._search(query)

    def _search_key(self, key: str) -> Run | None:
        """Find the run of a key: the first, should a lost answer have made two; the others are deleted."""
        client, _ = self._require_open()
        found = sorted(self._search(f"tags.{RUN_KEY} LIKE '%{key}%'"), key=_started)
        for double in found[1:]:
            client.delete_run(double.info.run_id)
        return found[0] if found else None

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


def _plain(value: object) -> str:
    """Write a configuration value as in YAML's flow style: `null`, `true`, `[0, 1]`; strings as they are."""
    return value if isinstance(value, str) else json.dumps(value)


def _json_value(value: object) -> object:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _bool(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if value else "false"


def _user_tag() -> dict[str, str]:
    try:
        return {"mlflow.user": getuser()}
    except (OSError, KeyError):  # a container may run as a user without a name
        return {}


def _started(run: Run) -> int:
    return int(run.info.start_time)
