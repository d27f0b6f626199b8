"""A whole sweep, small but real: worker processes, Lightning, MLflow, TensorBoard and Optuna, each read back."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import torch
from PIL import Image
from sqlalchemy.exc import OperationalError

from orchestrator import (
    ConfigError,
    NotFoundError,
    SetupError,
    SweepError,
    load_sweep,
    plan_sweep,
    run_sweep,
)
from orchestrator.config.models import (
    DataConfig,
    ModelConfig,
    SearchConfig,
    TrainerConfig,
)
from orchestrator.config.objective import ObjectiveConfig
from orchestrator.storage.cache import Cache
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import hold_lock
from orchestrator.storage.predictions import predictions_path, read_predictions
from tests.factories import count_trainable
from tests.small import KEYS, make_experiment

PICTURES = {
    "pareto.png",
    "block_effects.png",
    "accuracies.png",
    "loss_progress.png",
    "overfitting_analysis.png",
    "convergence_analysis.png",
    "params_vs_time.png",
    "test_results.png",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory, mlflow_store_template):
    root = Root.at(tmp_path_factory.mktemp("ä root's ") / "mlruns")
    root.create()
    root.mlflow_db.write_bytes(mlflow_store_template.read_bytes())
    return root


@pytest.fixture(scope="module")
def swept(root):
    """The sweep and its outcome; three trainings of two epochs."""
    return run_sweep(make_experiment(), root=root.path)


def query(root: Root, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(root.mlflow_db)) as connection:
        return connection.execute(sql).fetchall()


def test_optuna_mlflow_and_the_files_agree_to_the_last_record(swept, root):
    sweep, outcome = swept
    assert (outcome.trained, outcome.failed_runs) == (3, 0)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{root.optuna_db}")
    values = {trial.params["frozen"]: trial.values for trial in study.trials}
    assert {key: params for key, (_, params) in values.items()} == {key: count_trainable(key) for key in KEYS}

    tracked = query(
        root,
        "select p.value, m.value from runs r join params p using (run_uuid) join latest_metrics m using (run_uuid)"
        " where p.key = 'frozen' and m.key = 'val_acc' and r.status = 'FINISHED'",
    )
    assert dict(tracked) == {key: acc for key, (acc, _) in values.items()}
    results = [json.loads(path.read_bytes()) for path in root.path.glob("checkpoints/*/result.json")]
    assert sorted(result["val_acc"] for result in results) == sorted(acc for acc, _ in values.values())
    assert {row["frozen"]: row["val_acc"] for row in sweep.trial_rows()} == dict(tracked)


def test_the_runs_found_their_images_in_the_cache_and_hold_them_no_more(swept, root):
    (entry,) = [entry for entry in Cache(root.cache).entries() if entry.kind == "images"]
    assert (entry.kind, entry.of, entry.state) == ("images", "45 images of synthetic at 32 px", "ready")


def test_each_training_is_one_run_under_the_sweep(swept, root):
    runs = dict(query(root, "select run_uuid, name from runs"))
    parents = dict(query(root, "select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
    assert {runs[child] for child in parents} == {
        "trial_000_none_seed0",
        "trial_002_stem+layer1+layer2+layer3+layer4_seed0",
        "trial_001_layer4_seed0",
    }
    assert {runs[parent] for parent in parents.values()} == {"small"}
    assert len(runs) == 4
    assert {path.name for path in root.tensorboard("small").iterdir()} == {runs[child] for child in parents}


def test_the_parent_keeps_the_pictures(swept, root):
    assert {path.name for path in root.reports("small").iterdir()} == PICTURES | {"pareto.html"}
    kept = {path.name for path in root.artifacts.rglob("*.png")}
    assert kept >= PICTURES


def test_the_curves_have_a_point_an_epoch(swept, root):
    points = query(root, "select run_uuid, step, count(*) from metrics where key = 'val/acc' group by run_uuid, step")
    assert len(points) == 3 * 2
    assert {(step, count) for _, step, count in points} == {(1, 1), (2, 1)}


def test_a_second_sweep_trains_nothing(swept, root):
    before = query(root, "select count(*) from runs")
    sweep, outcome = run_sweep(make_experiment(), root=root.path)
    assert (outcome.trained, outcome.reused, len(sweep.trials)) == (0, 0, 3)
    assert query(root, "select count(*) from runs") == before


def test_another_objective_trains_nothing(swept, root, tmp_path, caplog):
    copied = Root.at(shutil.copytree(root.path, tmp_path / "copied"))
    objective = ObjectiveConfig(gain="val_loss", cost="s_per_epoch")
    changed = make_experiment(search=SearchConfig(mode="list", frozen=KEYS, objective=objective))
    with caplog.at_level("INFO", "orchestrator"):
        sweep, outcome = run_sweep(changed, root=copied.path)
    assert (outcome.trained, outcome.reused) == (0, 0)
    assert "the study now optimises val_loss against s_per_epoch: the values of 3 finished trials" in caplog.text
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{copied.optuna_db}")
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE"]
    assert {trial.number: trial.values[0] for trial in study.trials} == {
        trial.number: trial.runs[0].result.val_loss for trial in sweep.trials
    }
    # what the result states of the loss is what the kept logits give
    for trial in sweep.trials:
        scores = sweep.objective.of_gain.score
        kept = read_predictions(predictions_path(copied.path / trial.runs[0].checkpoint))["validation"]
        assert -scores(kept.logits, kept.labels).mean() == pytest.approx(trial.runs[0].result.val_loss, rel=1e-4)
    assert load_sweep("small", copied.path).front_rows() == sweep.front_rows()
    assert "val_loss_corrected" in sweep.front_rows()[0]


def test_the_model_of_the_best_trial_loads_and_gives_logits(swept, root):
    best = load_sweep("small", root.path).best()
    network = best.load_model()
    assert not network.training
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_predictions_of_the_best_trial_give_its_accuracies(swept, root):
    best = load_sweep("small", root.path).best()
    assert best.predictions().correct.mean() == best.val_acc
    assert best.predictions("test").correct.mean() == best.test_acc
    with pytest.raises(NotFoundError, match="no predictions of a split 'train'; there are validation, test"):
        best.predictions("train")
    with pytest.raises(NotFoundError, match="no run with seed 7"):
        best.predictions(seed=7)


def test_another_experiment_is_answered_from_these_trainings(swept, root):
    sweep, outcome = run_sweep(
        make_experiment("wider", search=SearchConfig(mode="list", frozen=("none", "layer4"))), root=root.path
    )
    assert (outcome.trained, outcome.reused) == (0, 2)
    assert set(sweep.runs_dataframe()["reused_from"]) == {"small/trial_000_none_seed0", "small/trial_001_layer4_seed0"}


def test_the_process_that_sweeps_loads_no_torch(swept, root):
    experiment = make_experiment("apart", search=SearchConfig(mode="list", frozen=("layer4",)))
    program = (
        "import sys\n"
        "from orchestrator import run_sweep\n"
        "from orchestrator.config.models import Experiment\n"
        "experiment = Experiment.model_validate_json(sys.stdin.read())\n"
        f"print(run_sweep(experiment, root={str(root.path)!r})[1].reused, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=experiment.model_dump_json(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "1 False"


def test_another_training_under_the_same_name_is_refused_with_the_difference(swept, root):
    changed = make_experiment(trainer=TrainerConfig(max_epochs=2, lr=0.01, accelerator="cpu"))
    with pytest.raises(ConfigError, match=r"trainer\.lr: was 0\.001, is 0\.01"):
        run_sweep(changed, root=root.path)


def test_two_sweeps_of_one_experiment_do_not_run_at_once(tmp_path):
    root = Root.at(tmp_path)
    with hold_lock(root.lock("small")), pytest.raises(SetupError, match="being swept already, by process"):
        run_sweep(make_experiment(), root=tmp_path)


def test_a_head_that_does_not_fit_the_data_is_refused_before_anything_runs(tmp_path):
    for split in ("train", "validation", "test"):
        for label in ("round", "square"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "1.png")
    experiment = make_experiment(data=DataConfig(source=str(tmp_path / "images"), image_size=32))
    with pytest.raises(ConfigError, match=r"num_classes is 3, but .* has 2 classes: round, square"):
        run_sweep(experiment, root=tmp_path / "mlruns")
    assert not (tmp_path / "mlruns" / "checkpoints").exists()


def test_a_plan_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = make_experiment(data=DataConfig(source="nobody/has-this"))
    plan = plan_sweep(experiment)
    assert [choice.frozen for choice in plan.choices] == list(KEYS)
    assert {key: cost.trainable_params for key, cost in plan.costs.items()} == {
        key: count_trainable(key) for key in KEYS
    }
    assert list(Path(tmp_path).iterdir()) == []


def test_a_plan_without_the_number_of_classes_says_what_it_needs():
    experiment = make_experiment(data=DataConfig(source="nobody/has-this"), model=ModelConfig(weights="none"))
    with pytest.raises(ConfigError, match="needs the number of classes"):
        plan_sweep(experiment)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/x/y.json"), "No space left on device: '/x/y.json'"),
        (OperationalError("INSERT ...", {}, sqlite3.OperationalError("database or disk is full")), "disk is full"),
    ],
)
def test_a_full_disk_stops_a_sweep_with_its_reason(error, words, tmp_path, monkeypatch):
    def fill(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("orchestrator.app.sweep._run_locked", fill)
    with pytest.raises(SweepError, match=f"^the sweep cannot go on: .*{words}") as caught:
        run_sweep(make_experiment(), root=tmp_path)
    assert "give the same command again" in (caught.value.hint or "")


def test_a_plan_counts_the_classes_of_a_folder_and_decodes_no_image(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    data = DataConfig(source=str(tmp_path), image_size=32)
    plan = plan_sweep(make_experiment(data=data, model=ModelConfig(weights="none")))
    assert plan.costs["stem+layer1+layer2+layer3+layer4"].trainable_params == 512 * 2 + 2


# How many runs share the machine
