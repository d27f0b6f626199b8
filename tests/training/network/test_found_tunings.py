"""Blocks that are found and train in part: which parameters train, what they cost, and what their runs keep."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.backbones import Backbone, find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import Experiment, ModelConfig, SearchConfig, SyntheticConfig
from orchestrator.errors import ConfigError
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.storage.cache import Cache
from orchestrator.training.network.architectures import build_random
from orchestrator.training.network.backbones import block_modules, build_network
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.network.freezing import tune
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.reuse import plan as plans
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.network import nets
from tests.training.tiny import make_data, make_spec, without_times

PLAIN, BRIDGED, TRANSFORMER = (f"{nets.__name__}:build_{each}" for each in ("plain", "bridged", "transformer"))


def make_set(name: str, *tunings: str) -> FrozenSet:
    """Let the first blocks do what is said, and the others train in full."""
    order = find_backbone(name).blocks
    parts = [f"{block}:{tuning}" for block, tuning in zip(order, tunings, strict=False)]
    return FrozenSet.of(parts, order=order)


@pytest.mark.parametrize(
    ("name", "tunings"),
    [
        (PLAIN, ("norm", "frozen", "lora-2")),
        (PLAIN, ("frozen", "bias", "lora-3")),
        (BRIDGED, ("frozen", "lora-2", "bias")),
        (BRIDGED, ("bias", "frozen", "lora-1")),
        (TRANSFORMER, ("frozen", "lora-2", "norm", "bias")),
        (TRANSFORMER, ("lora-3", "full", "lora-1", "frozen")),
    ],
)
def test_costs_are_what_autograd_does_on_the_whole_network(name, tunings):
    model, frozen = ModelConfig(backbone=name, weights="none"), make_set(name, *tunings)
    cost = measure_costs(model, 3, 64, [frozen, make_set(name)])[frozen]
    # kernels of attention on a CPU compute some of it twice, and count that
    network = build_network(model, 3, 0, frozen, image_size=64).eval().to("meta")
    image = torch.zeros(1, 3, 64, 64, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(image).sum().backward()
    assert cost.gflops_train_per_image == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-12)
    assert cost.trainable_params == sum(each.numel() for each in network.parameters() if each.requires_grad)
    plain = build_random(name, 3, 64).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain.to("meta")(image)
    assert cost.gflops_forward_per_image == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-12)
    assert cost.total_params == sum(each.numel() for each in plain.parameters())


def test_a_bias_that_no_module_of_its_block_holds_trains_as_one():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 2))
    network.bias = nn.Parameter(torch.zeros(4))
    known = Backbone(name="tiny", modules={"stem": ("0", "bias")}, head="1")
    tune(block_modules(network, known), FrozenSet.parse("stem:bias"))
    assert {name for name, each in network.named_parameters() if each.requires_grad} == {
        *("0.bias", "bias", "1.weight", "1.bias")
    }


def test_more_sets_than_can_be_searched_are_refused_once_blocks_are_known():
    model = ModelConfig(backbone=TRANSFORMER, weights="none")
    few, many = ("full", "norm", "bias", "lora-1"), ("full", "norm", "bias", *(f"lora-{rank}" for rank in range(1, 6)))
    experiments = [
        Experiment(name="one", data=make_data(), model=model, search=SearchConfig(mode="subset", tunings=tunings))
        for tunings in (few, many)
    ]
    blocks = len(find_backbone(TRANSFORMER).blocks)
    assert len(experiments[0].frozen_sets) == 5**blocks
    with pytest.raises(
        ConfigError, match=rf"make {9**blocks:,} frozen sets of {blocks} blocks, and 5,000 can be searched"
    ):
        experiments[1].frozen_sets  # noqa: B018


@pytest.mark.parametrize("augmented", [{}, {"augment": "flip", "augment_views": 2}], ids=["plain", "views"])
def test_a_tuned_run_is_equal_to_the_last_bit_with_and_without_what_is_kept(tmp_path, monkeypatch, augmented):
    """Of 8 images a batch, training and validation leave some over, which are filled up for the frozen block."""
    monkeypatch.setitem(plans._FLOP_PER_S, "cpu", 1.0)  # as slow as it takes to keep whatever can be kept
    known = find_backbone(PLAIN)
    blocks = {block: tuple(paths) for block, paths in known.modules.items()}
    model = ModelConfig(backbone=PLAIN, weights="none", num_classes=3, blocks=blocks)
    data = make_data(image_size=64, synthetic=SyntheticConfig(train=17, validation=10, test=4), **augmented)
    spec = make_spec(make_set(PLAIN, "frozen", "lora-2", "bias").key, data=data, model=model, max_epochs=2)
    place = CachePlace(folder=str(tmp_path / "cache"))
    runs = []
    for folder, cache in (("plain", None), ("filling", place), ("reading", place)):
        work = Workplace(directory=str(tmp_path / folder), threads=1, cache=cache, cost=make_cost("stem"))
        result = without_times(run_training(spec, work, lambda _: None))
        runs.append((result, load_checkpoint_network(tmp_path / folder / "best.ckpt").state_dict()))
    assert [entry.kind for entry in Cache.at(place).entries()].count("activations") == 3
    assert runs[0][1].keys() == build_random(PLAIN, 3).state_dict().keys()
    for result, tensors in runs[1:]:
        assert result == runs[0][0]
        assert all(torch.equal(tensor, runs[0][1][key]) for key, tensor in tensors.items())
