"""A race by two worker processes, killed and stopped: the same command carries on, and ends as if nothing had been.

Its training takes no time and its curves are known (`tests/racing.py`), so what has to be the same is known too: which
trials are dropped, where, which get more seeds, and all numbers.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.auditor import CURVES, is_free, load_study, read_mlflow, read_results, read_scalars, without_times
from tests.faults.cases import one_of
from tests.faults.moments import draw_moment
from tests.faults.sweeps import Place, Zygote
from tests.racing import CLEAR, CLOSE, ENDS, EPOCHS, HOPELESS, RUNGS

pytestmark = pytest.mark.slow

RUNS = {
    **{(key, 0): "PRUNED" for key in HOPELESS},
    **{(key, 0): "COMPLETE" for key in (*CLEAR, *ENDS)},
    **{(key, seed): "COMPLETE" for key in CLOSE for seed in range(3)},
}
"""State of the trial of each run, by hand from what `tests/racing.py` lays down."""
COMPLETE = {run for run, state in RUNS.items() if state == "COMPLETE"}
MOMENTS = 8
PARENT_POINTS = (
    "orchestrator.search.study:OptunaSearch.prune:after:1",
    "orchestrator.sweep.race:RaceStrategy.pause:before:1",
    "orchestrator.sweep.race:RaceStrategy.pause:after:8",  # the whole first rung stands, and nothing is decided
    "orchestrator.sweep.race:RaceStrategy._drop:after:1",
    "orchestrator.search.study:OptunaSearch.prune:before:2",
    "orchestrator.sweep.race:RaceStrategy._run:after:3",
    "orchestrator.sweep.race:RaceStrategy.close:before:1",  # all is trained, and no trial is complete
    "orchestrator.search.study:OptunaSearch.tell:after:2",
)
WORKER_POINTS = (
    "orchestrator.storage.files:write_atomically:before:2",  # the checkpoint of a rung, and no rung
    "orchestrator.storage.files:write_atomically:after:2",
    "orchestrator.storage.files:write_checked:after:2",
)
Inject = Callable[[str], None]


@pytest.fixture
def race(tmp_path: Path, mlflow_store_template: Path) -> Place:
    """A root for a race."""
    return Place(tmp_path, mlflow_store_template, name="race")


@pytest.fixture(scope="session")
def undisturbed(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, mlflow_store_template: Path) -> Any:
    """Results of a race without faults, and the CPU seconds that it takes."""
    place = Place(tmp_path_factory.mktemp("race"), mlflow_store_template, name="race")
    command = zygote.start(place)
    spent, _ = command.observe()
    assert command.wait() == 0, command.said
    assert audit(place, None) == []
    return results_of(place), spent


def results_of(place: Place) -> dict[tuple[str, int], dict[str, Any]]:
    return {run: without_times(result) for _, run, result in read_results(place.root)}


def audit(place: Place, expected: dict[tuple[str, int], dict[str, Any]] | None) -> list[str]:
    """List what is wrong with a race that is over."""
    found = results_of(place)
    problems = [f"results of {sorted(found)}"] if set(found) != COMPLETE else []
    if expected is not None and found != expected:
        problems.append("results are not those without faults")
    problems += [*look_at_study(place), *look_at_trackers(place)]
    problems += [f"{path} is left" for path in place.root.rglob("*.tmp")]
    problems += [f"{path} is held" for path in place.root.glob("checkpoints/*/claim.lock") if not is_free(path)]
    return problems + place.wait_for_deaths()


def look_at_study(place: Place) -> Iterator[str]:
    trials = [trial for trial in load_study(place.root, place.name).trials if trial.state.name != "FAIL"]
    # a race that was stopped completes what is whole; where it gives more seeds later, a newer trial has them all
    newest = {trial.user_attrs["choice"]["frozen"]: trial for trial in trials}
    states = {(key, run["seed"]): trial.state.name for key, trial in newest.items() for run in trial.user_attrs["runs"]}
    if states != RUNS:
        yield f"the study has runs {states}"
    dropped = sorted(trial.user_attrs["choice"]["frozen"] for trial in trials if trial.state.name == "PRUNED")
    if dropped != sorted(HOPELESS):
        yield f"the study has dropped {dropped}"


def look_at_trackers(place: Place) -> Iterator[str]:
    tracked = read_mlflow(place.root)
    if any(run["status"] == "RUNNING" for run in tracked):
        yield "MLflow has runs that are RUNNING"
    children = [run for run in tracked if run["tags"].get("kind") == "run"]
    finished = {
        (run["params"]["frozen"], int(run["params"]["seed"])): run for run in children if run["status"] == "FINISHED"
    }
    if set(finished) != COMPLETE or len(finished) != sum(run["status"] == "FINISHED" for run in children):
        yield f"MLflow has finished runs {sorted(finished)}"
    dropped = [
        (run["params"]["frozen"], len(run["curves"]["val/acc"]))
        for run in children
        if run["status"] == "KILLED" and "pruned after 3 epochs" in run["tags"].get("mlflow.note.content", "")
    ]
    if sorted(dropped) != sorted((key, RUNGS[0]) for key in HOPELESS):
        yield f"MLflow has dropped runs {dropped}"
    for (key, _), run in finished.items():
        steps = list(range(1, ENDS.get(key, EPOCHS) + 1))
        for curve in CURVES:
            if sorted(step for step, _ in run["curves"][curve]) != steps:
                yield f"MLflow, {run['name']}: {curve} has {run['curves'][curve]}"
            board = read_scalars(place.root / "tensorboard" / place.name / run["name"], curve)
            if [step for step, _ in board] != steps:
                yield f"TensorBoard, {run['name']}: {curve} has {board}"


@pytest.mark.parametrize("point", one_of(*PARENT_POINTS))
def test_the_parent_of_a_race_dies(point: str, race: Place, zygote: Zygote, undisturbed: Any, inject: Inject):
    zygote.lose_parent(race, point)
    inject("parent of a race dead within a step")
    assert race.wait_for_deaths() == []
    zygote.finish(race)
    assert audit(race, undisturbed[0]) == []


@pytest.mark.faults
@pytest.mark.parametrize("number", range(MOMENTS))
def test_the_parent_of_a_race_is_killed(number: int, race: Place, zygote: Zygote, undisturbed: Any, inject: Inject):
    results, spent = undisturbed
    command = zygote.start(race)
    command.sleep_until_spent(0.9 * draw_moment("race", number, MOMENTS) * spent)
    if not command.kill():
        pytest.skip("it ended before the moment came")
    inject("parent of a race killed")
    assert race.wait_for_deaths() == []
    zygote.finish(race)
    assert audit(race, results) == []


@pytest.mark.faults
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_of_a_race_dies(point: str, race: Place, zygote: Zygote, undisturbed: Any, inject: Inject):
    command = zygote.lose_worker(race, point)
    inject("worker of a race dead within a commit")
    assert "is tried again" in command.said
    zygote.finish(race)
    assert audit(race, undisturbed[0]) == []


@pytest.mark.faults
@pytest.mark.parametrize("heard", ["waits for the others after epoch 3", "epoch 8/", "pruned after 3 epochs"])
def test_one_signal_stops_a_race(heard: str, race: Place, zygote: Zygote, undisturbed: Any, inject: Inject):
    command = zygote.start(race)
    assert command.hears(heard), command.said
    os.killpg(command.pid, signal.SIGTERM)
    inject("race stopped")
    assert command.wait() in (0, 143), command.said
    assert "RUNNING" not in {run["status"] for run in read_mlflow(race.root)}
    assert race.wait_for_deaths() == []
    zygote.finish(race)
    assert audit(race, undisturbed[0]) == []
