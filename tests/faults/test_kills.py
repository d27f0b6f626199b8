"""`kill -9`, at random moments and at each point of a commit: the same command carries on, and all stores agree."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.moments import draw_moment, kill_worker
from tests.faults.sweeps import Place, Whole, Zygote, age_of

pytestmark = pytest.mark.faults

MOMENTS = 20
MIGRATION_S = 8.0
"""CPU seconds that MLflow takes to make its tables, about."""
Inject = Callable[[str], None]

PARENT_POINTS = (
    "optuna.study:Study.enqueue_trial:after:1",  # a point of the plan waits, and nobody asks for it
    "optuna.study:Study.enqueue_trial:after:3",
    "optuna.study:Study.ask:after:2",  # a trial that runs, and that nobody has described
    "orchestrator.search.study:OptunaSearch.propose:after:2",
    "orchestrator.tracking.fanout:FanoutTracker.start_run:before:2",
    "orchestrator.tracking.fanout:FanoutTracker.start_run:after:1",
    "orchestrator.tracking.mlflow.run:MlflowRun.log_epoch:after:3",
    "orchestrator.tracking.tensorboard:TensorBoardRun.log_epoch:before:2",
    "orchestrator.tracking.fanout:FanoutRun.finish:before:1",
    "orchestrator.tracking.mlflow.run:MlflowRun.finish:after:1",
    "orchestrator.tracking.fanout:FanoutRun.finish:after:2",
    "orchestrator.storage.ledger:Ledger.enter:after:1",
    "orchestrator.search.study:OptunaSearch._keep_runs:after:1",
    "orchestrator.search.study:OptunaSearch.tell:after:1",
    "orchestrator.search.study:OptunaSearch.tell:after:3",
    "orchestrator.tracking.fanout:FanoutTracker.end_sweep:before:1",
    "orchestrator.tracking.fanout:FanoutTracker.end_sweep:after:1",
    "orchestrator.search.study:OptunaSearch.close:after:1",
)
"""Where the parent dies: around each step of the order that `orchestrator/sweep.py` gives."""
WORKER_POINTS = (
    "orchestrator.storage.files:write_atomically:after:2",  # a digest, and no file beside it
    "orchestrator.storage.files:write_checked:after:3",  # a better best-NNN.ckpt, and the older last-NNN.ckpt
    "orchestrator.storage.files:write_checked:after:4",  # last-NNN.ckpt twice
    "orchestrator.storage.files:write_checked:after:9",  # best.ckpt, and no result
)
REAL_WORKER_POINTS = (
    "orchestrator.training.run.checkpoints:write_checked:before:1",
    "orchestrator.training.run.checkpoints:write_checked:after:1",
    "orchestrator.training.run.checkpoints:write_checked:after:3",
    "orchestrator.training.run.checkpoints:write_checked:after:4",
    "orchestrator.training.run.checkpoints:CheckpointFolder.keep:after:3",
    "orchestrator.training.run.checkpoints:CheckpointFolder.publish:before:1",
    "orchestrator.training.run.checkpoints:CheckpointFolder.publish:after:1",
    "orchestrator.training.run.run:write_atomically:after:2",  # the result, with what it replaces still there
)


@pytest.mark.parametrize("number", range(MOMENTS))
def test_the_parent_is_killed(
    number: int, tmp_path: Path, mlflow_store_template: Path, zygote: Zygote, whole: Whole, inject: Inject
):
    seconds = draw_moment("parent", number, MOMENTS) * whole.spent
    place = Place(tmp_path / "0", mlflow_store_template)
    for again in range(1, 5):
        command = zygote.start(place)
        command.sleep_until_spent(seconds)
        if command.kill():
            break
        seconds *= 0.9  # it was quicker than the one that was measured: another one dies a little earlier
        place = Place(tmp_path / str(again), mlflow_store_template)
    assert command.code == -9
    inject("parent killed")
    assert place.wait_for_deaths() == []
    if number % 5 == 2 and (place.root / "optuna.db").exists():
        assert place.status()["alive"] is False
    zygote.finish(place)
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("number", range(MOMENTS // 2))
def test_a_worker_is_killed(
    number: int,
    retries: int,
    tmp_path: Path,
    mlflow_store_template: Path,
    zygote: Zygote,
    whole: Whole,
    inject: Inject,
):
    """Without retries its trial fails, and the next call trains it; with one it is tried again in the same call."""
    share = draw_moment(f"worker, {retries} retries,", number, MOMENTS // 2)
    place = Place(tmp_path / "0", mlflow_store_template)
    for again in range(1, 5):
        command = zygote.start(place, "-s", f"execution.retries={retries}")
        killed = kill_worker(command, share, whole.workers, age_of)
        if killed:
            break
        command.wait()
        share *= 0.9  # it was quicker than the one that was measured: another one dies a little earlier
        place = Place(tmp_path / str(again), mlflow_store_template)
    assert killed
    inject("worker killed")
    code = command.wait()
    assert code == (0 if retries else 4), command.said
    assert ("is tried again" in command.said) == bool(retries)
    assert "Traceback" not in command.said
    zygote.finish(place, "-s", f"execution.retries={retries}")
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("who", ["parent", "worker"])
def test_a_run_is_killed_before_its_first_checkpoint(
    who: str, place: Place, zygote: Zygote, whole: Whole, inject: Inject
):
    """Its epochs are tracked already, and are trained again: they stand there once, with the same numbers."""
    rarely = ("-s", "execution.checkpoint_share=0.000001")
    command = zygote.start(place, *rarely)
    assert command.hears("epoch 2/3")
    assert list(place.root.glob("checkpoints/*/last-*")) == []
    if who == "parent":
        assert command.kill()
    else:
        worker = command.worker()
        assert worker is not None
        worker.kill()
        assert command.wait() == 0, command.said
    inject(f"{who} killed before the first checkpoint")
    zygote.finish(place, *rarely)
    assert place.audit(whole.found) == []


@pytest.mark.parametrize(("number", "point"), list(enumerate(REAL_WORKER_POINTS)))
def test_a_worker_dies_in_the_middle_of_a_commit(
    number: int, point: str, place: Place, zygote: Zygote, whole: Whole, inject: Inject
):
    faults = {"FAULT_FUNCTION": "tests.faults.resuming:train_really", "FAULT_WORKER_POINT": point}
    command = zygote.start(place, "-s", f"execution.retries={number % 2}", **faults)
    command.wait()
    assert (place.folder / "once").exists(), f"the point was never reached: {command.said}"
    inject("worker dead within a commit")
    zygote.finish(place)
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.6, 0.8])
def test_the_parent_is_killed_while_it_makes_the_stores(
    share: float, tmp_path: Path, zygote: Zygote, whole: Whole, inject: Inject
):
    place = Place(tmp_path, None)
    command = zygote.start(place)
    assert command.wait_until((place.root / ".mlflow.db.tmp").exists)
    command.sleep_until_spent(command.spent + share * MIGRATION_S)
    assert command.kill()
    inject("parent killed while it makes the stores")
    zygote.finish(place)
    assert place.audit(whole.found) == []


def test_parent_and_worker_are_killed_again_and_again(place: Place, zygote: Zygote, whole: Whole, inject: Inject):
    for number in range(6):
        command = zygote.start(place)
        share = draw_moment("again and again", number, 6)
        if number % 2:
            command.sleep_until_spent((0.3 + 0.6 * share) * whole.spent)
            killed = command.kill()
        else:
            killed = kill_worker(command, share, whole.workers, age_of)
            command.kill()
        if killed:
            inject("one of many kills of one sweep")
    zygote.finish(place)
    assert place.audit(whole.found) == []


@pytest.mark.parametrize("point", PARENT_POINTS)
def test_the_parent_dies_in_the_middle_of_a_commit(
    point: str, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    zygote.lose_parent(quick_place, point)
    inject("parent dead within a commit")
    assert quick_place.wait_for_deaths() == []
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_of_a_quick_sweep_dies_in_the_middle_of_a_commit(
    point: str, quick_place: Place, zygote: Zygote, quick_whole: Whole, inject: Inject
):
    command = zygote.lose_worker(quick_place, point)
    inject("worker dead within a commit")
    assert "is tried again" in command.said
    zygote.finish(quick_place)
    assert quick_place.audit(quick_whole.found) == []
