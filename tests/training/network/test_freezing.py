"""Frozen means frozen: bit for bit, through training, whatever Lightning does to the modes."""

import copy
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import ModelConfig
from orchestrator.training.network.backbones import block_modules, build_network
from orchestrator.training.network.freezing import count_parameters, hold, tune
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run import run
from orchestrator.training.run.module import FreezingModule
from tests.training.tiny import RESNET18, make_spec, parse, train

ALL = "+".join(RESNET18)
# conv1 3*64*7*7 = 9,408 and bn1 2*64 = 128
PARAMS = {"stem": 9_536, "layer1": 147_968, "layer2": 525_568, "layer3": 2_099_712, "layer4": 8_393_728}
HEAD_3_CLASSES = 512 * 3 + 3  # weights + bias; 11_178_051 in all
BLOCK_OF = {"conv1": "stem", "bn1": "stem", "fc": "head"} | {layer: layer for layer in RESNET18[1:]}


def block_of(name: str) -> str:
    """The block of a tensor, by torchvision's names and not by the code under test."""
    return BLOCK_OF[name.partition(".")[0]]


class Trained:
    """A run of one epoch, with the network's tensors before and after it."""

    def __init__(self, key, folder, monkeypatch, batchnorm="eval"):
        self.frozen = parse(key)
        self.optimizers = []
        captured: dict[str, Any] = {}
        build, configure = build_network, FreezingModule.configure_optimizers

        def keep_network(*args, **kwargs):
            network = build(*args, **kwargs)
            captured["before"] = copy.deepcopy(network.state_dict())
            captured["network"] = network
            return network

        def keep_optimizer(module):
            self.optimizers.append(configure(module))
            return self.optimizers[-1]

        monkeypatch.setattr(run, "build_network", keep_network)
        monkeypatch.setattr(FreezingModule, "configure_optimizers", keep_optimizer)
        model = ModelConfig(weights="none", num_classes=3, frozen_batchnorm=batchnorm)
        self.result, _ = train(make_spec(key, model=model, max_epochs=1, lr=0.01), folder)
        self.before = captured["before"]
        self.after = captured["network"].state_dict()
        self.parameters = dict(captured["network"].named_parameters())
        self.saved = load_checkpoint_network(folder / "best.ckpt").state_dict()

    def moved(self, block, *, buffers):
        """Names of the block's parameters or buffers that are no longer what they were, to the last bit."""
        names = [name for name in self.before if block_of(name) == block and (name in self.parameters) != buffers]
        assert names or block == "head"
        return [name for name in names if not torch.equal(self.before[name], self.after[name])]


KEYS = ("none", "layer2+layer4", "stem+layer1+layer2+layer3", ALL)


@pytest.fixture(scope="module", params=KEYS)
def trained(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return Trained(request.param, tmp_path_factory.mktemp("run"), monkeypatch)


def test_every_tensor_of_a_frozen_block_is_bit_identical(trained):
    for block in trained.frozen.blocks:
        assert trained.moved(block, buffers=False) == []
        assert trained.moved(block, buffers=True) == []


def test_every_trained_block_moved_with_its_statistics_and_the_head_too(trained):
    for block in RESNET18:
        if block not in trained.frozen:
            assert trained.moved(block, buffers=False)
            means = [name for name in trained.moved(block, buffers=True) if name.endswith("running_mean")]
            assert means
    assert trained.moved("head", buffers=False) == ["fc.weight", "fc.bias"]


def test_the_checkpoint_holds_what_was_trained(trained):
    assert set(trained.saved) == set(trained.after)
    assert all(torch.equal(trained.saved[name], trained.after[name]) for name in trained.after)


def test_the_optimizer_holds_the_trainable_parameters_only(trained):
    (optimizer,) = trained.optimizers
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    names = {name for name, parameter in trained.parameters.items() if id(parameter) in held}
    assert names == {name for name in trained.parameters if block_of(name) not in trained.frozen}
    assert len(optimizer.state) == len(held)  # each was stepped, and nothing else


def test_the_result_counts_as_the_table_does(trained):
    trainable = sum(PARAMS[block] for block in RESNET18 if block not in trained.frozen) + HEAD_3_CLASSES
    assert (trained.result.trainable_params, trained.result.total_params) == (trainable, 11_178_051)


def test_track_moves_the_statistics_of_a_frozen_block_and_nothing_else(tmp_path, monkeypatch):
    trained = Trained("stem+layer3", tmp_path, monkeypatch, batchnorm="track")
    for block in ("stem", "layer3"):
        assert trained.moved(block, buffers=False) == []
        moved = trained.moved(block, buffers=True)
        assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    # 24 images in batches of 8
    assert trained.after["bn1.num_batches_tracked"] == 3


@pytest.mark.parametrize("batchnorm", ["eval", "track"])
def test_a_later_train_does_not_undo_it(batchnorm):
    model = ModelConfig(weights="none", num_classes=3, frozen_batchnorm=batchnorm)
    network = build_network(model, 3, 0, parse("layer1+layer2"))
    module = FreezingModule(network, make_spec("layer1+layer2", model=model), ["a", "b", "c"], print)
    for _ in range(2):
        assert module.eval().train() is module
        for block, modules in block_modules(network, find_backbone("resnet18")).items():
            frozen = block in ("layer1", "layer2")
            norms, others = set(), set()
            for part in (part for module_ in modules for part in module_.modules()):
                (norms if isinstance(part, nn.BatchNorm2d) else others).add(part.training)
            assert norms == {not frozen or batchnorm == "track"}
            assert others == {not frozen}
            assert {p.requires_grad for module_ in modules for p in module_.parameters()} == {not frozen}
        module.eval()
        assert not any(part.training for part in module.modules())


def test_frozen_batchnorm_normalises_with_the_statistics_that_it_holds():
    """Training a head over frozen blocks gives the logits of eval mode, not those of the batch's statistics."""
    network = build_network(ModelConfig(weights="none"), 3, 0, parse(ALL))
    module = FreezingModule(network, make_spec(ALL), ["a", "b", "c"], print)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = module.eval()(images)
    assert torch.equal(module.train()(images), expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_optimizer_steps_what_trains_in_one_pass(optimizer):
    network = build_network(ModelConfig(weights="none"), 3, 0, parse("stem+layer4"))
    module = FreezingModule(network, make_spec("stem+layer4", optimizer=optimizer), ["a", "b", "c"], print)
    (group,) = module.configure_optimizers().param_groups
    assert group["fused"]
    assert {id(parameter) for parameter in group["params"]} == {
        id(parameter)
        for name, parameter in network.named_parameters()
        if not name.startswith(("conv1.", "bn1.", "layer4."))
    }


def test_freezing_alone_counts_what_is_left():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    tune({"first": [network[0], network[1]], "last": [network[2]]}, FrozenSet.parse("first"))
    # of 2*3 + 3 and 3 + 3 and 3 + 1 the last is left
    assert count_parameters(network) == (4, 19)


NORMS = {
    "batch": lambda: nn.BatchNorm2d(4),
    "layer": lambda: nn.LayerNorm([4, 8, 8]),
    "group": lambda: nn.GroupNorm(2, 4),
    "frozen batch": lambda: torchvision.ops.FrozenBatchNorm2d(4),
}


@pytest.mark.parametrize("norm", NORMS)
def test_a_frozen_block_gives_the_same_in_each_step_whatever_normalises(norm):
    """Its dropout and stochastic depth are off, and nothing in it moves; one that trains draws anew in each step."""
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), NORMS[norm](), nn.Dropout(0.5), torchvision.ops.StochasticDepth(0.5, "row")
    )
    images = torch.randn(6, 3, 8, 8)
    for key, steady in (("stem", True), ("none", False)):
        tune({"stem": [block]}, FrozenSet.parse(key))
        block.train()
        hold({"stem": [block]}, FrozenSet.parse(key), "eval")
        before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
        assert torch.equal(block(images), block(images)) == steady
        still = all(torch.equal(before[name], tensor) for name, tensor in block.state_dict().items())
        assert still == (steady or norm != "batch")


def test_statistics_that_follow_the_data_leave_dropout_off():
    block = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)).train()
    hold({"stem": [block]}, FrozenSet.parse("stem"), "track")
    assert [module.training for module in block] == [True, False]
