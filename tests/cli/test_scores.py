"""`orchestrator trials` of a sweep whose blocks were scored."""

import json
import sys

import pytest

from orchestrator.cli import main
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from tests.factories import PREFIXES, make_cost, make_experiment
from tests.scored import SCORES
from tests.search.studies import finish


def test_trials_have_the_scores_and_a_sentence_says_what_they_were_worth(tmp_path, monkeypatch, capsys):
    root = Root.at(tmp_path)
    search = OptunaSearch(root, make_experiment("demo"), {key: make_cost(key) for key in PREFIXES}, SCORES)
    search.require_identity({})
    for accuracy in (0.95, 0.94, 0.96, 0.90, 0.85):
        finish(search, search.propose(), accuracy)
    monkeypatch.setattr(sys, "argv", ["orchestrator", "trials", "demo", "-f", "json", "--root", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    rows = {row["frozen"]: (row["logme"], row["grad_share_frozen"]) for row in json.loads(out)}
    assert rows["none"] == (None, 0)
    assert rows["stem+layer1"] == (-0.4, pytest.approx(5 / 30))
    # of five trials one freezes nothing and has no LogME; ranks 1 to 5 beside 4, 3, 5, 2, 1:
    # 1 - 6 * (9 + 1 + 4 + 4 + 16) / (5 * 24) = -0.7
    assert "LogME of the frozen prefix not stated (4 trials)" in err
    assert "share of the gradient that is frozen -0.70 (5 trials)" in err
