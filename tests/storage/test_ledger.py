"""The ledger of trainings: who may train, and from where an interrupted one goes on."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from orchestrator.storage.files import write_checked
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger

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
