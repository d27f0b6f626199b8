"""A race in the shell: what it prints, how it ends, and what MLflow has of it. Its training is a fake."""

import json
from types import SimpleNamespace

import pytest

from tests.racing import HOPELESS, PARAMS, TRAINED
from tests.tracking.reading import Store

CONFIG = f"""\
experiments:
  demo:
    data: {{source: synthetic, image_size: 32, synthetic: {{train: 8, validation: 4, test: 4}}}}
    model: {{weights: none, num_classes: 3}}
    trainer: {{accelerator: cpu, max_epochs: 9}}
    search:
      mode: list
      frozen: [{", ".join(PARAMS)}]
      strategy: race
      race: {{rungs: [3, 6], max_seeds: 1}}
    execution: inline
"""


@pytest.fixture
def call(command, mlflow_root, tmp_path, monkeypatch):
    """Run `orchestrator` with words; returns exit code, stdout and stderr."""
    config = tmp_path / "experiments.yaml"
    config.write_text(CONFIG)
    monkeypatch.setattr("orchestrator.app.parts.RUN_FUNCTION", "tests.racing:train")
    TRAINED[0] = []

    def run(name: str, *words: str) -> SimpleNamespace:
        place = ("-c", str(config)) if name == "sweep" else ()
        return command(name, "demo", *place, "--root", str(mlflow_root.path), *words)

    return run


def test_a_race_ends_well_and_says_what_it_dropped(call, mlflow_root):
    done = call("sweep")
    assert done.code == 0
    assert "6 runs trained, 2 trials pruned." in done.err
    assert "_stem_seed0: waits for the others after epoch 3" in done.err
    assert "_stem_seed0: pruned after 3 epochs: it ends on the front with a probability of" in done.err
    assert "8 of 8 trials done" in done.err

    status = json.loads(call("status", "-f", "json").out)
    assert {key: status[key] for key in ("complete", "pruned", "failed", "running", "left", "failures", "runs")} == {
        "complete": 6,
        "pruned": 2,
        "failed": 0,
        "running": 0,
        "left": 0,
        "failures": [],
        "runs": [],
    }
    rows = json.loads(call("trials", "-f", "json").out)
    assert {row["frozen"]: row["state"] for row in rows} == {
        key: "pruned" if key in HOPELESS else "complete" for key in PARAMS
    }
    store = Store(mlflow_root)
    killed = {run.data.params["frozen"]: run for run in store.runs().values() if run.info.status == "KILLED"}
    assert sorted(killed) == sorted(HOPELESS)
    for run in killed.values():
        assert "pruned after 3 epochs" in run.data.tags["mlflow.note.content"]
        assert [point.step for point in store.client.get_metric_history(run.info.run_id, "val/acc")] == [1, 2, 3]
    curve = json.loads(call("history", HOPELESS[0], "-f", "json").out)
    assert [(row["epoch"], row["seed"]) for row in curve] == [(1, 0), (2, 0), (3, 0)]
    parent = store.parent()
    assert (parent.info.status, parent.data.metrics["n_pruned"]) == ("FINISHED", 2)
    assert "## Pruned trials" in parent.data.tags["mlflow.note.content"]

    trained = len(TRAINED[0])
    again = call("sweep")
    assert (again.code, len(TRAINED[0])) == (0, trained)
    assert "nothing to train: all 8 trials of the search space are finished" in again.err


def test_the_dry_run_says_how_a_race_goes_and_what_the_full_sweep_would_cost(call):
    done = call("sweep", "--dry-run")
    line = next(line for line in done.err.splitlines() if line.startswith("race: "))
    assert line == (
        "race: all 8 trials begin, with one seed; after 3, 6 epochs those are dropped that end on the front with a "
        "probability below 0.02; the others train to their end, and those that are not certain get up to 1 seeds, as "
        "long as a full sweep would cost more. The full sweep would train at most 72 epochs"  # 8 x 9
    )
    plan = json.loads(call("sweep", "--dry-run", "-f", "json", "-s", "search.budget={epochs: 50, minutes: 5}").out)
    assert plan["race"]["until"] == "until 50 epochs or 5 minutes are used"
    assert plan["totals"]["max_epochs"] == 72
