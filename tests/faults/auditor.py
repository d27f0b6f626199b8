"""Reads what a sweep left with nothing but Optuna, sqlite3, JSON and TensorBoard's own reader, and lists what is wrong.

It shares no code with the product: what it knows are the names of files, tables and tags. So it cannot be wrong in
the same way.
"""

import fcntl
import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = {
    "train/loss": "train_loss",
    "train/acc": "train_acc",
    "val/loss": "val_loss",
    "val/acc": "val_acc",
    "lr": "lr",
}
"""Curves by their name in the trackers, and their field in `result.json`."""
_TIMES = {"duration_s", "s_per_epoch", "images_per_s", "peak_memory_mb"}
_FINISHED_FOLDER = {
    "best.ckpt",
    "best.ckpt.sha256",
    "result.json",
    "record.json",
    "spec.json",
    "predictions.npz",
    "worker.log",
    "claim.lock",
}
_MAY_LACK = {"predictions.npz", "worker.log", "claim.lock"}
"""Fake trainings predict nothing; a training without a word writes no log."""
Run = tuple[str, int]
"""A planned run: frozen set and seed."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a whole sweep found, without its times."""

    results: dict[Run, dict[str, Any]]
    front: frozenset[str]


@dataclass(kw_only=True)
class Audit:
    """One look at a sweep that is said to be complete.

    Attributes:
        root: Its root.
        name: Its name.
        planned: Its runs, each asked for once.
        reference: What an uninterrupted sweep found; None: nothing to compare with.
        token: A word in the environment of all processes of the sweep.
        late: Whether MLflow heard of runs after they had ended: then nobody else knows their ids.
        problems: What is wrong.
    """

    root: Path
    name: str
    planned: tuple[Run, ...]
    reference: Findings | None = None
    token: str | None = None
    late: bool = False
    problems: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Look at everything; an empty list says that all is well."""
        self._results = read_results(self.root)
        self._folders()
        self._optuna()
        self._mlflow()
        self._tensorboard()
        self._files()
        self._processes()
        self._compare()
        return self.problems

    def _check(self, good: object, problem: str) -> None:
        if not good:
            self.problems.append(problem)

    def _folders(self) -> None:
        found = {run: folder for folder, run, _ in self._results}
        self._check(len(found) == len(self._results), "two folders hold the same run")
        self._check(set(found) == set(self.planned), f"results of {sorted(found)}, planned {sorted(self.planned)}")
        for folder in sorted((self.root / "checkpoints").iterdir()):
            names = {path.name for path in folder.iterdir()}
            strange = {name for name in names - _FINISHED_FOLDER if not name.endswith(".damaged")}
            self._check(not strange, f"{folder.name} holds {sorted(strange)}")
            missing = _FINISHED_FOLDER - names - _MAY_LACK
            self._check(not missing, f"{folder.name} lacks {sorted(missing)}")
            with suppress(OSError):
                digest = hashlib.sha256((folder / "best.ckpt").read_bytes()).hexdigest()
                said = (folder / "best.ckpt.sha256").read_text().split()[0]
                self._check(digest == said, f"{folder.name}: best.ckpt is not what its digest says")

    def _optuna(self) -> None:
        study = load_study(self.root, self.name)
        states = Counter(trial.state.name for trial in study.trials)
        self._check(not states["RUNNING"] and not states["WAITING"], f"trials in states {dict(states)}")
        complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
        frozen = Counter(trial.params["frozen"] for trial in complete)
        planned = Counter({key: 1 for key, _ in self.planned})
        self._check(frozen == planned, f"complete trials {dict(frozen)}, planned {dict(planned)}")
        self._trials = {trial.params["frozen"]: trial for trial in complete}
        accuracies = {run: result["val_acc"] for _, run, result in self._results}
        for key, trial in self._trials.items():
            runs = trial.user_attrs["runs"]
            seeds = sorted(run["seed"] for run in runs)
            self._check(seeds == sorted(s for k, s in self.planned if k == key), f"trial of {key} has seeds {seeds}")
            for run in runs:
                same = run["result"]["val_acc"] == accuracies.get((key, run["seed"]))
                self._check(same, f"trial {trial.number}: its run's val_acc is not that of result.json")
            if len(runs) == 1:
                value = trial.values[0]
                self._check(value == accuracies.get((key, seeds[0])), f"trial {trial.number}: val_acc {value!r}")

    def _mlflow(self) -> None:
        tracked = read_mlflow(self.root)
        running = [run["name"] for run in tracked if run["status"] == "RUNNING"]
        self._check(not running, f"MLflow runs are RUNNING: {running}")
        parents = [run for run in tracked if run["tags"].get("kind") == "sweep"]
        self._check([run["status"] for run in parents] == ["FINISHED"], f"parents {[p['status'] for p in parents]}")
        children = [run for run in tracked if run["tags"].get("kind") == "run"]
        self._check(len(children) + len(parents) == len(tracked), "an MLflow run is neither sweep nor run")
        finished = [run for run in children if run["status"] == "FINISHED"]
        keys = Counter((run["params"].get("frozen"), int(run["params"].get("seed", -1))) for run in finished)
        self._check(keys == Counter(self.planned), f"finished MLflow runs {dict(keys)}, planned {self.planned}")
        self._finished = {(run["params"]["frozen"], int(run["params"]["seed"])): run for run in finished}
        for run in children:
            parent = run["tags"].get("mlflow.parentRunId")
            self._check(parents and parent == parents[0]["id"], f"{run['name']} has another parent")
            for name in CURVES:
                steps = Counter(step for step, _ in run["curves"].get(name, ()))
                self._check(max(steps.values(), default=1) == 1, f"{run['name']}: {name} has double points")
                whole = sorted(steps) == list(range(1, len(steps) + 1))
                self._check(whole, f"{run['name']} ({run['status']}): {name} has steps {sorted(steps)}")
        for folder, key, result in self._results:
            if key in self._finished:
                self._finished_run(folder, key, result, self._finished[key])

    def _finished_run(self, folder: Path, key: Run, result: dict[str, Any], run: dict[str, Any]) -> None:
        name, history = run["name"], result["history"]
        for curve, attribute in CURVES.items():
            points = sorted(run["curves"].get(curve, ()))
            expected = [(epoch["epoch"] + 1, epoch[attribute]) for epoch in history]  # people count from 1
            self._check(points == expected, f"{name}: {curve} is {points}, not {expected}")
        points = sorted(run["curves"].get("train/loss_step", ()))
        expected = sorted((point["step"], point["loss"]) for epoch in history for point in epoch["step_losses"])
        self._check(points == expected, f"{name}: train/loss_step is {points}, not {expected}")
        for metric in ("val_acc", "val_loss", "test_acc", "trainable_params", "best_epoch", "epochs_run"):
            values = [value for _, value in run["curves"].get(metric, ())]
            expected_value = result[metric] + (metric == "best_epoch")
            self._check(values == [expected_value], f"{name}: {metric} is {values}, not {expected_value!r}")
        self._check(run["tags"].get("fingerprint") == folder.name, f"{name}: another fingerprint")
        record = json.loads((folder / "record.json").read_bytes())["run"]
        ids = {run["id"], None} if self.late else {run["id"]}
        self._check(record["mlflow_run_id"] in ids, f"{name}: record.json names another MLflow run")
        trial = self._trials.get(key[0])
        if trial is not None:
            self._check(run["tags"].get("optuna_trial") == str(trial.number), f"{name}: tagged with another trial")
            expected_name = f"trial_{trial.number:03d}_{key[0]}_seed{key[1]}"
            self._check(name == expected_name, f"MLflow calls {name} what Optuna calls {expected_name}")
            said = [each["mlflow_run_id"] for each in trial.user_attrs["runs"] if each["seed"] == key[1]]
            self._check(len(said) == 1 and said[0] in ids, f"{name}: the trial names the MLflow runs {said}")
        on_front = "true" if key[0] in self._front() else "false"
        self._check(run["tags"].get("pareto") == on_front, f"{name}: pareto is not {on_front}")

    def _tensorboard(self) -> None:
        board = self.root / "tensorboard" / self.name
        for folder in sorted(board.iterdir()):
            for curve in CURVES:
                steps = [step for step, _ in read_scalars(folder, curve)]
                whole = steps == list(range(1, len(steps) + 1))
                self._check(whole, f"TensorBoard {folder.name}: {curve} has steps {steps}")
        for _, key, result in self._results:
            run = self._finished.get(key)
            if run is None:
                continue
            folder = board / run["name"]
            for curve, attribute in CURVES.items():
                expected = [(epoch["epoch"] + 1, float(np.float32(epoch[attribute]))) for epoch in result["history"]]
                points = read_scalars(folder, curve) if folder.is_dir() else []
                self._check(points == expected, f"TensorBoard {run['name']}: {curve} is {points}, not {expected}")

    def _files(self) -> None:
        left = [
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.name.endswith((".tmp", "-journal", "-wal")) and path.is_file()
        ]
        self._check(not left, f"temporary files are left: {left}")
        waiting = sorted((self.root / "spool").glob("*")) if (self.root / "spool").exists() else []
        self._check(not waiting, f"undelivered records are left: {[path.name for path in waiting]}")
        for path in [*self.root.glob("locks/*.lock"), *self.root.glob("checkpoints/*/claim.lock")]:
            self._check(is_free(path), f"{path.relative_to(self.root)} is held")
        progress = json.loads((self.root / "locks" / f"{self.name}.json").read_bytes())
        self._check(not progress["runs"], "the progress file says that runs are under way")

    def _processes(self) -> None:
        left = [f"{process.pid} {' '.join(process.cmdline())}" for process in processes_of(self.root, self.token)]
        self._check(not left, f"processes are left: {left}")

    def _compare(self) -> None:
        if self.reference is None:
            return
        self._check(self._front() == self.reference.front, f"the front is {sorted(self._front())}")
        found = {run: without_times(result) for _, run, result in self._results}
        for run, expected in self.reference.results.items():
            result = found.get(run, {})
            differing = sorted(key for key in expected if result.get(key) != expected[key])
            self._check(not differing, f"{run}: not as without faults, bit by bit: {differing}")

    def _front(self) -> frozenset[str]:
        return naive_front({key: (trial.values[0], trial.values[1]) for key, trial in self._trials.items()})


def find(root: Path, name: str) -> Findings:
    """Take what a sweep found, to compare another one with."""
    study = load_study(root, name)
    values = {t.params["frozen"]: (t.values[0], t.values[1]) for t in study.trials if t.state.name == "COMPLETE"}
    results = {run: without_times(result) for _, run, result in read_results(root)}
    return Findings(results=results, front=naive_front(values))


def naive_front(values: dict[str, tuple[float, float]]) -> frozenset[str]:
    """Give what nothing else beats: at least as accurate and as small, and better in one of the two."""

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] >= other[0] and one[1] <= other[1] and one != other

    return frozenset(key for key, value in values.items() if not any(beats(other, value) for other in values.values()))


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out what no two runs share."""
    kept = {key: value for key, value in result.items() if key not in _TIMES}
    history = [{key: value for key, value in epoch.items() if key not in _TIMES} for epoch in result["history"]]
    return {**kept, "history": history}


def read_results(root: Path) -> list[tuple[Path, Run, dict[str, Any]]]:
    """Read each finished training: its folder, its frozen set and seed, its result."""
    found = []
    for path in sorted(root.glob("checkpoints/*/result.json")):
        spec = json.loads((path.parent / "spec.json").read_bytes())
        found.append((path.parent, (spec["frozen"], spec["seed"]), json.loads(path.read_bytes())))
    return found


def load_study(root: Path, name: str) -> optuna.Study:
    """Load a study; its trials are read before the connection is closed."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{root / 'optuna.db'}")
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        frozen = optuna.create_study(directions=study.directions)
        frozen.add_trials(study.trials)
        return frozen
    finally:
        storage.remove_session()
        storage.engine.dispose()


def read_mlflow(root: Path) -> list[dict[str, Any]]:
    """Read all runs that are not deleted, straight from the tables."""
    with closing(sqlite3.connect(root / "mlflow.db")) as db:
        rows = db.execute("select run_uuid, name, status from runs where lifecycle_stage = 'active'").fetchall()
        runs = {key: {"id": key, "name": name, "status": status} for key, name, status in rows}
        for run in runs.values():
            run |= {"tags": {}, "params": {}, "curves": {}}
        for table in ("tags", "params"):
            for key, name, value in db.execute(f"select run_uuid, key, value from {table}"):
                if key in runs:
                    runs[key][table][name] = value
        for key, name, step, value in db.execute("select run_uuid, key, step, value from metrics"):
            if key in runs:
                runs[key]["curves"].setdefault(name, []).append((step, value))
    return list(runs.values())


def read_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Read a curve as TensorBoard does, without its mercy for points that come twice."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    accumulator.Reload()
    if tag not in accumulator.Tags()["scalars"]:
        return []
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def is_free(path: Path) -> bool:
    """Try the lock that the sweep takes."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def processes_of(root: Path, token: str | None) -> Iterable[psutil.Process]:
    """Find processes that have to do with a root: by their words, their environment, their open files."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, root, token)]


def _is_of(process: psutil.Process, root: Path, token: str | None) -> bool:
    def traces() -> Iterator[bool]:
        yield str(root) in " ".join(process.cmdline())
        yield token is not None and token in process.environ().values()
        yield any(Path(file.path).is_relative_to(root) for file in process.open_files())

    try:
        return process.status() != psutil.STATUS_ZOMBIE and any(traces())
    except (psutil.Error, OSError):
        return False
