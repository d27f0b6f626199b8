"""The table of layouts: each is read as a person would, or refused with what can be done about it."""

import re
from collections import Counter

import pytest

from orchestrator.config.models import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.sources import Source, examine_source
from tests.training.beside_cases import BESIDE
from tests.training.cases import Case, prepare
from tests.training.folder_cases import FOLDERS
from tests.training.table_cases import LISTS, TABLES

CASES = (*FOLDERS, *BESIDE, *TABLES, *LISTS)


def count(source: Source) -> dict[str, dict[str, int]]:
    """Count the images of each class in each stored split."""
    names = source.opened.class_names
    return {
        split: {names[label]: number for label, number in sorted(Counter(rows.labels).items())}
        for split, rows in source.opened.rows.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.name))
def test_a_layout_is_read_rightly_or_refused_with_a_way_out(case: Case, tmp_path):
    place = prepare(case, tmp_path)
    config = DataConfig(source=str(place), image_size=8, validation_fraction=0.25, **case.options)
    if case.refused:
        with pytest.raises(ConfigError) as caught:
            examine_source(config, decode=False).problems.raise_any()
        missing = [part for part in case.refused if part not in caught.value.message]
        assert missing == [], caught.value.message
        assert case.hint in (caught.value.hint or "")
        assert max(map(len, caught.value.message.splitlines())) < 600
        return
    source = examine_source(config, decode=False)
    source.problems.raise_any()
    assert count(source) == {split: dict(counts) for split, counts in case.reads.items()}
    assert list(count(source)["train"]) == list(case.reads["train"])  # the order of the labels
    text = "\n".join(source.notes)
    for part in case.notes:
        assert part in text
    if case.same is not None:
        assert source.fingerprint == case.same


def test_the_table_is_as_long_as_it_was_promised():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
