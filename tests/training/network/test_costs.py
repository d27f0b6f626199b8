import time

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.blocks import FrozenSet, all_sets
from orchestrator.config.models import ModelConfig
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.costs import measure_costs
from tests.training.counted import CONV1, FORWARD, HEAD
from tests.training.tiny import RESNET18, parse

MODEL = ModelConfig(weights="none")
ALL = "+".join(RESNET18)


def test_forward_is_what_the_hand_counts():
    cost = measure_costs(MODEL, 3, 224, [parse("none")])["none"]
    assert cost.gflops_forward_per_image == pytest.approx(2 * FORWARD / 1e9, rel=1e-12)


def test_training_is_three_forwards_less_the_images_gradient():
    cost = measure_costs(MODEL, 3, 224, [parse("none")])["none"]
    assert cost.gflops_train_per_image == pytest.approx(2 * (3 * FORWARD - CONV1) / 1e9, rel=1e-12)


def test_a_head_alone_costs_forward_and_its_own_gradient():
    cost = measure_costs(MODEL, 3, 224, [parse(ALL)])[ALL]
    assert cost.gflops_train_per_image == pytest.approx(2 * (FORWARD + HEAD) / 1e9, rel=1e-12)
    assert cost.trainable_params == HEAD + 3


def test_blocks_add_up_to_what_autograd_does_on_the_whole_network():
    keys = ["none", "stem", "layer4", "stem+layer2", "layer1+layer3", "stem+layer1+layer2+layer3", ALL]
    costs = measure_costs(MODEL, 5, 64, [parse(key) for key in keys])
    for key in keys:
        network = build_network(MODEL, 5, 0, parse(key))
        with FlopCounterMode(display=False) as counter:
            network.train()(torch.zeros(2, 3, 64, 64)).sum().backward()
        assert costs[key].gflops_train_per_image == pytest.approx(counter.get_total_flops() / 2 / 1e9, rel=1e-12)


def test_counts_are_those_of_the_built_network():
    for key, cost in measure_costs(MODEL, 3, 32, all_sets(RESNET18)).items():
        network = torchvision.models.resnet18(num_classes=3) if key == "none" else None
        if network is not None:
            assert cost.trainable_params == cost.total_params == sum(p.numel() for p in network.parameters())
        assert cost.total_params == 11_178_051


def test_freezing_never_costs_more():
    costs = measure_costs(MODEL, 3, 64, all_sets(RESNET18))
    for frozen, cost in costs.items():
        for block in RESNET18:
            if block not in frozen:
                more = costs[FrozenSet.of([*frozen.blocks, block], order=RESNET18)]
                assert more.gflops_train_per_image < cost.gflops_train_per_image
                assert more.trainable_params < cost.trainable_params


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_all_sets_are_counted_in_a_moment(backbone):
    began = time.perf_counter()
    costs = measure_costs(ModelConfig(backbone=backbone, weights="none"), 3, 224, all_sets(RESNET18))
    assert len(costs) == 32
    assert time.perf_counter() - began < 20  # about 1 s on a quiet machine
