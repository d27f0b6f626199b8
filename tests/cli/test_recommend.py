"""What the shell says of a sweep that keeps predictions."""

import csv
import io
import json

import pytest

from tests.factories import PREFIXES
from tests.predicted import draw_correct, make_predicted_sweep


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    found = make_predicted_sweep(tmp_path, PREFIXES, draw_correct((0.95, 0.95, 0.95, 0.95, 0.94, 0.6), seeds=3, seed=1))
    monkeypatch.setattr("orchestrator.results.load_sweep", lambda name, root: found)
    return found


@pytest.fixture
def ask(command, sweep):
    def run(*words: str) -> tuple[int, str, str]:
        done = command(*words)
        return done.code, done.out, done.err

    return run


def test_pareto_recommends_on_stderr(ask, sweep):
    code, out, err = ask("pareto", "beans", "-f", "csv")
    assert code == 0
    assert [float(row["p_front"]) for row in csv.DictReader(io.StringIO(out))] == [
        row["p_front"] for row in sweep.front_rows()
    ]
    found = sweep.recommend()
    assert err == f"recommended: {found.sentence} ({found.basis}); {found.outlook}\n"


def test_recommend_gives_the_sentence_and_its_numbers(ask, sweep):
    _, out, _ = ask("recommend", "beans", "--margin", "0.02", "--confidence", "0.9", "-f", "json")
    found = sweep.recommend(0.02, 0.9)
    answer = json.loads(out)
    assert (answer["recommended"], answer["outlook"], answer["basis"]) == (found.sentence, found.outlook, found.basis)
    assert (answer["trial"], answer["frozen"], answer["label"]) == (found.number, found.frozen, found.label)
    assert (answer["margin"], answer["confidence"], answer["confident"]) == (0.02, 0.9, found.is_confident)
    assert [answer[key] for key in ("probability", "loss", "loss_low", "loss_high")] == [
        found.probability,
        found.loss,
        found.loss_low,
        found.loss_high,
    ]
    assert (answer["open"], answer["further_seeds"]) == (list(found.open), found.further_seeds)
    assert answer["expected_best_trial"] == sweep.best().number


def test_recommend_says_how_to_write_a_share(ask):
    code, _, err = ask("recommend", "beans", "--margin", "5")
    assert code == 2
    assert "margin is a fraction in [0, 1], not 5" in err
    assert "for 5 points say 0.05" in err
    code, _, err = ask("recommend", "beans", "--confidence", "90")
    assert code == 2
    assert "for 90 percent say 0.9" in err


def test_compare_gives_a_row_for_each_step_of_the_front(ask, sweep):
    _, out, _ = ask("compare", "beans")
    assert len(out.splitlines()) == 2 + len(sweep.comparison_rows())  # head and rule
    assert "p_value_adjusted" in out


def test_best_follows_its_rule(ask, sweep):
    for rule in ("expected", "supported", "measured"):
        _, out, _ = ask("best", "beans", "--rule", rule, "-f", "json")
        assert json.loads(out)["frozen"] == sweep.best(rule=rule).frozen
    assert json.loads(ask("best", "beans", "-f", "json")[1])["rule"] == "expected"
    assert ask("best", "beans", "--rule", "nice")[0] == 2
    assert "measured" in ask("best", "beans", "--rule", "point")[2]
