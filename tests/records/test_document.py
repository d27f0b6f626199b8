"""Records as documents: their version, and what is made of documents of other versions."""

import json

import pytest
from pydantic import ValidationError, create_model

from orchestrator.errors import SetupError
from orchestrator.records import document
from orchestrator.records.document import DOCUMENT_VERSION, add_version, read_document, write_document
from orchestrator.records.facts import DatasetInfo
from orchestrator.records.record import Record
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.records.trials import RunRecord
from tests.factories import make_dataset, make_result, make_run, make_spec

LATER = DOCUMENT_VERSION + 1


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(document, "_said", set())


@pytest.mark.parametrize("indent", [None, 1, 2])
@pytest.mark.parametrize("record", [make_result(val_loss=float("nan")), make_run(error="lost")])
def test_a_document_is_the_record_with_its_version_before_it(record, indent):
    text = write_document(record, indent=indent)
    plain = record.model_dump_json(indent=indent)
    first, separator = ('"version":1,', "") if indent is None else ('"version": 1,', "\n" + " " * indent)
    assert text == "{" + separator + first + plain[1:]
    assert read_document(type(record), text, "x").model_dump_json() == record.model_dump_json()


def test_plain_values_have_their_version_before_them():
    assert list(add_version({"a": 1}).items()) == [("version", DOCUMENT_VERSION), ("a", 1)]


def test_a_document_without_version_is_of_version_0():
    spec = make_spec()
    plain = spec.model_dump(mode="json", exclude={"version"})
    assert read_document(RunSpec, plain, "x").version == 0
    assert read_document(RunSpec, spec.model_dump_json(), "x") == spec
    assert read_document(RunResult, make_result().model_dump_json(), "x") == make_result()


@pytest.mark.parametrize("version", [None, DOCUMENT_VERSION, LATER])
def test_what_is_not_known_is_left_out_and_said_once(version, caplog):
    result = make_result()
    values = json.loads(result.model_dump_json())
    values["calibration"] = {"ece": 0.1}
    for epoch in values["history"]:
        epoch["val_brier"] = 0.2
    if version is not None:
        values["version"] = version
    text = json.dumps(values)
    assert read_document(RunResult, text, "a/result.json") == result
    assert read_document(RunResult, text, "b/result.json") == result
    (said,) = caplog.messages
    assert said == (
        f"a/result.json was written by another version of this program (format {version or 0}, this one writes "
        f"{DOCUMENT_VERSION}): what it says of calibration, history.val_brier is not read, here and wherever it stands"
    )


def test_what_a_later_version_wrote_and_cannot_be_read_is_an_error_that_names_it():
    values = {**json.loads(make_result().model_dump_json()), "version": LATER, "more": 1}
    del values["best_epoch"]
    with pytest.raises(SetupError, match=rf"^cannot read r\.json: .*format {LATER}.*; best_epoch: Field required$"):
        read_document(RunResult, json.dumps(values), "r.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"fingerprint": 1}', '{"version": 1}'])
def test_what_is_damaged_is_no_record(text):
    with pytest.raises(ValueError, match=r"EOF|no record|Field required"):
        read_document(RunResult, text, "r.json")


def test_what_is_not_known_within_a_choice_of_types_is_not_guessed_at():
    kind = create_model("Either", __base__=Record, found=(RunSpec | DatasetInfo, ...))
    found = make_dataset().model_dump(mode="json")
    assert read_document(kind, {"found": found}, "x").found == make_dataset()
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        read_document(kind, {"found": {**found, "more": 1}}, "x")


@pytest.mark.parametrize(
    ("known", "state", "error"),
    [
        ({"result": make_result()}, "complete", None),
        ({}, "complete", None),  # as `record.json` has it: the result lies beside it
        ({"error": "out of memory", "cause": "out_of_memory"}, "failed", "out of memory"),
        ({"error": "interrupted"}, "put_off", None),
        ({"error": "dropped after 3 epochs", "pruned_after": 3}, "pruned", "dropped after 3 epochs"),
    ],
)
def test_a_run_of_before_runs_had_a_state_has_the_one_that_follows(known, state, error):
    record = RunRecord(name="trial_000_none_seed0", seed=0, fingerprint="f", **known)
    assert (record.state, record.error) == (state, error)
    assert RunRecord.model_validate_json(record.model_dump_json()) == record
