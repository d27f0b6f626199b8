"""A real training in a worker process: equal to one in this process, also when it was killed and continued."""

import pytest

from orchestrator.errors import RunError
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import Workplace
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.training.run.run import run_training
from tests.training.targets import HERE
from tests.training.tiny import RESNET18, make_spec, without_times

pytestmark = pytest.mark.usefixtures("narrow")
SPEC = make_spec("+".join(RESNET18))
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def killed_and_repeated(tmp_path_factory, narrow, fork_server):
    """A training killed after its first epoch, and what continued it."""
    root = Root.at(tmp_path_factory.mktemp("root"))
    folder = root.run_dir(SPEC.fingerprint)
    folder.mkdir(parents=True)
    place = Workplace(directory=str(folder), threads=1)
    (folder / "die").touch()
    first, second = [], []
    with ProcessExecutor(f"{HERE}:run_narrow_or_die") as executor:
        error = executor.submit(SPEC, place, first.append).exception(TIMEOUT_S)
        left = {path.name for path in folder.iterdir()}, Ledger(root).find_result(SPEC.fingerprint)
        (folder / "die").unlink()
        result = executor.submit(SPEC, place, second.append).result(TIMEOUT_S)
    return root, error, first, left, result, second


def test_a_killed_training_leaves_no_result(killed_and_repeated):
    _, error, first, (names, found), _, _ = killed_and_repeated
    assert type(error) is RunError
    assert (error.message, error.cause) == ("the worker died from signal 9 (SIGKILL)", "died")
    assert [epoch.epoch for epoch in first] == [0]
    assert {"last-000.ckpt", "last-000.ckpt.sha256"} <= names
    assert "result.json" not in names
    assert found is None


def test_the_next_training_continues_it(killed_and_repeated):
    root, _, _, _, result, second = killed_and_repeated
    assert Ledger(root).find_result(SPEC.fingerprint) == result
    assert tuple(second) == result.history
    assert {path.name for path in root.run_dir(SPEC.fingerprint).iterdir()} == {
        "spec.json",
        "best.ckpt",
        "best.ckpt.sha256",
        "predictions.npz",
        "result.json",
        "worker.log",
    }


def test_worker_and_inline_agree_to_the_last_bit(killed_and_repeated, tmp_path):
    *_, result, _ = killed_and_repeated
    here = run_training(SPEC, Workplace(directory=str(tmp_path), threads=1), lambda epoch: None)
    assert without_times(here) == without_times(result)
    assert 100 < result.peak_memory_mb < 64_000


def test_the_worker_says_nothing(killed_and_repeated):
    root, *_ = killed_and_repeated
    assert (root.run_dir(SPEC.fingerprint) / "worker.log").read_text() == ""
