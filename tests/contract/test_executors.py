"""One suite over every executor: what is submitted comes back, in order, and a lost run is a `RunError`."""

import threading
import time

import pytest

from orchestrator.errors import RunError, RunStoppedError
from orchestrator.execution.inline import InlineExecutor
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import Workplace
from tests.execution.targets import HERE, ignore, read, spec
from tests.factories import make_history

EXECUTORS = {
    "inline": InlineExecutor,
    "one worker": lambda target: ProcessExecutor(target, workers=1),
    "two workers": lambda target: ProcessExecutor(target, workers=2),
}
TIMEOUT_S = 60


@pytest.fixture(params=EXECUTORS)
def build(request):
    return lambda name: EXECUTORS[request.param](f"{HERE}:{name}")


def error_of(future):
    return future.exception(TIMEOUT_S)


def test_a_result_arrives_with_its_epochs_in_order(build, tmp_path):
    seen = []
    with build("count") as executor:
        future = executor.submit(spec(), Workplace(directory=str(tmp_path)), seen.append)
        result = future.result(TIMEOUT_S)
    assert tuple(seen) == make_history((0.1, 0.2, 0.3, 0.4))  # all of them before the result
    assert read(result) == {"seed": 0}
    assert result.fingerprint == spec().fingerprint


def test_a_run_that_pauses_says_where_it_stands(build, tmp_path):
    seen = []
    with build("pause") as executor:
        place = Workplace(directory=str(tmp_path), until_epoch=2)
        stands = executor.submit(spec(), place, seen.append).result(TIMEOUT_S)
    assert (stands.fingerprint, stands.epochs, stands.val_correct) == (spec().fingerprint, 2, (True, False))
    assert stands.history == tuple(seen) == make_history((0.1, 0.2))


def test_each_future_has_the_result_of_its_own_run(build, tmp_path):
    seen = {seed: [] for seed in range(5)}
    with build("count") as executor:
        futures = {
            seed: executor.submit(spec(seed), Workplace(directory=str(tmp_path / str(seed))), seen[seed].append)
            for seed in seen
        }
        assert {seed: read(future.result(TIMEOUT_S)) for seed, future in futures.items()} == {
            seed: {"seed": seed} for seed in seen
        }
    assert all(tuple(epochs) == make_history((0.1, 0.2, 0.3, 0.4)) for epochs in seen.values())


def test_an_exception_is_a_run_error_with_its_traceback(build, tmp_path):
    with build("fail") as executor:
        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore))
    assert type(error) is RunError
    assert error.message == "ValueError: the fake broke"
    assert "Traceback" in error.hint
    assert 'raise ValueError("the fake broke")' in error.hint
    assert (error.cause, error.may_pass) == ("error", False)


def test_our_own_errors_keep_message_and_hint(build, tmp_path):
    with build("fail_as_we_do") as executor:
        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore))
    assert (type(error), error.message, error.hint) == (RunError, "data.source: no such folder", "give another")


def test_an_exception_that_cannot_be_pickled_arrives_all_the_same(build, tmp_path):
    with build("fail_unpicklably") as executor:
        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore))
    assert error.message == "UnpicklableError: this and that"


def test_what_a_sink_raises_comes_out_where_it_is_waited_for_and_loses_the_run(build, tmp_path):
    heard = []

    def sink(epoch):
        heard.append(epoch)
        raise OSError("the disk is full")

    with build("count") as executor:
        future = executor.submit(spec(), Workplace(directory=str(tmp_path)), sink)
        with pytest.raises(OSError, match="the disk is full"):
            error_of(future)
        assert error_of(future).message == "OSError: the disk is full"
        assert len(heard) == 1
        # and the next one runs
        assert executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore).result(TIMEOUT_S)


def test_nothing_is_heard_but_where_it_is_waited_for(build, tmp_path):
    seen, done = [], []
    with build("count") as executor:
        future = executor.submit(
            spec(), Workplace(directory=str(tmp_path)), lambda _: seen.append(threading.current_thread())
        )
        future.add_done_callback(lambda _: done.append(threading.current_thread()))
        time.sleep(1.0)  # long enough for a run in a worker to end
        assert (seen, done) == ([], [])
        while not future.done():
            executor.wait(TIMEOUT_S)
    assert seen == [threading.current_thread()] * 4
    assert done == [threading.current_thread()]


def test_waiting_for_nothing_takes_as_long_as_it_says(build):
    with build("count") as executor:
        began = time.monotonic()
        executor.wait(0.3)
        assert 0.25 <= time.monotonic() - began < 3


def test_a_target_that_is_not_there_loses_the_run(build, tmp_path):
    with build("no_such_function") as executor:
        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore))
    assert "no_such_function" in error.message


def test_an_error_keeps_its_cause(build, tmp_path):
    with build("fail_with_a_cause") as executor:
        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore))
    assert (error.message, error.hint, error.cause) == ("the loss is nan", "lower it", "diverged")


def test_a_run_stops_at_the_end_of_its_epoch_and_none_begins_after(build, tmp_path):
    seen = []
    with build("go_on_for_ever") as executor:

        def sink(epoch):
            seen.append(epoch.epoch)
            executor.stop()
            executor.stop()

        error = error_of(executor.submit(spec(), Workplace(directory=str(tmp_path)), sink))
        later = error_of(executor.submit(spec(1), Workplace(directory=str(tmp_path / "later")), ignore))
    assert type(error) is type(later) is RunStoppedError
    assert seen == list(range(len(seen)))
    assert error.message == f"stopped on request after epoch {seen[-1] + 1}"
    assert later.message == "stopped on request before it began"
    assert not error.may_pass
    assert not (tmp_path / "later").exists()


def test_closing_leaves_no_thread(build, tmp_path):
    before = set(threading.enumerate())
    with build("count") as executor:
        executor.submit(spec(), Workplace(directory=str(tmp_path)), ignore).result(TIMEOUT_S)
    assert set(threading.enumerate()) == before


def test_what_has_not_begun_when_the_context_is_left_is_cancelled(build, tmp_path):
    with build("count") as executor:
        futures = [executor.submit(spec(n), Workplace(directory=str(tmp_path / str(n))), ignore) for n in range(4)]
    assert futures[-1].cancelled()
    assert all(future.done() for future in futures)
