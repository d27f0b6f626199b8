"""MLflow: a parent run a sweep, a child run a training. No global state: one client, one explicit URI."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchestrator import names
from orchestrator.errors import NotFoundError, OrchestratorError, SetupError
from orchestrator.masking import mask_credentials
from orchestrator.records.labels import find_varied
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.storage.layout import SPEC_FILE, Root
from orchestrator.storage.ledger import Ledger
from orchestrator.tracking.entries import CallOrigin, block_scores, run_params, run_scores, sweep_params
from orchestrator.tracking.mlflow.dataset import build_dataset_input
from orchestrator.tracking.mlflow.run import (
    MlflowRun,
    end_run,
    log_metrics,
    log_params,
    set_note,
    set_tags,
    sync_artifacts,
    take_up_run,
    user_tag,
    write_table,
)
from orchestrator.tracking.mlflow.runs import (
    GENERATION,
    PARENT,
    RUN_KEY,
    UNFINISHED,
    Family,
    SweepRuns,
    count_from,
    find_trial,
    started,
)
from orchestrator.tracking.mlflow.store import MlflowStore

from mlflow import MlflowClient  # isort: skip - after the store, which turns telemetry off
from mlflow.entities import Run  # isort: skip

if TYPE_CHECKING:
    from orchestrator.tracking.mlflow.gpu_metrics import GpuMetrics

_LOG = logging.getLogger(__name__)

CONFIG_FILE = "experiment.yaml"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowTracker:
    """Tracks a sweep in MLflow.

    Args:
        root: Where the default store and all artifacts lie.
        experiment_name: Name of the experiment, here and in MLflow.
        uri: Tracking URI; None: the SQLite store under the root.
        say: Hears what was mended in the store, and what of it cannot be; None: the log does.
    """

    def __init__(
        self, root: Root, experiment_name: str, uri: str | None, say: Callable[[str], None] | None = None
    ) -> None:
        self._say = say or _LOG.warning
        self._store = MlflowStore(root, experiment_name, uri, self._say)
        self._start: SweepStart | None = None
        self._name = experiment_name
        self._opened: tuple[MlflowClient, str] | None = None
        self._parent_id: str | None = None
        self._origin: CallOrigin | None = None
        self._live: list[MlflowRun] = []
        self._gpus: GpuMetrics | None = None
        self._parents: dict[str, str] = {}
        """Parent run of each generation."""
        self._epochs_from: dict[str, int] = {}
        """Number of the first epoch in each generation."""

    @property
    def uri(self) -> str:
        """Tracking URI as it may be shown: credentials are masked."""
        return self._store.uri

    @property
    def origin(self) -> CallOrigin:
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
        client, _ = self._open()
        self._origin = CallOrigin.of(start)
        self._start = start
        with self._store.translated("write to", SetupError):
            runs = self._runs
            family = runs.take_stock(lambda: Ledger(self._store.root).find_tracked(self._name))
            generation = str(start.generation)
            parent = next((run for run in family.parents if run.data.tags.get(GENERATION, "0") == generation), None)
            if parent is None:
                parent = self._create_parent(start)
            else:
                runs.require_dead(parent)
                take_up_run(client, parent)
            self._take_over(family, parent, start)
            self._log_configuration(parent, start)
        self.close_stale_runs("the process that ran it died")
        if start.gpu_uuids:
            from orchestrator.tracking.mlflow.gpu_metrics import GpuMetrics

            self._gpus = GpuMetrics(client, self._require_parent(), start.gpu_uuids).start()

    def start_run(
        self,
        start: RunStart,
        *,
        origin: CallOrigin | None = None,
        key: str | None = None,
        again: bool = False,
        at_ms: int | None = None,
    ) -> MlflowRun:
        """Open a child run with its params, data set and specification, or go on with an unfinished one.

        Where `start.resumes_from` is not 0, that is the newest of its fingerprint: unfinished, or finished by a
        process that died before anybody else heard of it. Others of it that seem to run are closed as KILLED, and those
        that were put off are deleted, unless this tracker opened them.

        Args:
            start: What is known of the run.
            origin: The sweep's call that it was started in; None: this one.
            key: Names this start, so that it can be repeated; None: it never is.
            again: The same start may have reached the store before: the run with `key` is looked for first.
            at_ms: When it was (Unix time, milliseconds); None: now.

        Raises:
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        origin = origin or self.origin
        key = key or uuid4().hex[:16]
        tags = self._run_tags(start, origin, key)
        with self._store.translated("write to"):
            found = self._find_run(start, key if again else None)
            if found is None:
                run_id = self._runs.create(key, start.name, tags, at_ms=at_ms).info.run_id
            else:
                run_id, tags[names.EPOCHS_FROM] = found.info.run_id, str(count_from(found))
                self._runs.reopen(found, start.name, tags)
        run = MlflowRun(self._store, client, run_id, epochs_from=int(tags[names.EPOCHS_FROM]), fresh=found is None)
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
            client.log_text(run.run_id, specification, SPEC_FILE)
        return run

    def find_run(self, key: str) -> MlflowRun:
        """Find the child run that a start with `key` opened or went on with.

        Raises:
            NotFoundError: There is none.
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("read"):
            found = self._runs.find_key(key)
        if found is None:
            raise NotFoundError(f"the MLflow store {self._store.uri} has no run that was started as {key}")
        return MlflowRun(self._store, client, found.info.run_id, epochs_from=count_from(found))

    def answers(self) -> bool:
        """Whether the store answers an easy question."""
        client, experiment = self._require_open()
        with suppress(OrchestratorError), self._store.translated("read"):
            return bool(client.get_experiment(experiment))
        return False

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:
        """Hand a finished child run to another trial of this sweep: it takes the name and trial of `start`.

        Where the id is None or unknown (the run reached the store late), it is the newest finished run of the
        fingerprint. The `pareto` tag follows with the next update of the sweep.

        Raises:
            NotFoundError: There is no such run.
            SweepError: The store is lost.
        """
        client, _ = self._require_open()
        with self._store.translated("write to"):
            same = self._runs.find_closable(start.spec.fingerprint)
            known = {run.info.run_id: run for run in same if run.info.status == "FINISHED"}
            found = known.get(run_id or "") or max(known.values(), key=started, default=None)
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
        with self._store.translated("write to"):
            parent = self._find_living_parent()
            log_metrics(client, parent, summary.metrics, at_ms)
            set_note(client, parent, summary.note)
            write_table(client, parent, summary.table)
            for path in filter(Path.exists, summary.files):
                client.log_artifact(parent, str(path))
            for child in self._runs.find_children(parent):
                trial = find_trial(child)
                pareto = str(trial in summary.front).lower()
                if trial is not None and child.data.tags.get(names.PARETO) != pareto:
                    client.set_tag(child.info.run_id, names.PARETO, pareto)

    def close_stale_runs(self, reason: str) -> None:
        """Put off the runs of a dead owner: this one holds the sweep's lock, so nobody runs them.

        Those of others are left alone; those of a sweep that was started afresh since end as KILLED.

        Raises:
            SetupError: The store is lost.
        """
        with self._store.translated("write to", SetupError):
            self._runs.close_abandoned(self._require_parent(), reason)
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
            parent = self._find_living_parent()
            sync_artifacts(client.get_run(parent))
            if status == "put_off":
                client.set_tag(parent, names.PUT_OFF, "true")
                client.update_run(parent, status="SCHEDULED")
                return
            if status == "finished":
                self._runs.give_up(
                    lambda child: child.data.tags.get(PARENT) == parent, "the sweep no longer asks for it"
                )
            client.set_terminated(parent, _STATUS[status])

    def keep_files(self, files: Iterable[Path]) -> None:
        """Keep files as artifacts of the parent run of a sweep that was tracked earlier.

        Raises:
            SetupError: The store cannot be reached or opened.
            NotFoundError: The sweep has no parent run there.
        """
        client, _ = self._open()
        with self._store.translated("write to", SetupError):
            parent = next(iter(self._runs.find_parents()), None)
            if parent is None:
                raise NotFoundError(
                    f"the MLflow store {self._store.uri} has no sweep {self._name!r}",
                    hint=f"run it first: orchestrator sweep {self._name}{self._store.root.option}",
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

    @property
    def _runs(self) -> SweepRuns:
        client, experiment = self._require_open()
        store = self._store
        return SweepRuns(client, experiment, self._name, identity=store.identity, remote=store.is_remote)

    def _create_parent(self, start: SweepStart) -> Run:
        tags = self._tags(names.KIND_SWEEP, self.origin)
        tags |= {GENERATION: str(start.generation), names.EPOCHS_FROM: "1"}
        return self._runs.create_for_certain(uuid4().hex[:16], self._name, tags)

    def _take_over(self, family: Family, parent: Run, start: SweepStart) -> None:
        """Close the parents that a dead call left running, and take up runs whose parent somebody has deleted."""
        client, experiment = self._require_open()
        runs, self._parent_id = self._runs, parent.info.run_id
        for other in family.parents:
            if other.info.status in UNFINISHED and other.info.run_id != self._parent_id and runs.is_dead(other):
                client.set_terminated(other.info.run_id, "KILLED")
        # the newest come first, and they win
        self._parents = {run.data.tags.get(GENERATION, "0"): run.info.run_id for run in reversed(family.parents)}
        self._parents[str(start.generation)] = self._parent_id
        every = [*reversed(family.parents), parent]
        self._epochs_from = {run.data.tags.get(GENERATION, "0"): count_from(run) for run in every}
        self._store.keep_views(client, experiment, find_varied(start.experiment))
        if not start.generation:  # else they may be of an archived study
            there = {self._parent_id, *(run.info.run_id for run in family.parents)}
            lost = [run for run in family.children if run.data.tags.get(PARENT) not in there]
            runs.set_parent(lost, self._parent_id)

    def _find_living_parent(self) -> str:
        """Find the parent run; where a person has deleted it, a new one takes its place, with its children."""
        before, start = self._require_parent(), self._start
        if start is None or self._runs.is_there(before):
            return before
        parent = self._create_parent(start)
        self._parent_id = parent.info.run_id
        self._parents[str(start.generation)] = self._parent_id
        self._runs.set_parent(self._runs.find_children(before), self._parent_id)
        self._log_configuration(parent, start)
        self._say(f"the MLflow run {before} of {self._name!r} was deleted: {self._parent_id} takes its place")
        return self._parent_id

    def _tags(self, kind: str, origin: CallOrigin) -> dict[str, str]:
        tags = {names.KIND: kind, names.SWEEP: self._name, names.CONFIG_HASH: origin.config_hash, **user_tag()}
        tags |= self._runs.tags
        if origin.git_commit is not None:
            tags |= {"git_commit": origin.git_commit, "mlflow.source.git.commit": origin.git_commit}
        return tags

    def _log_configuration(self, parent: Run, start: SweepStart) -> None:
        client, _ = self._require_open()
        run_id = parent.info.run_id
        log_params(client, run_id, sweep_params(start), there=parent)
        log_metrics(client, run_id, block_scores(start))
        set_tags(client, run_id, self._tags(names.KIND_SWEEP, self.origin))
        client.log_text(run_id, mask_credentials(start.config_yaml), CONFIG_FILE)

    def _run_tags(self, start: RunStart, origin: CallOrigin, key: str) -> dict[str, str]:
        tags = self._tags(names.KIND_RUN, origin) | {
            # a run of the study before may have waited in the spool
            PARENT: self._parents.get(str(start.spec.generation), self._require_parent()),
            names.OPTUNA_TRIAL: str(start.trial),
            names.SEED: str(start.spec.seed),
            names.PARETO: "false",
            names.FINGERPRINT: start.spec.fingerprint,
            names.EPOCHS_FROM: str(self._epochs_from.get(str(start.spec.generation), 1)),
            RUN_KEY: key,
        }
        return tags if start.reused_from is None else tags | {names.REUSED_FROM: start.reused_from}

    def _find_run(self, start: RunStart, key: str | None) -> Run | None:
        """Find the run that `start` goes on with, and close those that it leaves behind."""
        client, _ = self._require_open()
        found = self._runs.find_key(key) if key is not None else None
        live = {run.run_id for run in self._live if not run.ended}
        same = [run for run in self._runs.find_closable(start.spec.fingerprint) if run.info.run_id not in live]
        if found is None and start.resumes_from:
            found = max(same, key=started, default=None)
        for run in same:
            if run.info.status == "RUNNING" and (found is None or run.info.run_id != found.info.run_id):
                end_run(client, run.info.run_id, "KILLED", f"killed: {start.name} took its place")
            elif run.info.status == "SCHEDULED" and found is None:
                client.delete_run(run.info.run_id)  # the same training begins again
        return found
