"""What a specification's fingerprint survives: fields that come later, and how often a run logs.

`fingerprints.json` was written by version 0.1; see `tests/data/README.md`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, create_model

from orchestrator.config.data import SyntheticConfig
from orchestrator.config.fields import Section
from orchestrator.records.document import DOCUMENT_VERSION, read_document
from orchestrator.records.identity import FIELDS_OF_RECIPE_6, NO_PART
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.synthetic import fingerprint_synthetic
from tests.factories import make_spec

TABLE = json.loads((Path(__file__).parents[1] / "data" / "fingerprints.json").read_text())
SPECS = [(read_document(RunSpec, row["spec"], row["name"]), row["fingerprint"]) for row in TABLE]
SECTIONS = ("data", "model", "trainer")


class Turning(Section):
    """A section as a later version may have one."""

    kind: Literal["turning"] = "turning"
    degrees: float = 0.0
    flip: bool = False


class Cutting(Section):
    kind: Literal["cutting"] = "cutting"
    degrees: float = 0.0


def grow(spec: RunSpec, section: str | None, annotation: Any, default: object, **value: object) -> RunSpec:
    """Build `spec` as a version would that knows one more field, `later`, in a section or (None) beside them."""
    known: BaseModel = spec if section is None else getattr(spec, section)
    kind = create_model("Grown", __base__=type(known), later=(annotation, default))
    grown = kind.model_construct(**{name: getattr(known, name) for name in type(known).model_fields}, **value)
    return grown if section is None else spec.model_copy(update={section: grown})


def keys_of(kind: type[BaseModel], prefix: str = "") -> set[str]:
    """List the fields of a record and of the sections in it, as dotted keys."""
    keys = set()
    for name, field in kind.model_fields.items():
        keys.add(f"{prefix}{name}")
        if name in {*SECTIONS, "synthetic"}:
            keys |= keys_of(field.annotation, f"{prefix}{name}.")
    return keys


def test_the_table_is_that_of_version_0_1():
    assert len(TABLE) == 26
    assert len({row["fingerprint"] for row in TABLE}) == 22  # `beans-all` answers from `beans` on each of four devices


@pytest.mark.parametrize(("spec", "fingerprint"), SPECS, ids=[row["name"] for row in TABLE])
def test_a_fingerprint_is_what_it_was(spec, fingerprint):
    assert spec.fingerprint == fingerprint
    today = spec.model_copy(update={"version": DOCUMENT_VERSION})
    assert (today.fingerprint == fingerprint) == (spec.trainer.log_every_n_steps == 10)


@pytest.mark.parametrize("section", [*SECTIONS, None])
@pytest.mark.parametrize(
    ("annotation", "default", "other"),
    [(float, 0.0, 0.5), (str | None, None, "x"), (Turning, Turning(), Turning(flip=True)), (int | None, 1, None)],
    ids=["number", "text", "section", "nothing"],
)
def test_a_field_that_comes_later_orphans_nothing_and_tells_what_it_changes_apart(section, annotation, default, other):
    for spec, fingerprint in SPECS:
        assert grow(spec, section, annotation, default).fingerprint == fingerprint
        assert grow(spec, section, annotation, default, later=other).fingerprint != fingerprint


def test_a_field_that_comes_later_to_a_section_that_came_later_orphans_nothing():
    spec = make_spec()
    wider = create_model("Wider", __base__=Turning, more=(int, 0))
    chosen = grow(spec, "trainer", Turning, Turning(), later=Turning(degrees=10.0))
    again = grow(spec, "trainer", wider, wider(), later=wider(degrees=10.0))
    other = grow(spec, "trainer", wider, wider(), later=wider(degrees=10.0, more=1))  # type: ignore[call-arg]
    assert again.fingerprint == chosen.fingerprint != other.fingerprint


def test_kinds_of_a_section_are_told_apart_at_their_defaults():
    either = Turning | Cutting | None
    found = {grow(make_spec(), "data", either, None, later=value).fingerprint for value in (Turning(), Cutting(), None)}
    assert len(found) == 3


def test_fields_that_come_later_to_drawn_images_leave_their_fingerprint_as_it_was():
    text = 'synthetic:1:32:{"classes":3,"train":24,"validation":12,"test":9,"seed":0}'  # as version 0.1 hashed it
    before = hashlib.sha256(text.encode()).hexdigest()
    known = {"train": 24, "validation": 12, "test": 9}
    grown = create_model("Grown", __base__=SyntheticConfig, noise=(float, 0.0))
    assert fingerprint_synthetic(SyntheticConfig(**known), 32) == before
    assert fingerprint_synthetic(grown(**known), 32) == before
    assert fingerprint_synthetic(grown(**known, noise=0.5), 32) != before


def test_what_is_always_identity_and_what_never_is_are_fields_and_no_field_is_both():
    assert keys_of(RunSpec) >= FIELDS_OF_RECIPE_6 | NO_PART
    assert not FIELDS_OF_RECIPE_6 & NO_PART
    # the two that stand in an identity under a condition; whatever else there is came later
    assert keys_of(RunSpec) - FIELDS_OF_RECIPE_6 - NO_PART >= {"data.value_range", "trainer.matmul_precision"}


def test_how_often_a_run_logs_is_no_part_of_it_but_in_what_version_0_1_wrote():
    def at(steps: int, version: int | None = None) -> RunSpec:
        spec = make_spec()
        spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"log_every_n_steps": steps})})
        return spec if version is None else spec.model_copy(update={"version": version})

    assert len({at(steps).fingerprint for steps in (1, 7, 10, 11)}) == 1
    assert len({at(steps, 0).fingerprint for steps in (1, 7, 10, 11)}) == 4
    assert at(7).fingerprint == at(10, 0).fingerprint
    assert at(11).as_of_0(7) == at(7, 0)
