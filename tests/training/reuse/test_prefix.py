"""The frozen prefix, computed once: the same results to the last bit, and none where it would not hold."""

import re
from pathlib import Path

import pytest
import torch

from orchestrator.backbones import find_backbone
from orchestrator.config.models import CacheConfig, DataConfig, ModelConfig, SyntheticConfig, TrainerConfig
from orchestrator.errors import RunError
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.records.spec import RECIPE_VERSION
from orchestrator.storage.cache import Cache
from orchestrator.training.data.loading import load_data
from orchestrator.training.images.batches import BatchOrder
from orchestrator.training.network.backbones import build_network, network_stages
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.network.weights import load_weights
from orchestrator.training.reuse import prefix as prefixes
from orchestrator.training.reuse.plan import describe_reuse, first_frozen, plan_prefix
from orchestrator.training.reuse.prefix import Prefix
from orchestrator.training.run.run import run_training
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, parse, without_times

RESNET18 = find_backbone("resnet18").blocks
pytestmark = pytest.mark.usefixtures("narrow")
ALL = "+".join(RESNET18)
PREFIXES = ["stem", "stem+layer1", "stem+layer1+layer2", "stem+layer1+layer2+layer3", ALL]
GAP = "stem+layer2+layer4"
ROOMY = {"cache": CacheConfig()}
FINAL_SIZES = {"stem": 64 * 56 * 56, "layer1": 64 * 56 * 56, "layer2": 128 * 28 * 28, "layer3": 256 * 14 * 14}


def place_in(folder: Path, **settings: object) -> CachePlace:
    return CachePlace(folder=str(folder / "cache"), **settings)


def train(folder: Path, spec, cache: CachePlace | None):
    place = Workplace(directory=str(folder), threads=1, cache=cache, cost=make_cost(spec.frozen))
    result = run_training(spec, place, lambda _: None)
    return result, torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]


def kinds(place: CachePlace) -> list[str]:
    return [entry.kind for entry in Cache.at(place).entries()]


def assert_equal_with_and_without(tmp_path, frozen, *, calls=1, **data):
    spec = make_spec(frozen, data=make_data(synthetic=SyntheticConfig(train=25, validation=17, test=9), **data))
    plain, weights = train(tmp_path / "plain", spec, None)
    place = place_in(tmp_path)
    for call in range(calls):
        result, tensors = train(tmp_path / str(call), spec, place)
        assert kinds(place) == ["activations"] * 3 + ["images"]
        assert without_times(result) == without_times(plain)
        assert tensors.keys() == weights.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in weights.items())
    return tensors


@pytest.mark.parametrize(("frozen", "calls"), [*((frozen, 1) for frozen in PREFIXES), (GAP, 2)])
def test_a_run_is_equal_to_the_last_bit_with_and_without(tmp_path, frozen, calls):
    """The first call computes the prefix, the second finds it; in training and validation one image is left over."""
    assert_equal_with_and_without(tmp_path, frozen, calls=calls)


@pytest.mark.parametrize("frozen", ["stem+layer1", ALL])
def test_a_run_of_the_real_network_is_equal_too(tmp_path, wide, frozen):
    assert_equal_with_and_without(tmp_path, frozen)


@pytest.mark.parametrize(("image_size", "channels_last"), [(127, False), (128, True)])
def test_so_is_one_of_larger_images_whose_channels_lie_beside_each_other(tmp_path, wide, image_size, channels_last):
    tensors = assert_equal_with_and_without(tmp_path, "stem+layer1", image_size=image_size)
    of_torch = re.compile(
        r"network\.(conv1|layer1\.\d\.conv\d|layer[23]\.0\.conv1)\.weight"
    )  # the others are quick ones
    kernels = [tensor for name, tensor in tensors.items() if of_torch.fullmatch(name)]
    assert len(kernels) == 1 + 4 + 2
    assert {kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels} == {channels_last}


def test_the_frozen_blocks_are_computed_once_for_all_seeds_and_sets(tmp_path, monkeypatch):
    """Weights from a file do not depend on the seed."""
    torch.manual_seed(7)
    state = build_network(ModelConfig(weights="none"), 1000, 0, parse("none")).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    model = ModelConfig(weights=str(tmp_path / "weights.pt"), num_classes=3)
    filled = []
    monkeypatch.setattr(prefixes.Computing, "_fill", noting(prefixes.Computing._fill, filled))
    monkeypatch.setattr("orchestrator.training.run.run._load_weights", lambda spec, _: load_weights(spec.model))
    place = place_in(tmp_path)
    for number, (frozen, seed) in enumerate([("stem", 0), ("stem", 1), (GAP, 1), ("stem+layer1", 0)]):
        train(tmp_path / str(number), make_spec(frozen, seed, model=model, max_epochs=1), place)
    assert len(filled) == 3 + 3  # the splits behind the stem once, and behind layer1


def test_a_run_leaves_what_it_computes_on_the_way_where_other_runs_begin(tmp_path, monkeypatch):
    """Runs begin behind the stem, `layer2` and the pool (6 parts): nobody asks for what `layer1` alone gives."""
    place = place_in(tmp_path, boundaries=(1, 3, 6))
    longest = make_spec(ALL, max_epochs=1)
    result, weights = train(tmp_path / "longest", longest, place)
    assert kept_parts(place) == ["stem", "stem+layer1+layer2", f"{ALL}+pool"]
    monkeypatch.setattr(prefixes.Computing, "_fill", None)  # nothing is computed any more
    for number, frozen in enumerate(["stem+layer1+layer2", "stem"]):
        spec = make_spec(frozen, max_epochs=1)
        found, _ = train(tmp_path / str(number), spec, place)
        assert without_times(found) == without_times(train(tmp_path / f"plain {number}", spec, None)[0])
    plain, expected = train(tmp_path / "plain", longest, None)
    assert without_times(result) == without_times(plain)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_without_room_on_the_way_only_the_longest_prefix_is_kept(tmp_path):
    """The images have 135 KiB, the 128 numbers of each of the 45 images 23, what the stem gives of 24 of them 96."""
    place = place_in(tmp_path, boundaries=(1, 6), max_gb=200 * 2**10 / 2**30)
    spec = make_spec(ALL, max_epochs=1)
    result, _ = train(tmp_path / "run", spec, place)
    assert kept_parts(place) == [f"{ALL}+pool"]
    assert without_times(result) == without_times(train(tmp_path / "plain", spec, None)[0])


def kept_parts(place: CachePlace) -> list[str]:
    """List the parts whose activations are kept, by size: those of fewer parts are larger."""
    entries = [entry for entry in Cache.at(place).entries() if entry.kind == "activations" and "train" in entry.of]
    return [entry.of.split(" of ")[0] for entry in sorted(entries, key=lambda entry: entry.size, reverse=True)]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_longer_prefix_goes_on_from_a_shorter_one_and_gives_the_same(tmp_path, monkeypatch, precision):
    place = place_in(tmp_path)
    train(tmp_path / "shorter", make_spec("stem+layer1+layer2+layer3", max_epochs=1, precision=precision), place)
    spec = make_spec(ALL, max_epochs=1, precision=precision)
    from_images = []
    monkeypatch.setattr(prefixes.Computing, "_normalise", noting(prefixes.Computing._normalise, from_images))
    result, weights = train(tmp_path / "longer", spec, place)
    assert {len(images) for _, images in from_images} == {1}  # one image tells the shapes; no batch begins with images
    plain, expected = train(tmp_path / "plain", spec, None)
    assert without_times(result) == without_times(plain)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_other_weights_in_front_are_no_shorter_prefix(tmp_path, monkeypatch):
    """The seed makes the backbone, where there are no weights."""
    place = place_in(tmp_path)
    train(tmp_path / "shorter", make_spec("stem", max_epochs=1), place)
    from_images = []
    monkeypatch.setattr(prefixes.Computing, "_normalise", noting(prefixes.Computing._normalise, from_images))
    train(tmp_path / "longer", make_spec("stem+layer1", seed=1, max_epochs=1), place)
    assert max(len(images) for _, images in from_images) > 1


def test_what_another_recipe_computed_is_none_either(tmp_path, monkeypatch):
    """The recipe says how convolutions are computed, and with it the last bit of what they give."""
    filled, place = [], place_in(tmp_path)
    monkeypatch.setattr(prefixes.Computing, "_fill", noting(prefixes.Computing._fill, filled))
    for number, recipe in enumerate((RECIPE_VERSION, RECIPE_VERSION, RECIPE_VERSION + 1)):
        monkeypatch.setattr(prefixes, "RECIPE_VERSION", recipe)
        train(tmp_path / str(number), make_spec("stem", max_epochs=1), place)
    assert len(filled) == 3 + 0 + 3


def noting(function, calls):
    def noted(*args):
        calls.append(args)
        return function(*args)

    return noted


@pytest.mark.parametrize("frozen", ["stem+layer1+layer2", ALL])
def test_the_checkpoint_gives_for_images_what_was_measured_on_activations(tmp_path, frozen):
    spec = make_spec(frozen)
    result, _ = train(tmp_path / "run", spec, place_in(tmp_path))
    network = load_checkpoint_network(tmp_path / "run" / "best.ckpt")
    data = load_data(spec.data)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (spec.data.mean, spec.data.std))
    with torch.inference_mode():
        logits = network((data.pixels["validation"][torch.arange(result.n_val)] / 255 - mean) / std)
    labels = torch.from_numpy(data.images["validation"].labels)
    assert float((logits.argmax(1) == labels).double().mean()) == result.val_acc
    assert float(torch.nn.functional.cross_entropy(logits, labels)) == pytest.approx(result.val_loss, rel=1e-5)


def test_the_parts_of_a_network_give_what_the_whole_gives():
    network = build_network(ModelConfig(weights="none"), 3, 0, parse("none")).eval()
    image = torch.rand(4, 3, 64, 64)
    value = image
    with torch.inference_mode():
        for part in network_stages(network, find_backbone("resnet18")).values():
            value = part(value)
        assert torch.equal(value, network(image))


def test_a_block_that_moves_is_found():
    network = build_network(ModelConfig(weights="none"), 3, 0, parse("stem"))
    prefix = Prefix(network, ("stem",), find_backbone("resnet18"))
    prefix.require_unmoved()
    network.get_submodule("bn1").running_mean[3] += 1e-7
    with pytest.raises(RunError, match="the frozen blocks stem changed"):
        prefix.require_unmoved()


def test_a_run_whose_frozen_block_moves_is_lost(tmp_path, monkeypatch):
    def open_and_move(cache, prefix, *rest):
        found = prefixes.open_activations(cache, prefix, *rest)
        prefix.modules[0].get_submodule("1").running_var.mul_(2)
        return found

    monkeypatch.setattr("orchestrator.training.run.run.open_activations", open_and_move)
    with pytest.raises(RunError, match="the frozen blocks stem changed while the others trained"):
        train(tmp_path / "run", make_spec("stem", max_epochs=1), place_in(tmp_path))


@pytest.mark.parametrize("refused_by", ["plan", "cache"])
def test_without_room_the_run_computes_them_each_epoch(tmp_path, caplog, monkeypatch, refused_by):
    """There is room for the images (135 KiB), but not for what the stem gives (45 * 16 * 8 * 8 * 4 bytes, 180 KiB)."""
    spec = make_spec("stem", max_epochs=1)
    place = place_in(tmp_path, max_gb=1.2 * 45 * 3 * spec.data.image_size**2 / 2**30)
    if refused_by == "cache":
        monkeypatch.setattr(prefixes, "plan_prefix", lambda *args, **given: plan_prefix(*args, **given | ROOMY))
    result, _ = train(tmp_path / "run", spec, place)
    assert ("the frozen blocks are computed each epoch" in caplog.text) == (refused_by == "cache")
    assert kinds(place) == ["images"]
    assert without_times(result) == without_times(train(tmp_path / "plain", spec, None)[0])


@pytest.mark.parametrize(
    ("frozen", "settings", "batchnorm"),
    [("none", {}, "eval"), ("layer4", {}, "eval"), ("stem", {"activations": False}, "eval"), ("stem", {}, "track")],
)
def test_where_nothing_holds_nothing_is_kept(tmp_path, frozen, settings, batchnorm):
    model = ModelConfig(weights="none", num_classes=3, frozen_batchnorm=batchnorm)
    place = place_in(tmp_path, **settings)
    train(tmp_path / "run", make_spec(frozen, model=model, max_epochs=1), place)
    assert kinds(place) == ["images"]


@pytest.mark.parametrize(
    ("frozen", "parts"),
    [
        ("none", ()),
        ("layer1", ()),
        ("stem", ("stem",)),
        ("stem+layer1+layer3", ("stem", "layer1")),
        (ALL, (*RESNET18, "pool")),
    ],
)
def test_the_prefix_ends_before_the_first_block_that_trains(frozen, parts):
    assert first_frozen(ModelConfig(), parse(frozen)) == parts


def plan(frozen: str, *, images: int | None = None, batchnorm="eval", accelerator="cpu", **given: object):
    cache = {name: value for name, value in given.items() if name in CacheConfig.model_fields}
    data = {name: value for name, value in given.items() if name not in cache}
    return plan_prefix(
        ModelConfig(frozen_batchnorm=batchnorm),
        DataConfig(source="synthetic", image_size=224, **data),
        parse(frozen),
        trainer=TrainerConfig(accelerator=accelerator, precision="32-true"),
        cache=CacheConfig(**cache),
        images=images,
    )


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("block", "elements"), FINAL_SIZES.items())
def test_the_plan_knows_the_size_of_what_is_kept(block, elements):
    frozen = "+".join(RESNET18[: RESNET18.index(block) + 1])
    assert plan(frozen).image_bytes == 4 * elements
    assert plan(frozen).kept


@pytest.mark.usefixtures("wide")
def test_what_stays_in_the_memory_of_a_gpu_is_kept():
    """There it is read once a run: 1295 times 784 KiB, against 20 000 times, which are read each epoch."""
    assert plan("stem", accelerator="gpu", images=1295).kept


@pytest.mark.usefixtures("wide")
def test_behind_the_last_block_512_numbers_an_image_are_kept():
    assert plan(ALL).image_bytes == 4 * 512


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"frozen": "layer1"}, "the first block trains"),
        ({"frozen": "stem", "batchnorm": "track"}, "model.frozen_batchnorm is track"),
        ({"frozen": "stem", "augment": "flip"}, "data.augment is flip"),
        ({"frozen": "stem", "augment": ["RandomGrayscale"]}, r"data.augment is \[RandomGrayscale\]"),
        ({"frozen": "stem", "mixup": 0.2}, "data.mixup is 0.2: each batch mixes its images anew"),
        ({"frozen": "stem", "cutmix": 1.0, "augment": "flip", "augment_views": 2}, "data.cutmix is 1"),
        ({"frozen": "stem", "activations": False}, "cache.activations is false"),
        ({"frozen": "stem", "images": 1295, "max_gb": 0.5}, r"0.968 GiB are more than cache.max_gb \(0.5\)"),
        ({"frozen": "stem", "accelerator": "gpu", "images": 20_000}, "to read it takes longer than to compute it"),
    ],
)
def test_the_plan_says_why_nothing_is_kept(given, reason):
    refused = plan(**given).refused
    assert refused is not None
    assert re.search(reason, refused)


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_no_batch_has_one_image_that_could_be_in_a_larger_one(length, batch_size):
    for seed in (None, 3):
        batches = list(BatchOrder(length, batch_size, seed))
        assert sorted(row for rows in batches for row in rows) == list(range(length))
        assert all(len(rows) > 1 for rows in batches) or batch_size == 1 or length == 1


@pytest.mark.usefixtures("wide")
def test_fixed_views_are_kept_and_their_bytes_are_said():
    """100 training images in 3 views, 20 and 10 others: 330 times 64*56*56 numbers of 4 bytes are 252.7 MiB."""
    views = {"augment": "crop-flip", "augment_views": 3}
    sizes = {"train": 100, "validation": 20, "test": 10}
    images = DataConfig(source="synthetic", **views).count_images(sizes)
    assert images == 330
    assert DataConfig(source="synthetic").count_images(sizes) == 130
    found = plan("stem", images=images, **views)
    assert describe_reuse([found], images) == [
        "computed once for all runs: stem of 1 frozen set (252.7 MiB, 3 views of each training image)"
    ]
    assert plan("stem", images=images, max_gb=0.2, **views).refused == "0.247 GiB are more than cache.max_gb (0.2)"
