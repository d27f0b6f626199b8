"""What a run need not do twice, and what it must not leave from before."""

import pytest
import pytorch_lightning as pl
import torch

from orchestrator.config.models import ModelConfig
from orchestrator.records.facts import Cost
from orchestrator.records.place import Workplace
from orchestrator.storage.predictions import read_predictions
from orchestrator.training.network import weights
from orchestrator.training.network.backbones import build_network, describe_weights
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.run import run as runs
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import RESNET18, make_spec, parse

pytestmark = pytest.mark.usefixtures("narrow")
ALL = "+".join(RESNET18)


def train(folder, spec, on_epoch=lambda _: None, **workplace):
    return run_training(spec, Workplace(directory=str(folder), **workplace), on_epoch)


def test_a_run_reads_its_weights_once(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    torch.save(build_network(ModelConfig(weights="none"), 7, 5, parse("none")).state_dict(), path)
    model = ModelConfig(weights=str(path), num_classes=3)
    spec = make_spec(ALL, model=model, max_epochs=1).model_copy(
        update={"weights_sha256": describe_weights(model).sha256}
    )
    read, reads = weights._read_file, []
    monkeypatch.setattr(weights, "_read_file", lambda path, backbone: reads.append(path) or read(path, backbone))
    result = train(tmp_path / "run", spec)
    assert reads == [path]
    (cost,) = measure_costs(model, 3, 32, [parse(ALL)]).values()  # nobody had counted it
    assert (result.gflops_forward_per_image, result.gflops_train_per_image) == (
        cost.gflops_forward_per_image,
        cost.gflops_train_per_image,
    )


def test_a_cost_that_was_counted_is_not_counted_again(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("counted again")

    monkeypatch.setattr(runs, "measure_costs", refuse)
    cost = Cost(trainable_params=1, total_params=2, gflops_forward_per_image=0.25, gflops_train_per_image=0.5)
    result = train(tmp_path, make_spec(ALL, max_epochs=1), cost=cost)
    assert (result.gflops_forward_per_image, result.gflops_train_per_image) == (0.25, 0.5)
    # those of the network itself: 128 * 3 + 3 of the head; conv1 3*16*49 and bn1 2*16, layer1 4*(16*16*9 + 2*16), ...
    blocks = 2_384 + 9_344 + 33_088 + 131_712 + 525_568
    assert (result.trainable_params, result.total_params) == (387, blocks + 387)


def test_a_run_that_begins_anew_leaves_no_predictions_of_before(tmp_path):
    spec = make_spec(ALL, max_epochs=1)
    train(tmp_path, spec, cost=make_cost(ALL))
    assert (tmp_path / "predictions.npz").exists()

    def break_off(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, spec, break_off, cost=make_cost(ALL))
    assert not (tmp_path / "predictions.npz").exists()


def test_the_validation_images_of_the_best_epoch_are_not_evaluated_again(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(pl.Trainer, "validate", refuse)
    result = train(tmp_path, make_spec(ALL, max_epochs=2), cost=make_cost(ALL))
    assert result.val_acc == result.history[result.best_epoch].val_acc
    kept = read_predictions(tmp_path / "predictions.npz")["validation"]
    assert sum(map(sum, result.val_confusion)) == result.n_val == len(kept.labels)
