"""Every search of the cheat sheet, run against a store with real runs."""

import pytest
from mlflow import MlflowClient

from orchestrator.records.spec import run_name
from orchestrator.report.searches import CHEAT_SHEET
from orchestrator.tracking.mlflow.tracker import MlflowTracker
from tests.factories import (
    PREFIXES,
    make_history,
    make_result,
    make_run_start,
    make_summary,
    make_sweep_start,
    make_trial,
)

# trial: frozen set, val_acc, gap, duration_s; trainable parameters by hand from the table of blocks:
#   0 none                         11_178_051   the most accurate: on the front
#   1 stem                         11_168_515   beaten by 2: fewer parameters and more accurate
#   2 stem+layer1                  11_020_547   on the front
#   3 stem+layer1+layer2           10_494_979   on the front
#   4 stem+layer1+layer2+layer3     8_395_267   failed
#   5 all                               1_539   on the front, and accurate within the budget
#   6 none, seed 1                              killed
ACCURACIES = {0: 0.99, 1: 0.80, 2: 0.97, 3: 0.85, 5: 0.92}
GAPS = {0: 0.0, 1: 0.15, 2: 0.01, 3: 0.12, 5: 0.05}
DURATIONS = {0: 90.0, 1: 50.0, 2: 40.0, 3: 70.0, 5: 10.0}
FRONT = [0, 2, 3, 5]

EXPECTED = {
    "the front, from cheap to dear": [5, 3, 2, 0],
    "accurate enough, within a budget of parameters": [5],
    "all finished runs, the most accurate first": [0, 2, 5, 3, 1],
    "runs that freeze layer1": {2, 3, 4, 5},
    "runs that freeze the stem and train layer4": {1, 2, 3, 4},
    "runs that train all of layer4": {0, 1, 2, 3, 4, 6},
    "one frozen set: every trial and seed": {2},
    "frozen sets with both names in them": {2, 3, 4, 5},
    "runs of one trial": {0},
    "runs with one seed": {0, 1, 2, 3, 4, 5},
    "accuracy of the last epoch": {0, 2, 3, 5},
    "runs that overfit": [1, 3],
    "quick runs": [5, 2, 1],
    "runs that failed": {4},
    "runs that were stopped": {6},
    "the sweep itself": "demo",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory, mlflow_store_template):
    from orchestrator.storage.layout import Root

    root = Root.at(tmp_path_factory.mktemp("searches"))
    root.mlflow_db.write_bytes(mlflow_store_template.read_bytes())
    tracker = MlflowTracker(root, "demo", None)
    tracker.start_sweep(make_sweep_start())
    for trial, frozen in enumerate(PREFIXES):
        run = tracker.start_run(make_run_start(trial, frozen))
        if trial == 4:
            run.fail("RuntimeError: boom")
            continue
        acc = ACCURACIES[trial]
        history = make_history((acc - 0.2, acc))
        for epoch in history:
            run.log_epoch(epoch)
        train_acc, duration = acc + GAPS[trial], DURATIONS[trial]
        run.finish(make_result(frozen, acc, history=history, train_acc=train_acc, duration_s=duration))
    tracker.start_run(make_run_start(6, "none", seed=1)).kill("interrupted")
    trials = [make_trial(trial, PREFIXES[trial], acc) for trial, acc in ACCURACIES.items()]
    tracker.update_sweep(make_summary(trials, FRONT))
    tracker.end_sweep("failed")
    return MlflowClient(tracking_uri=root.mlflow_uri)


def test_every_search_is_expected_to_find_something():
    assert [example.title for example in CHEAT_SHEET] == list(EXPECTED)


@pytest.mark.parametrize("example", CHEAT_SHEET, ids=lambda example: example.title)
def test_a_search_finds_what_its_title_says(client, example):
    experiment = client.get_experiment_by_name("demo").experiment_id
    found = client.search_runs(
        [experiment], example.query, order_by=[example.order_by] if example.order_by is not None else None
    )
    names = [run.info.run_name for run in found]
    expected = EXPECTED[example.title]
    if expected == "demo":
        assert names == ["demo"]
        return
    every = [run_name(trial, frozen, 0) for trial, frozen in enumerate(PREFIXES)] + [run_name(6, "none", 1)]
    numbers = [every.index(name) for name in names]
    assert (numbers if isinstance(expected, list) else set(numbers)) == expected
    assert len(set(numbers)) == len(numbers)


def test_no_search_uses_what_the_grammar_lacks():
    for example in CHEAT_SHEET:
        words = example.query.lower().split()
        assert not {"or", "not", "between"} & set(words)
        assert "(" not in example.query
