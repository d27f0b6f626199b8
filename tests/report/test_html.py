"""The page is parsed as a browser would, and holds what was put in."""

import json
import re
from html.parser import HTMLParser

import pytest

from orchestrator.report.html import write_page
from orchestrator.report.pictures.series import build_series
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import PREFIXES, make_experiment, make_run, make_trial, make_trials
from tests.predicted import draw_correct, make_predicted_sweep
from tests.report.sweeps import make_sweep

EVIL = "<script>alert('x')</script>&\"</title>"


class Page(HTMLParser):
    """Collects tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open = tag
        self.sources += [value for key, value in attrs if key in {"src", "href"} and value]

    def handle_data(self, data):
        self.words[self._open] = self.words.get(self._open, "") + data


def write(sweep: Sweep, tmp_path) -> tuple[str, Page]:
    path = write_page(sweep, build_series(sweep), tmp_path / "pareto.html")
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_page_is_one_file(tmp_path):
    text, page = write(make_sweep(PREFIXES, tmp_path), tmp_path)
    assert len(text) > 1_000_000  # plotly itself is inside
    assert page.sources == []
    assert page.words["title"].strip() == "Pareto front of beans"


def test_page_says_frozen_set_accuracy_parameters_and_run(tmp_path):
    text, page = write(Sweep(Root.at(tmp_path), make_experiment(), make_trials()), tmp_path)
    assert "trial_002_stem+layer1_seed0" in text
    assert "11,020,547" in page.words["td"]
    assert "96.00% (88.6% to 99.1%)" in page.words["td"]  # Wilson's interval of 58 of 60 images


def test_page_draws_the_interval_of_each_accuracy(tmp_path):
    sweep = Sweep(Root.at(tmp_path), make_experiment(), make_trials())
    text, _ = write(sweep, tmp_path)
    drawn = [
        (y + above, y - below)
        for bars, ys in re.findall(r'"error_y":({.*?}).*?"y":(\[.*?\])', text)
        for y, above, below in zip(
            json.loads(ys), json.loads(bars)["array"], json.loads(bars)["arrayminus"], strict=True
        )
    ]
    wanted = [(row["val_acc_high"], row["val_acc_low"]) for row in sweep.trial_rows()]
    assert sorted(drawn) == [pytest.approx(ends) for ends in sorted(wanted)]


def test_what_users_wrote_is_escaped(tmp_path):
    clean, expected = write(Sweep(Root.at(tmp_path), make_experiment("x"), [make_trial(0, "stem")]), tmp_path)
    run = make_run(0, "stem", name=EVIL)
    sweep = Sweep(Root.at(tmp_path), make_experiment(EVIL), [make_trial(0, "stem", runs=(run,))])
    text, page = write(sweep, tmp_path)
    assert page.tags == expected.tags
    assert page.words["title"].strip() == f"Pareto front of {EVIL}"
    assert "<script>alert" not in text
    assert "<script>alert" not in clean


@pytest.mark.parametrize("predicted", [True, False])
def test_page_explains_its_shades_where_there_are_some(tmp_path, predicted):
    if predicted:
        sweep = make_predicted_sweep(tmp_path, PREFIXES[:2], draw_correct((0.9, 0.8), seeds=1))
    else:
        sweep = make_sweep(PREFIXES[:2], tmp_path)
    page = write_page(sweep, build_series(sweep), tmp_path / "page.html").read_text()
    assert ("Filled by the probability" in page) == predicted
    assert ("Recommended: " in page) == predicted
