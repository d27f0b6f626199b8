"""What the shell says of a sweep in which the learning rate varies: three frozen sets, two rates each, one failed."""

import json

import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from tests.factories import make_cost, make_experiment, make_result, make_run

KEYS = ("none", "stem", "layer4")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = Root.at(tmp_path_factory.mktemp("varied"))
    root.create()
    space = {"mode": "list", "frozen": list(KEYS), "lr": {"choices": [1e-3, 3e-3]}}
    for name in ("rates", "other~1"):
        experiment = make_experiment(name, search=SearchConfig.model_validate(space))
        search = OptunaSearch(root, experiment, {key: make_cost(key) for key in KEYS})
        for _ in range(6 if name == "rates" else 1):
            proposal = search.propose()
            number, choice = proposal.number, proposal.choice
            lr = choice.hyperparameters.of_section("trainer")["lr"]
            if (choice.frozen, lr) == ("layer4", 3e-3):
                search.fail(number, "out of memory", [make_run(number, "layer4", error="out of memory")])
                continue
            accuracy = {"none": 0.9, "stem": 0.8, "layer4": 0.7}[choice.frozen] + 10 * lr
            result = make_result(choice.frozen, accuracy)
            folder = Ledger(root).directory(result.fingerprint)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "best.ckpt").write_bytes(b"weights")
            (folder / "result.json").write_text(result.model_dump_json())
            search.tell(number, [make_run(number, choice.frozen, val_acc=accuracy)])
    return root


@pytest.fixture
def ask(command, root):
    return lambda *words: command(*words, "--root", str(root.path))


@pytest.mark.parametrize(("words", "column"), [("trials", 3), ("pareto", 3), ("runs", 2)])
def test_tables_have_the_rate_beside_the_frozen_set(ask, words, column):
    head, _, *lines = ask(words, "rates").out.splitlines()
    assert head.split()[column - 1 : column + 1] == ["frozen", "lr"]
    assert {line.split()[column] for line in lines if "*" in line or words == "runs"} <= {"0.001", "0.003"}
    shown = [tuple(line.split()[column - 1 : column + 1]) for line in lines] if words == "runs" else []
    assert len(set(shown)) == len(shown)


def test_a_frozen_set_that_two_trials_have_is_refused_and_the_hint_leads_on(ask):
    refused = ask("history", "rates", "stem")
    rows = {row["lr"]: row for row in json.loads(ask("trials", "rates", "-f", "json").out) if row["frozen"] == "stem"}
    first, second = rows[1e-3]["trial"], rows[3e-3]["trial"]
    assert (refused.code, refused.out) == (2, "")
    lines = refused.err.splitlines()
    assert lines[0] == "error: frozen set stem means 2 trials of 'rates':"
    assert sorted(lines[1:3]) == sorted(
        [
            f"  {first}: lr=0.001 (complete, val_acc 0.8100)",
            f"  {second}: lr=0.003 (complete, val_acc 0.8300)",
        ]
    )
    command = lines[3].split("`")[1].split()[1:]
    assert ask(*command).code == 0
    for key in (str(second), f"#{second}", "stem lr=0.003"):
        last = json.loads(ask("history", "rates", key, "-f", "json").out)[-1]
        assert (last["epoch"], last["val_acc"]) == (3, pytest.approx(0.83))


def test_status_names_the_highest_measured_trial_and_the_failed_one_with_their_rates(ask):
    status = json.loads(ask("status", "rates", "-f", "json").out)
    assert not [key for key in status if "best" in key]
    assert status["highest_measured_label"] == "none lr=0.003"
    assert status["highest_measured_val_acc"] == pytest.approx(0.93)
    assert [failure["label"] for failure in status["failures"]] == ["layer4 lr=0.003"]
    assert "(layer4 lr=0.003): out of memory" in ask("status", "rates").out


def test_best_says_its_rule_and_names_the_others(ask):
    answer = ask("best", "rates", "-f", "json")
    record = json.loads(answer.out)
    assert (record["rule"], record["label"], record["lr"]) == ("measured", "none lr=0.003", 3e-3)
    assert record["basis"].startswith("the highest measured val_acc: without predictions")
    assert answer.err == (
        f"trial {record['trial']} (none lr=0.003) is chosen by the rule `measured`: {record['basis']}; it is the "
        "highest measured trial too; nothing is recommended: not every complete trial has predictions of the same "
        "images\n"
    )


@pytest.mark.parametrize("words", [("list",), ("status",)])
def test_the_sweeps_under_a_root_are_listed(ask, words):
    rows = json.loads(ask(*words, "-f", "json").out)
    assert [(row["name"], row["state"], row["done"], row["planned"], row["failed"]) for row in rows] == [
        ("other~1", "unfinished", 1, 6, 0),
        ("rates", "unfinished", 5, 6, 1),
    ]
    assert rows[1]["highest_measured_val_acc"] == pytest.approx(0.93)
    lines = ask(*words).out.splitlines()
    assert len(lines) == 4
    assert lines[3].split() == ["rates", "unfinished", "5", "6", "0.9300", "1"]


def test_a_root_without_sweeps_says_how_to_begin(command, tmp_path):
    answer = command("list", "--root", str(tmp_path), "-f", "json")
    assert (answer.code, answer.out) == (0, "[]\n")
    assert "start one with `orchestrator sweep NAME`" in answer.err


def test_a_name_that_is_not_there_lists_those_that_are(ask):
    answer = ask("status", "rate")
    assert answer.code == 3
    assert "there are: other~1, rates" in answer.err
    assert "did you mean 'rates'?" in answer.err
