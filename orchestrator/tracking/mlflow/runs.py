"""The MLflow runs of one sweep: told from those of others in the same experiment, and each made once."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator import names
from orchestrator.errors import SetupError
from orchestrator.storage.identity import Identity
from orchestrator.tracking.mlflow.run import end_run, put_off_run, set_tags, take_up_run

from mlflow import MlflowClient  # isort: skip - after the run, whose store turns telemetry off
from mlflow.entities import Run  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

RUN_KEY = "run_key"
"""Tag of a run: the keys of the starts that opened it or went on with it."""
GENERATION = "generation"
ROOT_ID = "root_id"
"""Tag of a run in a store that other roots may use: the root that it belongs to."""
ROOT_PLACE = "root_place"
"""Likewise: the folder in which its sweep holds the lock."""
PARENT = "mlflow.parentRunId"
UNFINISHED = ("RUNNING", "SCHEDULED")
"""Status of a run that has not ended: somebody runs it, or it was put off."""
_PAGE = 1000
_TRIAL = re.compile(r"trial_(\d+)_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a store holds of a sweep when it starts."""

    parents: tuple[Run, ...]
    """Its parent runs, the newest first: one, but for those that `--fresh` left behind."""
    children: tuple[Run, ...]
    """Its child runs, whatever parent they have."""


class SweepRuns:
    """Finds the runs of one sweep in an MLflow experiment, and makes them.

    A run is the sweep's own where its tags say so. Tags that a person has deleted are restored from what cannot be
    deleted: params, the name, and what a child says of its parent. Where other roots may use the store, a run belongs
    to the root that its tags name.

    Args:
        client: An open client.
        experiment_id: The MLflow experiment.
        name: Name of the sweep.
        identity: Which root this is; None where no other root uses the store.
        remote: Whether the store is a server: then a request may be made twice although it was sent once.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, name: str, *, identity: Identity | None, remote: bool
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._name = name
        self._identity = identity
        self._remote = remote

    @property
    def tags(self) -> dict[str, str]:
        """Tags that say whose a run is; none where no other root uses the store."""
        return {} if self._identity is None else {ROOT_ID: self._identity.id, ROOT_PLACE: self._identity.place}

    def is_dead(self, run: Run) -> bool:
        """Whether nobody can be running it: its sweep's lock lies in this folder, and this process holds it."""
        return self._identity is None or self._identity.is_at(run.data.tags.get(ROOT_PLACE, ""))

    def take_stock(self, known: Callable[[], Collection[str]]) -> Family:
        """Find all runs of the sweep; restore tags, join parents that one request made twice.

        Args:
            known: Lists the ids of the runs that this root has finished: what an older version tracked on a server
                does not say whose it is.
        """
        runs = self.search("")
        if self._identity is not None:
            self._claim_unmarked(runs, known)
        children = [run for run in runs if self._is_own(run, names.KIND_RUN)]
        named = {run.data.tags.get(PARENT) for run in children}
        parents = [run for run in runs if self._is_own(run, names.KIND_SWEEP) or _is_parent(run, named)]
        for run in parents:
            self._restore(run, {names.KIND: names.KIND_SWEEP, names.SWEEP: self._name, **self.tags})
        mine, there = {run.info.run_id for run in parents}, {run.info.run_id for run in children}
        lost = [run for run in runs if run.data.tags.get(PARENT) in mine and self._is_child(run)]
        children += [run for run in lost if run.info.run_id not in there]
        for run in children:
            self.restore_tags(run)
        parents = self._join_doubles(parents, children)
        return Family(parents=tuple(sorted(parents, key=started, reverse=True)), children=tuple(children))

    def find_parents(self) -> list[Run]:
        """Find the sweep's parent runs, the newest first."""
        found = self.search(f"tags.{names.KIND} = '{names.KIND_SWEEP}'")
        return sorted((run for run in found if self._is_own(run, names.KIND_SWEEP)), key=started, reverse=True)

    def find_children(self, parent_id: str) -> list[Run]:
        """Find the runs under a parent, with the tags that they should have; what others put there is left out."""
        found = self.search(f"tags.`{PARENT}` = '{parent_id}'")
        return [self.restore_tags(run) for run in found if self._is_child(run)]

    def close_abandoned(self, parent_id: str, reason: str) -> None:
        """Close the child runs that are RUNNING and that nobody can be running.

        Those under `parent_id` are put off; those of a sweep started afresh since end as KILLED, as do those that
        it had put off.
        """
        for child in self._find_abandoned("RUNNING"):
            if child.data.tags.get(PARENT) == parent_id:
                put_off_run(self._client, child.info.run_id, reason)
            else:
                end_run(self._client, child.info.run_id, "KILLED", f"killed: {reason}")
        self.give_up(lambda child: child.data.tags.get(PARENT) != parent_id, "the sweep was started afresh")

    def give_up(self, which: Callable[[Run], bool], reason: str) -> None:
        """End the child runs that were put off and that nothing goes on with."""
        for child in self._find_abandoned("SCHEDULED"):
            if which(child):
                end_run(self._client, child.info.run_id, "KILLED", f"killed: {reason}")
                if names.PUT_OFF in child.data.tags:
                    self._client.delete_tag(child.info.run_id, names.PUT_OFF)

    def find_same(self, fingerprint: str) -> list[Run]:
        """Find the child runs of a fingerprint."""
        for where in (f"tags.{names.FINGERPRINT}", f"params.{names.FINGERPRINT}"):
            found = [run for run in self.search(f"{where} = '{fingerprint}'") if self._is_own(run, names.KIND_RUN)]
            if found:
                return found
        return []

    def find_closable(self, fingerprint: str) -> list[Run]:
        """Find the child runs of a fingerprint, but for those that somebody else may be running."""
        found = self.find_same(fingerprint)
        return [run for run in found if run.info.status != "RUNNING" or self.is_dead(run)]

    def is_there(self, run_id: str) -> bool:
        """Whether a run is there, and nobody has deleted it."""
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def find_key(self, key: str) -> Run | None:
        """Find the run of a key: the first, should one request have made two; the others are deleted."""
        found = sorted(self.search(f"tags.{RUN_KEY} LIKE '%{key}%'"), key=lambda run: (started(run), run.info.run_id))
        for double in found[1:]:
            self._client.delete_run(double.info.run_id)
        return found[0] if found else None

    def create(self, key: str, name: str, tags: Mapping[str, str], *, at_ms: int | None = None) -> Run:
        """Make a run, once: also where the request arrives twice."""
        marked = {**tags, RUN_KEY: key}
        made = self._client.create_run(self._experiment_id, start_time=at_ms, run_name=name, tags=marked)
        return (self.find_key(key) if self._remote else None) or made

    def create_for_certain(self, key: str, name: str, tags: Mapping[str, str]) -> Run:
        """Make a run likewise, and find it where its answer was lost."""
        try:
            return self.create(key, name, tags)
        except (MlflowException, OSError):
            found = None
            with suppress(MlflowException, OSError):  # the first error is the one to show
                found = self.find_key(key)
            if found is None:
                raise
            return found

    def reopen(self, run: Run, name: str, tags: Mapping[str, str]) -> None:
        """Go on with a child run under another name. It keeps the keys of its earlier starts."""
        keys = run.data.tags.get(RUN_KEY, "").split()
        joined = " ".join(dict.fromkeys([*keys, tags[RUN_KEY]]))
        if run.info.status == "FINISHED" and tags[RUN_KEY] in keys:  # its end arrived before this very start
            known = {key: value for key, value in tags.items() if key != names.PARETO}
            set_tags(self._client, run.info.run_id, {**known, RUN_KEY: joined})
            self._client.update_run(run.info.run_id, name=name)
            return
        set_tags(self._client, run.info.run_id, {**tags, RUN_KEY: joined})
        take_up_run(self._client, run, name)

    def require_dead(self, parent: Run) -> None:
        """Refuse to go on with a parent run that somebody may be running elsewhere.

        Raises:
            SetupError: It is RUNNING, and its lock is not in this folder.
        """
        if parent.info.status != "RUNNING" or self.is_dead(parent):
            return
        run_id, place = parent.info.run_id, parent.data.tags.get(ROOT_PLACE, "").partition("@")[2]
        raise SetupError(
            f"the MLflow run {run_id} of {self._name!r} is RUNNING, from a root with the same id at {place}, and "
            f"whether it still lives cannot be seen from {self._identity and self._identity.path}",
            hint="if this root is a copy of that one, remove its root.json: it then counts as a root of its own; if it "
            "is that one, moved here after its sweep had died, end the run: "
            f"python -c \"import mlflow; mlflow.MlflowClient('ADDRESS').set_terminated('{run_id}', 'KILLED')\"",
        )

    def set_parent(self, children: Sequence[Run], parent_id: str) -> None:
        """Put runs under another parent."""
        for run in children:
            self._client.set_tag(run.info.run_id, PARENT, parent_id)
            run.data.tags[PARENT] = parent_id

    def restore_tags(self, run: Run) -> Run:
        """Put back the tags of a child run that somebody has deleted, as far as the run still says what they were."""
        trial = _TRIAL.match(run.info.run_name or "")
        should = {
            names.KIND: names.KIND_RUN,
            names.SWEEP: self._name,
            names.FINGERPRINT: _print_of(run),
            names.SEED: run.data.params.get(names.SEED),
            names.OPTUNA_TRIAL: str(int(trial[1])) if trial else None,
        }
        return self._restore(run, {key: value for key, value in should.items() if value is not None})

    def search(self, query: str) -> list[Run]:
        """Find the runs that are not deleted, whoever made them."""
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment_id], query, max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _find_abandoned(self, status: str) -> list[Run]:
        """Find the child runs of a status that nobody can be running."""
        found = self.search(f"attributes.status = '{status}'")
        return [run for run in found if self._is_own(run, names.KIND_RUN) and self.is_dead(run)]

    def _restore(self, run: Run, should: Mapping[str, str]) -> Run:
        missing = {key: value for key, value in should.items() if key not in run.data.tags}
        if missing:
            set_tags(self._client, run.info.run_id, missing)
            run.data.tags.update(missing)
        return run

    def _is_own(self, run: Run, kind: str) -> bool:
        tags = run.data.tags
        if tags.get(names.KIND) != kind or tags.get(names.SWEEP) != self._name:
            return False
        return self._is_child(run) if kind == names.KIND_RUN else self._is_of_root(run)

    def _is_child(self, run: Run) -> bool:
        return _print_of(run) is not None and self._is_of_root(run)

    def _is_of_root(self, run: Run) -> bool:
        return self._identity is None or run.data.tags.get(ROOT_ID) == self._identity.id

    def _claim_unmarked(self, runs: Sequence[Run], known: Callable[[], Collection[str]]) -> None:
        """Mark what an older version tracked of this root: the runs that it knows, and the parent of most of them."""
        unmarked = [
            run for run in runs if run.data.tags.get(names.SWEEP) == self._name and ROOT_ID not in run.data.tags
        ]
        if not unmarked:
            return
        ids = set(known())
        mine = [run for run in unmarked if run.info.run_id in ids]
        if not any(self._is_own(run, names.KIND_SWEEP) for run in runs):
            counts = Counter(run.data.tags.get(PARENT) for run in mine)
            parents = {run.info.run_id: run for run in unmarked if run.data.tags.get(names.KIND) == names.KIND_SWEEP}
            mine += [parents[each] for each in counts if each is not None and each in parents]
        for run in mine:
            set_tags(self._client, run.info.run_id, self.tags)
            run.data.tags.update(self.tags)

    def _join_doubles(self, parents: Sequence[Run], children: Sequence[Run]) -> list[Run]:
        """Make one of the parents that one request made: of those with the same key, or made in the same millisecond.

        The one that has most runs stays; those of the others go over to it.
        """
        of = Counter(run.data.tags.get(PARENT) for run in children)
        kept: dict[tuple[str, str], Run] = {}
        for run in sorted(parents, key=lambda run: (-of[run.info.run_id], started(run), run.info.run_id)):
            tags = run.data.tags
            origin = (tags.get(GENERATION, "0"), tags.get(RUN_KEY) or str(run.info.start_time))
            if origin not in kept:
                kept[origin] = run
                continue
            moved = [child for child in children if child.data.tags.get(PARENT) == run.info.run_id]
            self.set_parent(moved, kept[origin].info.run_id)
            self._client.delete_run(run.info.run_id)
        return list(kept.values())


def find_trial(run: Run) -> int | None:
    """Read the trial of a child run; None where neither its tag nor its name says it."""
    said = run.data.tags.get(names.OPTUNA_TRIAL, "")
    return int(said) if said.isdecimal() else None


def started(run: Run) -> int:
    """When a run was started: Unix time, milliseconds."""
    return int(run.info.start_time)


def count_from(run: Run) -> int:
    """Number of the first epoch of a run; see `names.EPOCHS_FROM`. An older version counted from 0, and did not say."""
    return int(run.data.tags.get(names.EPOCHS_FROM, 0))


def _print_of(run: Run) -> str | None:
    """Read the fingerprint of a child run; only those of sweeps have one."""
    return run.data.tags.get(names.FINGERPRINT) or run.data.params.get(names.FINGERPRINT)


def _is_parent(run: Run, named: Collection[str | None]) -> bool:
    """Whether a run is the parent of runs of the sweep, though its tags do not say so any more."""
    return run.info.run_id in named and names.KIND not in run.data.tags
