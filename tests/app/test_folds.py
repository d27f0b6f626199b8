"""A sweep with folds: each trial trains a network a fold, and what is said of it rests on all images."""

import numpy as np
import pytest
import torch

from orchestrator import ConfigError, NotFoundError, run_sweep
from orchestrator.config.models import DataConfig, ExecutionConfig, SearchConfig, SyntheticConfig, TrainerConfig
from orchestrator.stats.uncertainty import wilson_interval
from orchestrator.storage.layout import Root
from orchestrator.storage.predictions import predictions_path, read_predictions
from orchestrator.training.data.loading import load_data
from tests.small import make_experiment

FROZEN = ("stem+layer1", "stem+layer1+layer2")
DATA = DataConfig(
    source="synthetic",
    image_size=32,
    batch_size=8,
    folds=3,
    loader_workers=0,
    synthetic=SyntheticConfig(train=14, validation=6, test=9),
)


def make(**overrides):
    fields = {
        "data": DATA,
        "search": SearchConfig(mode="list", frozen=FROZEN),
        "trainer": TrainerConfig(max_epochs=1, lr=1e-3, accelerator="cpu"),
        "execution": ExecutionConfig(mode="inline"),
    }
    return make_experiment("folds", **(fields | overrides))


@pytest.fixture(scope="module")
def root(tmp_path_factory, mlflow_store_template):
    root = Root.at(tmp_path_factory.mktemp("folds") / "mlruns")
    root.create()
    root.mlflow_db.write_bytes(mlflow_store_template.read_bytes())
    return root.path


@pytest.fixture(scope="module")
def swept(root):
    """Two frozen sets of three folds: six trainings of one epoch."""
    return run_sweep(make(), root=root)


def test_each_fold_is_a_run_and_validates_its_own_images(swept):
    sweep, outcome = swept
    assert outcome.trained == 6
    for trial in sweep.trials:
        assert [(run.seed, run.fold) for run in trial.runs] == [(0, 0), (0, 1), (0, 2)]
        assert [run.name.rpartition("_seed0_")[2] for run in trial.runs] == ["fold0", "fold1", "fold2"]
        assert len({run.fingerprint for run in trial.runs}) == 3
        for run in trial.runs:
            file = read_predictions(predictions_path(sweep.root.path / run.checkpoint))
            data = load_data(DATA, fold=run.fold)
            assert file["validation"].image_ids.tolist() == data.images["validation"].ids
            assert file["validation"].labels.tolist() == data.images["validation"].labels.tolist()
            assert run.result.n_val == len(data.images["validation"])
            assert file["test"].image_ids.tolist() == data.images["test"].ids


def test_each_network_says_of_its_images_what_was_kept_though_their_activations_were_shared(swept):
    trial = swept[0].best()
    for fold in range(3):
        data = load_data(DATA, fold=fold)
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (DATA.mean, DATA.std))
        images = torch.cat([pixels for pixels, _ in data.batches("validation")])
        with torch.no_grad():
            logits = trial.load_model(fold=fold)((images / 255 - mean) / std)
        np.testing.assert_allclose(trial.predictions(fold=fold).logits, logits.numpy(), rtol=1e-3, atol=1e-4)


def test_the_accuracy_and_its_interval_are_those_of_all_images(swept):
    sweep, _ = swept
    for trial in sweep.trials:
        files = [read_predictions(predictions_path(sweep.root.path / run.checkpoint)) for run in trial.runs]
        right = np.concatenate([file["validation"].correct for file in files])
        assert len(right) == 20  # 14 + 6; folds of 7, 7 and 6
        assert [run.result.n_val for run in trial.runs] == [7, 7, 6]
        assert trial.val_acc == pytest.approx(right.mean(), abs=1e-12)
        assert sweep.interval(trial) == pytest.approx(wilson_interval(int(right.sum()), 20))
    fewer, more = sweep.trials
    effect = next(each for each in sweep.effects.blocks if each.block == "layer2")
    assert effect.accuracy.mean == pytest.approx(more.val_acc - fewer.val_acc)
    assert effect.accuracy.n_seeds == 1
    assert effect.accuracy.low is not None
    assert "20 validation images and one seed" in sweep.recommend().basis


def test_tables_name_the_fold_and_count_one_seed(swept):
    sweep, _ = swept
    runs = sweep.runs_dataframe()
    assert list(runs.columns[runs.columns.get_loc("seed") :][:2]) == ["seed", "fold"]
    assert runs["fold"].tolist() == [0, 1, 2] * 2
    assert sweep.history("stem+layer1")["fold"].tolist() == [0, 1, 2]
    assert sweep.trials_dataframe()["n_seeds"].tolist() == [1, 1]


def test_a_trial_gives_the_network_of_each_fold(swept):
    trial = swept[0].best()
    assert list(trial.fold_checkpoints) == [(0, 0), (0, 1), (0, 2)]
    assert trial.checkpoint == trial.find_checkpoint(fold=0) == trial.checkpoints[0]
    assert trial.predictions(fold=2).image_ids.tolist() == load_data(DATA, fold=2).images["validation"].ids
    with pytest.raises(NotFoundError, match="has no run with seed 0 and fold 3") as caught:
        trial.load_model(fold=3)
    assert caught.value.hint == "its folds are 0, 1, 2"


def test_a_second_call_trains_nothing_and_more_seeds_train_their_folds(swept, root):
    assert run_sweep(make(), root=root)[1].trained == 0
    more = make(search=SearchConfig(mode="list", frozen=FROZEN, seeds=(0, 1)))
    sweep, outcome = run_sweep(more, root=root)
    assert (outcome.trained, outcome.reused) == (6, 6)
    trial = sweep.best()
    assert list(trial.fold_checkpoints) == [(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)]
    assert "20 validation images and the seeds of each trial" in sweep.recommend().basis
    with pytest.raises(ConfigError, match=r"data\.folds: was 3, is 4"):
        run_sweep(make(data=DATA.model_copy(update={"folds": 4})), root=root)
