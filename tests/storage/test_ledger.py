"""The ledger of trainings: who may train, and from where an interrupted one goes on."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from orchestrator.errors import SetupError
from orchestrator.storage.files import write_checked
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from tests.factories import make_result, make_spec

NAME = "abc"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Root.at(tmp_path))


def write(ledger, name):
    path = ledger.directory(NAME) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checked(path, lambda file: file.write(f"content of {name}".encode()))
    return path


def write_last(ledger, epoch):
    write(ledger, "best-000.ckpt")
    return write(ledger, f"last-{epoch:03d}.ckpt")


def test_a_training_without_checkpoint_starts_anew(ledger):
    assert ledger.find_checkpoint(NAME) == (0, [])


def test_the_newest_whole_checkpoint_counts(ledger):
    for epoch in (3, 1, 12):
        write_last(ledger, epoch)
    assert ledger.find_checkpoint(NAME) == (13, [])  # epochs count from 0


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(ledger):
    write_last(ledger, 1)
    damaged = write_last(ledger, 2)
    content = bytearray(damaged.read_bytes())
    content[3] ^= 1  # one bit
    damaged.write_bytes(content)
    aside = damaged.with_name("last-002.ckpt.damaged")
    assert ledger.find_checkpoint(NAME) == (2, [aside])
    assert aside.read_bytes() == content
    assert ledger.find_checkpoint(NAME) == (2, [])


def test_a_checkpoint_without_digest_does_not_count(ledger):
    path = write_last(ledger, 0)
    path.with_name(f"{path.name}.sha256").unlink()
    assert ledger.find_checkpoint(NAME)[0] == 0


@pytest.mark.parametrize("damage", ["missing", "damaged", "only a later one"])
def test_a_checkpoint_without_its_best_weights_does_not_count(damage, ledger):
    last, best = write_last(ledger, 2), ledger.directory(NAME) / "best-000.ckpt"
    if damage == "damaged":
        best.write_bytes(best.read_bytes()[:-1])
    else:
        best.unlink()
    if damage == "only a later one":  # the best of an epoch that no last-NNN.ckpt tells of
        write(ledger, "best-003.ckpt")
    assert ledger.find_checkpoint(NAME) == (0, [last.with_name("last-002.ckpt.damaged")])


def test_the_best_weights_may_be_published_already(ledger):
    write_last(ledger, 2)
    (ledger.directory(NAME) / "best-000.ckpt").unlink()
    write(ledger, "best.ckpt")
    assert ledger.find_checkpoint(NAME) == (3, [])


def test_a_training_is_claimed_once(ledger):
    with ExitStack() as first, ExitStack() as second:
        assert ledger.claim(NAME, first)
        assert not ledger.claim(NAME, second)
        assert ledger.claim("other", second)
        first.close()
        assert ledger.claim(NAME, second)


# Results, whole and not


def write_result(ledger, result, **more):
    folder = ledger.directory(result.fingerprint)
    folder.mkdir(parents=True)
    (folder / "best.ckpt").touch()
    values = {**json.loads(result.model_dump_json()), **more}
    (folder / "result.json").write_text(json.dumps(values))
    return folder / "result.json"


def test_a_result_with_what_a_later_version_found_besides_answers(ledger):
    result = make_result()
    write_result(ledger, result, version=99, val_brier=0.1)
    assert ledger.find_result(result.fingerprint) == result


def test_a_damaged_result_does_not_answer_and_is_named(ledger, caplog):
    path = write_result(ledger, make_result())
    path.write_text(path.read_text()[:-9])
    assert ledger.find_result(make_result().fingerprint) is None
    (said,) = caplog.messages
    assert said.startswith(f"{path} is damaged and counts as if it were not there: ")


def test_a_result_that_a_later_version_wrote_otherwise_is_not_trained_over(ledger):
    path = write_result(ledger, make_result(), version=99, val_acc={"mean": 0.5})
    with pytest.raises(SetupError, match=rf"^cannot read {path}: a later version .*; val_acc: "):
        ledger.find_result(make_result().fingerprint)


# Trainings that are named by how often they logged


def begin(ledger, steps, *, version=0, finished=False, name=None, **trainer):
    """Leave the specification of a training; returns it."""
    spec = make_spec()
    changed = spec.trainer.model_copy(update={"log_every_n_steps": steps, **trainer})
    spec = spec.model_copy(update={"trainer": changed, "version": version})
    folder = ledger.directory(name or spec.fingerprint)
    folder.mkdir(parents=True)
    exclude = {"version"} if version == 0 else set()
    (folder / "spec.json").write_text(spec.model_dump_json(exclude=exclude))
    if finished:
        (folder / "result.json").touch()
    return spec


def test_a_training_of_version_0_1_is_found_whatever_it_logged(ledger):
    begin(ledger, 7)
    assert ledger.find_older() == {make_spec().fingerprint: 7}
    assert make_spec().as_of_0(7).fingerprint in {path.name for path in ledger.directory("x").parent.iterdir()}


def test_a_finished_one_goes_before_one_that_was_begun(ledger):
    begin(ledger, 7)
    begin(ledger, 5, finished=True)
    begin(ledger, 9)
    assert ledger.find_older() == {make_spec().fingerprint: 5}


@pytest.mark.parametrize(("finished", "found"), [(True, {}), (False, {make_spec().fingerprint: 7})])
def test_one_under_todays_name_goes_before_it_if_it_is_as_far(ledger, finished, found):
    begin(ledger, 10, finished=finished)
    begin(ledger, 7, finished=True)
    assert ledger.find_older() == found


def test_what_has_another_name_is_none_of_them(ledger):
    begin(ledger, 10)
    begin(ledger, 11, version=1, name="another")
    # an older version named it otherwise, and computed otherwise: it does not answer
    begin(ledger, 7, name="0123456789abcdef")
    (ledger.directory("damaged")).mkdir()
    (ledger.directory("damaged") / "spec.json").write_text("{")
    assert ledger.find_older() == {}


CLAIM = """
import sys, time
from contextlib import ExitStack
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
assert Ledger(Root.at(sys.argv[1])).claim("abc", ExitStack())
stack = ExitStack()
print(Ledger(Root.at(sys.argv[1])).claim("def", stack), flush=True)
time.sleep(60)
"""


def test_the_claim_of_a_killed_process_is_free_again(ledger, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CLAIM, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"True\n"
    with ExitStack() as stack:
        assert not ledger.claim("def", stack)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert ledger.claim("def", stack)
