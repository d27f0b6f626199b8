"""The average of the weights, against torch's own and in a run."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run.averaging import WeightAverage
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.run.resumed import place_at
from tests.training.tiny import evaluate, make_spec

DECAY = 0.75


def build_network() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    network[0].requires_grad_(requires_grad=False)
    return network


def test_the_average_is_torchs():
    torch.manual_seed(0)
    network = build_network()
    average = WeightAverage(network, DECAY)
    expected = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    optimizer = torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=0.1)
    for _ in range(5):
        network(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        average.update()
        expected.update_parameters(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    average.swap()
    found, wanted = network.state_dict(), expected.module.state_dict()
    for name, tensor in found.items():
        assert torch.equal(tensor, before[name] if name.endswith("num_batches_tracked") else wanted[name]), name
    assert not torch.equal(found["2.weight"], before["2.weight"])
    average.swap()
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.usefixtures("narrow")
def test_a_run_validates_keeps_and_tests_the_average_and_trains_the_weights(tmp_path, monkeypatch):
    """By hand: the weights after each step, averaged here, are those of the best checkpoint."""
    spec = make_spec("stem+layer1+layer2", max_epochs=2, lr=0.01, ema=DECAY)
    steps: list[dict[str, torch.Tensor]] = []
    ends: list[int] = []
    update, start = WeightAverage.update, FreezingModule.on_train_epoch_start

    def note(average):
        steps.append({name: tensor.clone() for name, tensor in average._network.state_dict().items()})
        update(average)

    monkeypatch.setattr(WeightAverage, "update", note)
    monkeypatch.setattr(FreezingModule, "on_train_epoch_start", lambda module: ends.append(len(steps)) or start(module))
    result = run_training(spec, place_at(tmp_path), lambda _: None)
    assert ends == [0, 3]
    taken = steps[: 3 * (result.best_epoch + 1)]
    kept = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    moved = 0
    for name, last in taken[-1].items():
        if last.is_floating_point():
            average = taken[0][name]
            for step in taken[1:]:
                average = DECAY * average + (1 - DECAY) * step[name]
            torch.testing.assert_close(kept[f"network.{name}"], average)
            moved += not torch.equal(kept[f"network.{name}"], last)
    assert moved > 20
    network = load_checkpoint_network(tmp_path / "best.ckpt")
    accuracy, loss, _ = evaluate(network, spec, "validation")
    assert result.val_acc == pytest.approx(accuracy)
    assert result.val_loss == pytest.approx(loss, abs=1e-5)
    assert result.test_acc == pytest.approx(evaluate(network, spec, "test")[0])
