"""The spool on disk: in order, whole lines only, and nothing skipped."""

import json
import os

import pytest

from orchestrator.storage.layout import Root
from orchestrator.tracking.entries import CallOrigin
from orchestrator.tracking.mlflow.spool import Adopted, Ended, Epoch, Latest, Spool, Started
from tests.factories import make_history, make_result, make_run_start, make_summary, make_sweep_start, make_trials

NAN = float("nan")


@pytest.fixture
def root(tmp_path):
    return Root.at(tmp_path)


def open_spool(root, names=""):
    """Open what was left, and append a message for each letter."""
    spool = Spool(root, "demo")
    assert spool.load() == []
    for name in names:
        spool.append(adopted(name))
    return spool


def adopted(name):
    return Adopted(run_id=name, start=make_run_start())


def drain(spool):
    found = []
    while spool.head is not None:
        found.append(spool.head)
        spool.note_delivered()
    return found


def names_of(messages):
    return [message.run_id for message in messages]


def test_every_message_comes_back_as_it_was(root):
    epoch = make_history((0.6,))[0].model_copy(update={"train_loss": NAN, "val_loss": float("inf")})
    messages = [
        Started(key="k", at_ms=1, start=make_run_start(7, "stem+layer1"), origin=CallOrigin.of(make_sweep_start())),
        Epoch(key="k", at_ms=2, metrics=epoch),
        Ended(key="k", at_ms=3, status="finished", result=make_result()),
        Ended(key="k", at_ms=4, status="failed", reason="line 1\nline 2\u2028 \N{SNOWMAN}"),
        Adopted(run_id="abc", start=make_run_start(2, resumes_from=3)),
    ]
    spool = open_spool(root)
    for message in messages:
        spool.append(message)
    found = drain(open_spool(root))
    assert [message.model_dump_json() for message in found] == [message.model_dump_json() for message in messages]
    assert found[0] == messages[0]


def test_an_empty_spool_leaves_no_file(root):
    spool = open_spool(root)
    for name in "ab":
        spool.append(adopted(name))
    assert not spool.is_empty
    assert names_of(drain(spool)) == ["a", "b"]
    assert spool.is_empty
    assert list((root.path / "spool").iterdir()) == []


def test_what_was_delivered_is_not_read_again(root):
    spool = open_spool(root, "abc")
    spool.note_delivered()
    spool = open_spool(root)
    spool.append(adopted("d"))
    assert names_of(drain(open_spool(root))) == ["b", "c", "d"]


def test_a_note_that_outlives_its_lines_skips_nothing(root):
    spool = open_spool(root, "abc")
    spool.note_delivered()
    spool.note_delivered()
    root.spool("demo").unlink()  # a power cut between the two removals, the other way round
    spool = open_spool(root)
    spool.append(adopted("d"))
    assert names_of(drain(open_spool(root))) == ["d"]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_cut_off(root, cut):
    spool = open_spool(root, "abc")
    path = root.spool("demo")
    os.truncate(path, path.stat().st_size - cut)
    spool = open_spool(root)
    spool.append(adopted("d"))
    assert names_of(drain(open_spool(root))) == ["a", "b", "d"]


def test_a_line_that_cannot_be_read_is_set_aside(root):
    spool = open_spool(root, "abc")
    path = root.spool("demo")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "\x00garbage", lines[2]]) + "\n")
    spool = Spool(root, "demo")
    assert spool.load() == ["\x00garbage"]
    assert names_of(drain(spool)) == ["a", "c"]
    assert spool.refused_path.read_text() == "\x00garbage\n"


def test_what_a_full_disk_does_not_take_waits_in_memory(root, monkeypatch):
    spool = open_spool(root)
    spool.append(adopted("a"))

    def fill_up(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fill_up)
        spool.append(adopted("b"))
        spool.append(adopted("c"))
        assert not spool.is_durable
        assert len(root.spool("demo").read_text().splitlines()) == 1
    spool.append(adopted("d"))
    assert spool.is_durable
    assert names_of(drain(open_spool(root))) == ["a", "b", "c", "d"]
    assert names_of(drain(spool)) == ["a", "b", "c", "d"]


def test_messages_in_memory_alone_are_delivered_too(root, monkeypatch):
    spool = open_spool(root)
    monkeypatch.setattr("os.fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for name in "abc":
        spool.append(adopted(name))
    assert names_of(drain(spool)) == ["a", "b", "c"]
    assert spool.is_durable


def test_only_the_latest_state_is_kept(root, tmp_path):
    spool = open_spool(root)
    picture = tmp_path / "pareto.png"
    rows = ({"trial": 0, "val_acc": NAN, "seed": None},)
    for note in ("old", "new"):
        summary = make_summary(make_trials(), [0, 2], note=note, files=(picture,), table=rows)
        spool.keep_latest(Latest(summary=summary, at_ms=5, end="killed"))
    found = open_spool(root)
    assert root.spool("demo").exists()  # it says that something waits
    assert not found.is_empty
    kept = found.latest
    assert (kept.end, kept.at_ms) == ("killed", 5)
    assert (kept.summary.note, kept.summary.front, kept.summary.files) == ("new", (0, 2), (picture,))
    assert json.dumps(kept.summary.table) == json.dumps(rows)
    assert kept.summary.trials == ()
    found.append(adopted("a"))
    assert names_of(drain(found)) == ["a"]
    assert not open_spool(root).is_empty
    found.drop_latest()
    assert open_spool(root).is_empty
    assert list((root.path / "spool").iterdir()) == []
