"""A run, against a naive loop in plain torch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.config.models import SyntheticConfig
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.loading import load_data, order_seed
from orchestrator.training.device import autocast
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.seeds import derive_seed
from tests.training.tiny import evaluate, make_data, make_spec, normalise, train

pytestmark = pytest.mark.usefixtures("narrow")


def plain_loop(spec: RunSpec) -> tuple[list[dict[str, float]], list[float], list[dict[str, torch.Tensor]]]:
    """Train by the book, without Lightning: curves by epoch, losses by step, the network's tensors by epoch."""
    data = load_data(spec.data)
    frozen = spec.frozen
    network = build_network(spec.model, 3, derive_seed(spec.seed, "head"), frozen)
    trainable = [p for name, p in network.named_parameters() if name.startswith("fc.") or p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=spec.trainer.lr, momentum=0.9)
    pixels, labels = normalise(data.pixels["train"]), torch.tensor(data.images["train"].labels)
    curves, steps, states = [], [], []
    for epoch in range(spec.trainer.max_epochs):
        network.train()
        for name, module in network.named_children():
            module.train({"conv1": "stem", "bn1": "stem"}.get(name, name) not in frozen)
        order = np.random.default_rng([order_seed(spec.seed), epoch]).permutation(len(pixels))
        loss_sum = right = 0.0
        for start in range(0, len(order), spec.data.batch_size):
            rows = torch.tensor(order[start : start + spec.data.batch_size])
            with autocast("cpu", spec.trainer.precision):
                logits = network(pixels[rows])
                loss = cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(loss.item())
            loss_sum += loss.item() * len(rows)
            right += (logits.argmax(1) == labels[rows]).sum().item()
        val_acc, val_loss, _ = evaluate(network.eval(), spec, "validation")
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        count = len(order)
        curves.append(
            {"train_loss": loss_sum / count, "train_acc": right / count, "val_loss": val_loss, "val_acc": val_acc}
        )
    return curves, steps, states


@pytest.fixture(scope="module")
def plain(tmp_path_factory, narrow):
    data = make_data(synthetic=SyntheticConfig(train=28, validation=13, test=9))  # batches of 8, 8, 8, 4
    spec = make_spec("stem+layer2", seed=3, data=data, optimizer="sgd", lr=1e-4)
    folder = tmp_path_factory.mktemp("plain")
    result, _ = train(spec, folder)
    return spec, folder, result, *plain_loop(spec)


def test_a_naive_loop_gives_the_same_curves(plain):
    *_, result, curves, _, _ = plain
    assert len(curves) == len(result.history) == 2
    for epoch, expected in zip(result.history, curves, strict=True):
        assert {name: getattr(epoch, name) for name in expected} == pytest.approx(expected, rel=1e-3)
        assert epoch.lr == 1e-4


def test_a_naive_loop_gives_the_same_network(plain):
    _, folder, result, _, _, states = plain
    expected = states[result.best_epoch]
    for name, tensor in load_checkpoint_network(folder / "best.ckpt").state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)


def test_a_naive_loop_gives_the_same_losses_in_mixed_precision(tmp_path):
    # the steps are so large that one with the weights of an earlier step would show
    spec = make_spec("stem", precision="bf16-mixed", optimizer="sgd", lr=0.05)
    result, _ = train(spec, tmp_path)
    _, steps, _ = plain_loop(spec)
    found = [loss.loss for epoch in result.history for loss in epoch.step_losses]
    assert found == pytest.approx(steps[1::2], rel=1e-2)


def test_every_nth_step_loss_is_logged(plain):
    *_, result, _, steps, _ = plain
    logged = [(loss.step, epoch.epoch) for epoch in result.history for loss in epoch.step_losses]
    # 4 steps an epoch and every second: the steps 2, 4, 6, 8 of a person's count, 1, 3, 5, 7 from 0
    assert logged == [(1, 0), (3, 0), (5, 1), (7, 1)]
    found = [loss.loss for epoch in result.history for loss in epoch.step_losses]
    assert found == pytest.approx(steps[1::2], rel=1e-3)
