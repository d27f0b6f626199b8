"""Runs of which blocks train in part: what moves, what is kept, and that nothing else changes a bit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from orchestrator.config.models import CacheConfig, ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.storage.cache import Cache
from orchestrator.storage.predictions import read_predictions
from orchestrator.training.data.loading import load_data, order_seed
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.costs import measure_costs
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run import epochs, run
from orchestrator.training.run.run import run_training
from orchestrator.training.seeds import derive_seed
from tests.factories import make_cost
from tests.training.narrow import NarrowResNet18
from tests.training.run.resumed import FINISHED, InterruptedRunError, names
from tests.training.tiny import make_spec, normalise, parse, without_times

pytestmark = pytest.mark.usefixtures("narrow")
KEY = "stem+layer1:norm+layer2:bias+layer3:lora-4"
BLOCK_OF = {"conv1": "stem", "bn1": "stem"}


def train(folder, spec, until=None, **place):
    seen = []

    def sink(metrics):
        seen.append(metrics)
        if metrics.epoch == until:
            raise InterruptedRunError

    where = Workplace(directory=str(folder), threads=1, cost=make_cost(spec.frozen), **place)
    try:
        return run_training(spec, where, sink), seen
    except InterruptedRunError:
        return None, seen


def start_of(spec):
    return build_network(spec.model, 3, derive_seed(spec.seed, "head"), spec.frozen)


def kept(folder):
    return load_checkpoint_network(folder / "best.ckpt").state_dict()


def assert_same(folder, result, other, expected):
    assert without_times(result) == without_times(expected)
    found, wanted = kept(folder), kept(other)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    ours, theirs = (read_predictions(each / "predictions.npz") for each in (folder, other))
    assert all(np.array_equal(ours[split].logits, theirs[split].logits) for split in ("validation", "test"))
    assert names(folder) == FINISHED


@pytest.fixture(scope="module")
def trained(tmp_path_factory, narrow):
    folder, spec = tmp_path_factory.mktemp("tuned"), make_spec(KEY, max_epochs=3, lr=0.01)
    result, seen = train(folder, spec)
    assert len(seen) == 3
    return spec, folder, result


def test_a_block_moves_in_what_its_tuning_names_and_in_nothing_else(trained):
    spec, folder, _ = trained
    before, after = start_of(spec).state_dict(), kept(folder)
    assert after.keys() == NarrowResNet18(3).state_dict().keys() < before.keys()  # those of the factors are merged
    moved = {}
    for name, tensor in after.items():
        block, _, rest = name.partition(".")
        if not torch.equal(before[name], tensor):
            kind = "norm" if "bn" in name or "downsample.1" in name else "layer"
            moved.setdefault(BLOCK_OF.get(block, block), set()).add(f"{kind} {rest.rpartition('.')[2]}")
    statistics = {"norm running_mean", "norm running_var", "norm num_batches_tracked"}
    assert moved == {
        "layer1": {"norm weight", "norm bias"},
        "layer2": {"norm bias"},
        "layer3": {"layer weight"},
        "layer4": {"layer weight", "norm weight", "norm bias", *statistics},
        "fc": {"layer weight", "layer bias"},
    }


def test_the_weights_of_lora_move_by_a_matrix_of_its_rank(trained):
    spec, folder, _ = trained
    before, after = start_of(spec).state_dict(), kept(folder)
    weights = [name for name in after if name.startswith("layer3.") and after[name].ndim == 4]
    assert len(weights) == 5
    for name in weights:
        sizes = np.linalg.svd((after[name] - before[name]).flatten(1).double().numpy(), compute_uv=False)
        assert sizes[3] > 20 * sizes[4]  # what is left is rounding
        assert sizes[4] < 1e-6


def test_the_parameters_are_counted_as_costs_count_them_and_factors_belong_to_no_network(trained):
    spec, _, result = trained
    cost = measure_costs(spec.model, 3, 32, [spec.frozen])[spec.frozen]
    # 16, 32, 64 and 128 channels. layer1: 4 norms of 2 * 16; layer2: 5 biases of 32
    # layer3: 3x3 from 32 and three from 64, 1x1 from 32: 4 * (9 * (32 + 3 * 64) + 32 + 5 * 64)
    layer4 = sum(p.numel() for p in NarrowResNet18(3).layer4.parameters())
    expected = 4 * 32 + 5 * 32 + 4 * (9 * (32 + 3 * 64) + 32 + 5 * 64) + layer4 + 3 * 128 + 3
    assert result.trainable_params == cost.trainable_params == expected
    total = sum(p.numel() for p in NarrowResNet18(3).parameters())
    assert result.total_params == cost.total_params == total


def test_what_is_kept_predicts_what_the_run_predicted(trained):
    spec, folder, result = trained
    data, network = load_data(spec.data), load_checkpoint_network(folder / "best.ckpt")
    predicted = read_predictions(folder / "predictions.npz")
    for split in ("validation", "test"):
        with torch.no_grad():
            logits = network(normalise(torch.as_tensor(data.pixels[split]))).numpy()
        np.testing.assert_allclose(predicted[split].logits, logits, rtol=1e-4, atol=1e-4)
    assert result.val_acc == predicted["validation"].correct.mean()


class LowRank(nn.Module):
    """The weight that LoRA defines, as torch's parametrizations have it."""

    def __init__(self, up, down):
        super().__init__()
        self.up, self.down = nn.Parameter(up.flatten(1)), nn.Parameter(down.flatten(1))

    def forward(self, weight):
        return weight + 8 / len(self.down) * (self.up @ self.down).view_as(weight)


def parametrise(network: nn.Module, start: dict[str, torch.Tensor]) -> list[nn.Parameter]:
    """Let layer1 to layer3 train as `KEY` says, and return what trains."""
    norms = [m for m in network.layer1.modules() if isinstance(m, nn.BatchNorm2d)]
    trainable = [p for m in norms for p in m.parameters()]
    trainable += [m.bias for m in network.layer2.modules() if isinstance(m, nn.BatchNorm2d)]
    trainable += [*network.layer4.parameters(), *network.fc.parameters()]
    for name, module in [*network.layer3.named_modules()]:
        if isinstance(module, nn.Conv2d):
            change = LowRank(*(start[f"layer3.{name}.{side}.weight"].clone() for side in ("up", "down")))
            parametrize.register_parametrization(module, "weight", change)
            trainable += [change.up, change.down]
    return trainable


@pytest.mark.parametrize("batchnorm", ["eval", "track"])
def test_a_naive_loop_with_the_whole_weights_gives_the_same_network(tmp_path, batchnorm):
    model = ModelConfig(weights="none", num_classes=3, frozen_batchnorm=batchnorm)
    spec = make_spec(KEY, model=model, optimizer="sgd", lr=1e-3, max_epochs=1, weight_decay=0.01)
    train(tmp_path, spec)
    start, network = start_of(spec).state_dict(), NarrowResNet18(3)
    network.load_state_dict({name: start[name] for name in network.state_dict()})
    network.requires_grad_(requires_grad=False)
    trainable = parametrise(network, start)
    for parameter in trainable:
        parameter.requires_grad_()
    optimizer = torch.optim.SGD(trainable, lr=1e-3, momentum=0.9, weight_decay=0.01)
    data = load_data(spec.data)
    pixels, labels = normalise(data.pixels["train"]), torch.tensor(data.images["train"].labels)
    network.train()
    if batchnorm == "eval":
        for part in (network.conv1, network.bn1, network.layer1, network.layer2, network.layer3):
            part.eval()
    order = torch.from_numpy(np.random.default_rng([order_seed(spec.seed), 0]).permutation(len(pixels)))
    for rows in order.split(spec.data.batch_size):
        optimizer.zero_grad()
        cross_entropy(network(pixels[rows]), labels[rows]).backward()
        optimizer.step()
    for module in network.layer3.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    found, expected = kept(tmp_path), network.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
        if "layer3" in name and tensor.ndim == 4:  # the change itself, not only the weight
            change = expected[name] - start[name]
            assert torch.dist(found[name] - start[name], change) < 0.02 * change.norm()


def test_factors_depend_on_the_seed_and_on_no_other_block():
    one = start_of(make_spec("stem+layer1:lora-2+layer3:lora-4")).state_dict()
    other = start_of(make_spec("layer3:lora-4")).state_dict()
    again = start_of(make_spec("layer3:lora-4", seed=1)).state_dict()
    factors = [name for name in other if ".down." in name]
    assert len(factors) == 5
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not any(torch.equal(again[name], other[name]) for name in factors)
    assert len({float(other[name].flatten()[0]) for name in factors}) == 5


@pytest.mark.parametrize("until", [0, 1, 2])
def test_an_interrupted_run_ends_as_if_left_alone(trained, tmp_path, until):
    spec, alone, expected = trained
    folder = tmp_path / "run"
    assert train(folder, spec, until)[0] is None
    held = torch.load(folder / f"last-{until:03d}.ckpt", weights_only=True)
    assert sum(".down." in name for name in held["state_dict"]) == 5
    result, seen = train(folder, spec)
    assert len(seen) == 3
    assert_same(folder, result, alone, expected)


@pytest.mark.parametrize("place", ["write_predictions", "write_document"])
def test_a_run_that_dies_before_its_result_ends_as_if_left_alone(trained, tmp_path, monkeypatch, place):
    spec, alone, expected = trained

    def die(*_):
        raise InterruptedRunError

    with monkeypatch.context() as patched:
        patched.setattr(run, place, die)
        assert train(tmp_path, spec, checkpoint_share=1.0)[0] is None
    assert (tmp_path / "best.ckpt").exists()
    assert any(name.startswith("last-") for name in names(tmp_path))
    result, _ = train(tmp_path, spec)
    assert_same(tmp_path, result, alone, expected)


def test_a_paused_run_goes_on_as_if_left_alone(trained, tmp_path):
    spec, alone, expected = trained
    first, _ = train(tmp_path, spec, until_epoch=1)
    assert len(first.val_correct) == 12
    result, _ = train(tmp_path, spec)
    (tmp_path / "rung-001.json").unlink()
    assert_same(tmp_path, result, alone, expected)


def test_batches_one_by_one_and_as_one_give_the_same_bits(trained, tmp_path, monkeypatch):
    spec, alone, expected = trained
    for number, least in enumerate((float("inf"), 0.0)):
        monkeypatch.setattr(epochs, "SHORT_S", least)
        result, _ = train(tmp_path / str(number), spec)
        assert_same(tmp_path / str(number), result, alone, expected)


def test_a_block_that_trains_in_part_ends_the_prefix_that_is_kept(tmp_path):
    spec = make_spec("stem+layer1:lora-2+layer2+layer3:norm", lr=0.01)
    plain, _ = train(tmp_path / "plain", spec)
    place = CachePlace(folder=str(tmp_path / "cache"), **CacheConfig().model_dump())
    result, _ = train(tmp_path / "cached", spec, cache=place)
    assert_same(tmp_path / "cached", result, tmp_path / "plain", plain)
    made = {entry.of.partition(" of ")[0] for entry in Cache.at(place).entries() if entry.kind == "activations"}
    assert made == {"stem"}


def test_a_tuning_that_trains_nothing_or_has_too_many_ranks_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"^lora-17 is more than conv1\.weight can have, a matrix of 16 by 147$"):
        train(tmp_path, make_spec("stem:lora-17"))
    with pytest.raises(ConfigError, match="lora-17 is more than conv1"):
        measure_costs(ModelConfig(weights="none"), 3, 32, [parse("stem:lora-17")])

    def without_norms(*args):
        network = NarrowResNet18(3)
        network.bn1 = nn.Identity()
        return network

    monkeypatch.setattr("torchvision.models.get_model", lambda *_, **__: without_norms())
    for key in ("stem:norm", "stem:bias"):
        with pytest.raises(ConfigError, match=f"^{key} trains nothing: the block has no such parameters$"):
            measure_costs(ModelConfig(weights="none"), 3, 32, [parse(key)])
        with pytest.raises(ConfigError, match="trains nothing"):
            build_network(ModelConfig(weights="none"), 3, 0, parse(key))


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_a_run_in_mixed_precision_keeps_what_it_trained(tmp_path, precision):
    spec = make_spec("stem+layer1:lora-2+layer2:lora-4+layer3:lora-4+layer4:lora-4", precision=precision, lr=0.01)
    result, _ = train(tmp_path, spec)
    assert {tensor.dtype for tensor in kept(tmp_path).values()} == {torch.float32, torch.int64}
    assert result.trainable_params < 60_000


def test_statistics_follow_the_data_where_they_are_to(tmp_path):
    model = ModelConfig(weights="none", num_classes=3, frozen_batchnorm="track")
    spec = make_spec("stem+layer1:norm+layer2:lora-2", model=model, max_epochs=1)
    train(tmp_path, spec)
    after = kept(tmp_path)
    # 24 images in batches of 8
    assert {int(after[name]) for name in after if name.endswith("num_batches_tracked")} == {3}
