"""Kept activations of networks whose results depend on the size of a batch: equal to the last bit all the same."""

import pytest
import torch
from torch import nn

from orchestrator.backbones import find_backbone
from orchestrator.config.models import ModelConfig, SyntheticConfig
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.storage.cache import Cache
from orchestrator.training.reuse import plan as plans
from orchestrator.training.reuse.padding import compute_padded, lay_out, memory_axes, pads_batches
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.network import nets
from tests.training.tiny import make_data, make_spec, without_times

SMALL = ["mobilenet_v3_small", "squeezenet1_1", f"{nets.__name__}:build_plain"]
LARGE = "resnet50 efficientnet_b0 densenet121 regnet_y_400mf shufflenet_v2_x0_5 convnext_tiny swin_t"


class Noting(nn.Module):
    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(len(batch))
        return 2 * batch


@pytest.mark.parametrize(("images", "passes"), [(4, 1), (3, 1), (5, 2), (8, 2)])
def test_every_pass_has_one_size(images, passes):
    batch, part = torch.randn(images, 2, 3), Noting()
    assert torch.equal(compute_padded(part, batch, 4), 2 * batch)
    assert part.sizes == [4] * passes


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_a_batch_lies_in_memory_as_it_did(axes):
    batch = lay_out(torch.randn(3, 4, 5, 6), axes)
    assert memory_axes(batch) == axes
    assert memory_axes(compute_padded(nn.Identity(), batch, 2)) == axes
    assert memory_axes(lay_out(batch.contiguous(), axes)) == axes


def test_only_networks_that_need_it_are_padded_and_only_on_a_cpu():
    assert [pads_batches(find_backbone(name), "cpu") for name in ("resnet18", "resnet34", "resnet50")] == [0, 0, 1]
    assert not pads_batches(find_backbone("resnet50"), "gpu")


@pytest.mark.parametrize("depth", [2, None])
@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.models) for name in LARGE.split())])
def test_a_run_is_equal_to_the_last_bit_with_and_without(tmp_path, monkeypatch, name, depth):
    """Of 8 images a batch, training leaves one over, which makes a batch of 9, and validation and test are short."""
    monkeypatch.setitem(plans._FLOP_PER_S, "cpu", 1.0)  # as slow as it takes to keep whatever can be kept
    known = find_backbone(name)
    blocks = None if known.chained else {block: tuple(paths) for block, paths in known.modules.items()}
    model = ModelConfig(backbone=name, weights="none", num_classes=3, blocks=blocks)
    data = make_data(image_size=64, synthetic=SyntheticConfig(train=17, validation=10, test=4))
    spec = make_spec("+".join(known.blocks[:depth]), data=data, model=model, max_epochs=1)
    place = CachePlace(folder=str(tmp_path / "cache"))
    runs = []
    for folder, cache in (("plain", None), ("filling", place), ("reading", place)):
        work = Workplace(directory=str(tmp_path / folder), threads=1, cache=cache, cost=make_cost("stem"))
        result = without_times(run_training(spec, work, lambda _: None))
        runs.append((result, torch.load(tmp_path / folder / "best.ckpt", weights_only=True)["state_dict"]))
    assert [entry.kind for entry in Cache.at(place).entries()].count("activations") == 3
    for result, tensors in runs[1:]:
        assert result == runs[0][0]
        assert all(torch.equal(tensor, runs[0][1][key]) for key, tensor in tensors.items())


def test_a_block_that_something_passes_by_is_not_kept_and_it_is_said():
    name = f"{nets.__name__}:build_bridged"
    model = ModelConfig(backbone=name, weights="none")
    blocks = find_backbone(name).blocks
    spec = make_spec(blocks[0], data=make_data(image_size=64), model=model.model_copy(update={"num_classes": 3}))
    place = CachePlace(folder="unused")
    plan = plans.plan_prefix(model, spec.data, spec.frozen, trainer=spec.trainer, cache=place)
    assert plan.refused == f"what arrives at {blocks[1]} is more than one tensor, or is not replayed to the last bit"
