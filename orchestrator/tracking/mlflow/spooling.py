"""MLflow, but a store that is lost fails no run: what it misses waits on disk and is delivered once it is back."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.records.starts import RunStart, SweepStart, SweepStatus, SweepSummary
from orchestrator.storage.layout import Root
from orchestrator.tracking.mlflow.run import MlflowRun, now_ms
from orchestrator.tracking.mlflow.spool import Adopted, Ended, Epoch, Latest, Line, Message, Spool, Started
from orchestrator.tracking.mlflow.store import is_rebuff, is_refusal
from orchestrator.tracking.mlflow.tracker import MlflowTracker

_PAUSE_S = 5.0
"""Shortest pause between two tries."""
_SHARE = 0.1
"""Share of the time that may go into tries: a server that swallows requests costs seconds each."""
_DELIVERY_S = 2.0
"""Longest time that a call delivers what waits, once the store is back; the rest comes with the next calls."""
_LOSSES = (OrchestratorError, OSError)


class SpoolingRun:
    """One run. None of its methods raises because of the store."""

    def __init__(self, tracker: "SpoolingTracker", key: str) -> None:
        self._tracker = tracker
        self._key = key

    @property
    def run_id(self) -> str | None:
        """The MLflow run; None until the store has heard of it."""
        return self._tracker.find_run_id(self._key)

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Add an epoch to the curves; one that is there already is passed over."""
        self._tracker.submit(Epoch(key=self._key, at_ms=now_ms(), metrics=metrics))

    def finish(self, result: RunResult) -> None:
        """End as FINISHED."""
        self._tracker.submit(Ended(key=self._key, at_ms=now_ms(), status="finished", result=result))

    def fail(self, error: str) -> None:
        """End as FAILED."""
        self._tracker.submit(Ended(key=self._key, at_ms=now_ms(), status="failed", reason=error))

    def kill(self, reason: str) -> None:
        """End as KILLED."""
        self._tracker.submit(Ended(key=self._key, at_ms=now_ms(), status="killed", reason=reason))

    def put_off(self, reason: str) -> None:
        """Leave it to the next start of the sweep."""
        self._tracker.submit(Ended(key=self._key, at_ms=now_ms(), status="put_off", reason=reason))


class SpoolingTracker:
    """Tracks a sweep in MLflow. Once it has started, nothing raises because of the store.

    As long as the store answers, everything goes there at once. When it is lost, everything goes to the spool, in
    order, and delivery is tried again every few seconds, for seconds, and with the next start of the sweep. A message
    may reach the store twice (its answer was lost, or this process died before it noted the delivery): runs are found
    again by the key of their start, epochs and metrics by what the run has, and the rest is replaced by itself.

    Args:
        inner: MLflow.
        root: Where the spool lies.
        experiment_name: Name of the experiment, and of the spool.
        say: Hears when the store is lost and when it is back, once each, and what it refuses.
    """

    def __init__(self, inner: MlflowTracker, root: Root, experiment_name: str, say: Callable[[str], None]) -> None:
        self._inner = inner
        self._spool = Spool(root, experiment_name)
        self._say = say
        self._runs: dict[str, MlflowRun] = {}
        self._lost = False
        self._late = 0
        """Messages delivered since the store was lost."""
        self._next_try = 0.0
        self._denied: set[str] = set()
        """Runs of which the store has refused something in this call."""
        self._rebuffed = False
        """Whether something before the store has."""
        self._warned_of_disk = False

    def start_sweep(self, start: SweepStart) -> None:
        """Open the sweep's parent run, and deliver what an earlier process could not.

        Raises:
            SetupError: The store cannot be reached or opened, or the spool cannot be read.
        """
        self._inner.start_sweep(start)
        self._runs.clear()
        self._lost = False
        try:
            strange = self._spool.load()
            refused = self._spool.load_refused()
        except (OSError, ValueError) as error:
            raise SetupError(
                f"cannot read what waits for the tracking store, {self._spool.path}: {error}",
                hint="make the folder readable and writable, or move it away (what waits in it is then not tracked)",
            ) from error
        if strange:
            self._say(f"{len(strange)} lines of {self._spool.path} cannot be read: kept in {self._spool.refused_path}")
        if (latest := self._spool.latest) is not None:
            self._spool.keep_latest(replace(latest, end=None))  # the parent runs again
        self._offer_again(refused)
        if not self._spool.is_empty:
            self._late = 0
            if not self._lost:
                self._deliver_all(None)
            if self._late:
                self._say(f"{self._late} messages of an earlier call reached the MLflow store {self._inner.uri}")
        if refused or self._late:
            try:
                self._inner.close_stale_runs("the process that ran it died")
            except OrchestratorError as error:
                self._lose(error)

    def start_run(self, start: RunStart) -> SpoolingRun:
        """Open a child run, or go on with one; its `run_id` is None until the store has heard of it."""
        key = uuid4().hex[:16]
        self.submit(Started(key=key, at_ms=now_ms(), start=start, origin=self._inner.origin))
        return SpoolingRun(self, key)

    def adopt_run(self, run_id: str | None, start: RunStart) -> None:
        """Hand a finished child run to another trial; `run_id` is None for one that the store heard of late."""
        self.submit(Adopted(run_id=run_id, start=start))

    def update_sweep(self, summary: SweepSummary) -> None:
        """Write table, metrics, note and files to the parent, and the `pareto` tag to each child."""
        self._submit_latest(Latest(summary=replace(summary, trials=()), at_ms=now_ms()))

    def end_sweep(self, status: SweepStatus) -> None:
        """End the parent run; what still waits is tried once more, and then left to the next start."""
        self._next_try = 0.0
        if self._rebuffed and not self._lost:
            with suppress(OSError):  # the next start tells
                self._offer_again(self._spool.load_refused())
        self._submit_latest(replace(self._spool.latest or Latest(), end=status), budget_s=None)
        if not self._spool.is_empty:
            self._say(
                f"what the MLflow store {self._inner.uri} has missed waits in {self._spool.path}: "
                "the next start of this sweep delivers it"
            )

    def find_run_id(self, key: str) -> str | None:
        """Look up the MLflow run of a start; None until the store has heard of it."""
        run = self._runs.get(key)
        return run.run_id if run is not None else None

    def submit(self, message: Message) -> None:
        """Deliver a message, or keep it until it can be delivered."""
        if not self._spool.is_empty or self._lost:
            self._append(message)
            self._try()
            return
        try:
            refused = self._offer(message, again=False)
        except _LOSSES as error:
            self._append(message)
            self._lose(error)
            return
        if refused is not None:
            self._append(message)
            self._refuse(message, refused)

    def _submit_latest(self, latest: Latest, budget_s: float | None = _DELIVERY_S) -> None:
        if self._spool.is_empty and not self._lost:
            try:
                if not self._deliver_latest(latest):
                    self._spool.keep_latest(replace(latest, end=None))
            except _LOSSES as error:
                self._spool.keep_latest(latest)
                self._lose(error)
            return
        self._spool.keep_latest(latest)
        self._try(budget_s)

    def _try(self, budget_s: float | None = _DELIVERY_S) -> None:
        """Deliver what waits, unless the last try is too short ago."""
        if time.monotonic() >= self._next_try:
            self._deliver_all(budget_s)

    def _deliver_all(self, budget_s: float | None) -> None:
        """Deliver messages in order, then the state, until the store fails or the time is up."""
        began = time.monotonic()
        try:
            while (message := self._spool.head) is not None:
                refused = self._offer(message, again=True)
                if refused is not None:
                    self._refuse(message, refused)
                    continue
                self._spool.note_delivered()
                self._late += 1
                if budget_s is not None and time.monotonic() - began > budget_s:
                    return
            if (latest := self._spool.latest) is not None:
                if self._deliver_latest(latest):
                    self._spool.drop_latest()
                else:
                    self._spool.keep_latest(replace(latest, end=None))
        except _LOSSES as error:
            self._lose(error, time.monotonic() - began)
            return
        if self._lost:
            self._lost = False
            self._say(f"the MLflow store {self._inner.uri} answers again: {self._late} messages delivered")

    def _offer(self, message: Message, *, again: bool) -> Exception | None:
        """Deliver a message; the error, where the store refuses it, or something before it does so twice.

        Raises:
            OrchestratorError: The store is lost; so `OSError`.
        """
        for last in (False, True):
            try:
                self._deliver(message, again=again or last)
            except _LOSSES as error:
                if is_refusal(error) or (last and is_rebuff(error)):
                    return error
                if last or not is_rebuff(error) or not self._inner.answers():
                    raise
            else:
                break
        return None

    def _offer_again(self, lines: Sequence[Line]) -> None:
        """Offer what was refused: who refused it may have been a proxy, or have been mended since."""
        left: list[Line] = []
        reason: Exception | None = None
        for number, line in enumerate(lines):
            try:
                refused = self._offer(line.message, again=True)
            except _LOSSES as error:
                left += lines[number:]
                self._lose(error)
                break
            if refused is not None:
                left.append(line)
                reason = reason or refused
        if len(left) < len(lines):
            with suppress(OSError):  # then all are offered once more, which shows nowhere
                self._spool.keep_refused(left)
            self._say(f"{len(lines) - len(left)} refused messages reached the MLflow store {self._inner.uri} after all")
        if reason is not None:
            self._say(f"{reason}; {len(left)} messages stay refused, in {self._spool.refused_path}")

    def _deliver(self, message: Message, *, again: bool) -> None:
        if isinstance(message, Started):
            self._runs[message.key] = self._inner.start_run(
                message.start, origin=message.origin, key=message.key, again=again, at_ms=message.at_ms
            )
        elif isinstance(message, Adopted):
            self._inner.adopt_run(message.run_id, message.start)
        else:
            run = self._runs.get(message.key) or self._inner.find_run(message.key)
            self._runs[message.key] = run
            if isinstance(message, Epoch):
                run.log_epoch(message.metrics, at_ms=message.at_ms)
            elif message.result is not None:
                run.finish(message.result, at_ms=message.at_ms)
            elif message.status == "failed":
                run.fail(message.reason, at_ms=message.at_ms)
            elif message.status == "put_off":
                run.put_off(message.reason)
            else:
                run.kill(message.reason, at_ms=message.at_ms)

    def _deliver_latest(self, latest: Latest) -> bool:
        """Deliver the sweep's state; False where its summary has to be delivered once more."""
        done = True
        try:
            if latest.summary is not None:
                self._inner.update_sweep(latest.summary, at_ms=latest.at_ms)
        except _LOSSES as error:
            done = is_refusal(error)
            if not done and not (is_rebuff(error) and self._inner.answers()):
                raise
            self._say(f"{error}; the next summary of the sweep takes its place")
        if latest.end is not None:
            self._inner.end_sweep(latest.end)
        return done

    def _append(self, message: Message) -> None:
        self._spool.append(message)
        if not self._spool.is_durable and not self._warned_of_disk:
            self._warned_of_disk = True
            self._say(f"cannot write {self._spool.path}: what the tracking store misses waits in memory alone")

    def _refuse(self, message: Message, error: Exception) -> None:
        """Set the first message aside: others wait behind it. It is said once a run."""
        self._spool.note_refused()
        self._rebuffed |= is_rebuff(error)
        key = "" if isinstance(message, Adopted) else message.key
        if key not in self._denied:
            self._denied.add(key)
            self._say(
                f"{error}; the next start offers it again, and what it refused is kept in {self._spool.refused_path}"
            )

    def _lose(self, error: Exception, took_s: float = 0.0) -> None:
        self._next_try = time.monotonic() + max(_PAUSE_S, took_s / _SHARE)
        if not self._lost:
            self._lost = True
            self._late = 0
            self._say(f"{error}; the runs go on, and what it misses waits in {self._spool.path}")
