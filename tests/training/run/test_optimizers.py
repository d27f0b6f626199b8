"""Parameter groups, and runs with each optimizer."""

import math

import pytest

from orchestrator.backbones import find_backbone
from orchestrator.config.optimizers import OPTIMIZERS
from orchestrator.training.network.backbones import block_modules, build_network
from orchestrator.training.run.optimizers import build_optimizer, set_lr
from tests.training.run.resumed import train
from tests.training.tiny import make_spec, parse, without_times

pytestmark = pytest.mark.usefixtures("narrow")


def build(frozen: str, **trainer: object):
    spec = make_spec(frozen, **trainer)
    network = build_network(spec.model, 3, 0, parse(frozen))
    return network, build_optimizer(network, block_modules(network, find_backbone("resnet18")), spec.trainer)


def test_the_learning_rate_falls_block_by_block_from_the_head_towards_the_stem():
    """Five blocks: layer4 has half the head's, layer3 a quarter, and the stem a thirty-second; layer2 is frozen."""
    network, optimizer = build("layer2", lr=0.32, lr_decay=0.5)
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert set(rates.values()) == {0.32}  # until the first step
    set_lr(optimizer, 0.32)
    expected = {"fc": 0.32, "layer4": 0.16, "layer3": 0.08, "layer1": 0.02, "conv1": 0.01, "bn1": 0.01}
    seen = 0
    for group in optimizer.param_groups:
        rates |= dict.fromkeys(group["params"], group["lr"])
    for name, parameter in network.named_parameters():
        part = name.partition(".")[0]
        assert (parameter in rates) == (part != "layer2")
        if part != "layer2":
            assert rates[parameter] == pytest.approx(expected[part]), name
            seen += 1
    assert seen == sum(len(group["params"]) for group in optimizer.param_groups)
    assert optimizer.param_groups[0]["params"] == list(network.fc.parameters())  # the rate that an epoch reports


def test_without_a_decay_there_is_one_group_in_the_order_of_the_network():
    network, optimizer = build("stem")
    (group,) = optimizer.param_groups
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert [id(each) for each in group["params"]] == [id(each) for each in trainable]
    assert "lr_scale" not in group


def test_a_run_reports_the_rate_of_the_head(tmp_path):
    result, _ = train(tmp_path, spec=make_spec("stem", lr=0.01, lr_decay=0.5, schedule="cosine"))
    assert result.history[0].lr == pytest.approx(0.01 * (1 + math.cos(math.pi * 2 / 6)) / 2)  # step 2 of 6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_with_each_optimizer_goes_on_to_the_last_bit(tmp_path, name):
    spec = make_spec(
        "stem+layer1+layer2+layer3", optimizer=name, lr=0.01, weight_decay=0.01, lr_decay=0.5, max_epochs=3
    )
    alone, _ = train(tmp_path / "alone", spec=spec)
    assert train(tmp_path / "two", until=1, spec=spec)[0] is None
    result, _ = train(tmp_path / "two", spec=spec)
    assert without_times(result) == without_times(alone)
    still, _ = train(
        tmp_path / "still", spec=make_spec("stem+layer1+layer2+layer3", optimizer=name, lr=1e-30, max_epochs=3)
    )
    assert still.val_loss != alone.val_loss  # it trained at all
