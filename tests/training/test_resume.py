"""An interrupted training continues from its last checkpoint, and ends as one that was never interrupted."""

import pytest

from orchestrator.errors import RunStoppedError
from orchestrator.records import Workplace
from orchestrator.training.run import run_training
from tests.training.test_run import without_times
from tests.training.tiny import make_spec, train

SPEC = make_spec("stem+layer1", max_epochs=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nobody interrupts."""
    return train(SPEC, tmp_path_factory.mktemp("whole"))[0]


def interrupt(folder, after):
    """Train until an epoch was seen, and stop there."""
    seen = []

    def sink(metrics):
        seen.append(metrics)
        if metrics.epoch == after:
            raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError, match="stopped"):
        run_training(SPEC, Workplace(directory=str(folder)), sink)
    return seen


@pytest.mark.parametrize("after", [0, 2])
def test_a_continued_training_equals_an_uninterrupted_one_to_the_last_bit(whole, tmp_path, after):
    first = interrupt(tmp_path, after)
    assert [metrics.epoch for metrics in first] == list(range(after + 1))
    result, seen = train(SPEC, tmp_path)
    assert without_times(result) == without_times(whole)
    assert [metrics.epoch for metrics in seen] == [0, 1, 2, 3]  # the earlier epochs are told once more
    assert seen[: after + 1] == first  # with the times that they took then: they were not trained again
    assert not list(tmp_path.glob("last-*"))


def test_a_damaged_checkpoint_starts_the_training_over(whole, tmp_path):
    first = interrupt(tmp_path, 1)
    (last,) = tmp_path.glob("last-*.ckpt")
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    last.write_bytes(content)
    result, seen = train(SPEC, tmp_path)
    assert without_times(result) == without_times(whole)
    assert [metrics.epoch for metrics in seen] == [0, 1, 2, 3]
    assert seen[:2] != first  # trained again, so with other times
