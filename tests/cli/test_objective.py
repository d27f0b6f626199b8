"""Questions for another gain and cost, asked as in the shell."""

import csv
import io
import json

import pytest

from orchestrator.config.models import SearchConfig
from orchestrator.results import load_sweep
from orchestrator.search import OptunaSearch
from orchestrator.storage.layout import Root
from tests.factories import PREFIXES, make_cost, make_experiment, make_trial
from tests.judged import draw_labels, draw_logits, make_scored_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with `demo`, whose six trials have predictions, and `old`, whose trials have none."""
    root = Root.at(tmp_path_factory.mktemp("mlruns"))
    root.create()
    for name in ("demo", "old"):
        experiment = make_experiment(name, search=SearchConfig(seeds=(0, 1) if name == "demo" else (7, 8)))
        search = OptunaSearch(root, experiment, {key: make_cost(key) for key in PREFIXES})
        for _ in PREFIXES:
            proposal = search.propose()
            assert proposal is not None
            number, frozen = proposal.number, proposal.choice.frozen
            runs = make_trial(number, str(frozen), seeds=(7, 8)).runs
            if name == "demo":
                skill = 2.4 - 0.1 * number
                runs = tuple(
                    make_scored_run(
                        root.path, number, str(frozen), seed, draw_logits(skill, draw_labels(), 10 * number + seed)
                    )
                    for seed in (0, 1)
                )
            search.tell(number, runs)
    return root


@pytest.fixture
def ask(command, root):
    return lambda *words: command(*words, "--root", str(root.path))


def test_pareto_of_another_gain_and_cost(ask, root):
    answer = ask("pareto", "demo", "--gain", "macro_f1", "--cost", "s_per_epoch", "-f", "csv")
    frame = load_sweep("demo", root.path).pareto_front(gain="macro_f1", cost="s_per_epoch")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [int(row["trial"]) for row in rows] == frame["trial"].tolist()
    assert [float(row["macro_f1"]) for row in rows] == pytest.approx(frame["macro_f1"].tolist())
    assert answer.code == 0
    assert answer.err.startswith("recommended: ")
    assert "s an epoch" in answer.err
    assert "accuracy" not in answer.err


def test_a_table_begins_with_what_was_asked_for(ask):
    head = ask("pareto", "demo", "--gain", "val_loss", "--cost", "peak_memory_mb").out.splitlines()[0].split()
    assert head[:6] == ["trial", "front", "frozen", "peak_memory_mb", "val_loss", "val_loss_low"]
    assert head[-2:] == ["val_acc", "trainable_params"]


def test_compare_recommend_and_best_take_them_too(ask, root):
    asked = ("--gain", "balanced_accuracy", "--cost", "gflops_train_per_image", "-f", "json")
    sweep = load_sweep("demo", root.path).judged_by("balanced_accuracy", "gflops_train_per_image")
    assert json.loads(ask("compare", "demo", *asked).out) == sweep.comparison_rows()
    found = json.loads(ask("recommend", "demo", *asked).out)
    assert found["recommended"] == sweep.recommend().sentence
    assert "GFLOPs a training image" in found["recommended"]
    best = json.loads(ask("best", "demo", "--rule", "measured", *asked).out)
    highest = max(sweep.trials, key=sweep.objective.value)
    assert (best["trial"], best["balanced_accuracy"]) == (highest.number, sweep.objective.value(highest))


def test_what_is_not_known_is_refused_in_words(ask):
    answer = ask("pareto", "old", "--gain", "macro_f1")
    assert answer.code != 0
    assert "no trial of 'old' has both macro_f1 and trainable_params: trials 0, 1, 2, 3, 4, 5 kept no" in answer.err
    answer = ask("pareto", "old", "--cost", "duration_s")
    assert "did not train here in one piece" in answer.err
    assert ask("pareto", "old", "--gain", "val_loss").code == 0
    assert ask("pareto", "demo", "--gain", "auc").code == 2
