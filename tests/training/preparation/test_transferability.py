"""Scores from before training, against scipy's optimiser and gradients that are worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from orchestrator.backbones import find_backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, Experiment, ModelConfig, SearchConfig, SyntheticConfig
from orchestrator.records.place import CachePlace
from orchestrator.training.data.loading import load_data
from orchestrator.training.network.backbones import build_network
from orchestrator.training.preparation import transferability
from orchestrator.training.preparation.transferability import choose_rows, compute_logme, score_blocks, score_network
from tests.training.tiny import RESNET18


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these are computed slower by several threads, where others use the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def maximise_evidence(features, target):
    """Log evidence of target ~ N(features w, 1/beta), w ~ N(0, 1/alpha), as the density of the target itself."""
    n = len(target)

    def lose(logs):
        alpha, beta = np.exp(np.clip(logs, -30, 30))  # the best may lie at any end
        covariance = np.eye(n) / beta + features @ features.T / alpha
        _, log_det = np.linalg.slogdet(covariance)
        return 0.5 * (n * np.log(2 * np.pi) + log_det + target @ np.linalg.solve(covariance, target))

    starts = [(a, b) for a in (-4.0, 0.0, 4.0) for b in (-2.0, 2.0)]
    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000}
    return -min(minimize(lose, start, method="Nelder-Mead", options=options).fun for start in starts)


def draw(n, d, *, classes=3, signal=0.7, seed=0):
    """Features, noisy, of which the first as many as there are classes know the label."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % classes)
    features = generator.normal(size=(n, d))
    features[:, :classes] += signal * np.eye(classes)[labels]
    return features, labels


# LogME


@pytest.mark.parametrize(("n", "d", "signal"), [(30, 4, 0.7), (30, 4, 3.0), (12, 20, 1.0), (15, 15, 2.0)])
def test_logme_is_the_highest_evidence_that_an_optimiser_finds(n, d, signal):
    features, labels = draw(n, d, signal=signal)
    expected = np.mean([maximise_evidence(features, (labels == each) * 1.0) for each in range(3)]) / n
    assert compute_logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_features_that_repeat_each_other_are_no_more_than_a_larger_one():
    features, labels = draw(30, 4)
    # w1 f + w2 f with w1, w2 ~ N(0, s) is w f sqrt(2) with w ~ N(0, s), and the scale of all features is free
    assert compute_logme(np.hstack([features, features]), labels) == pytest.approx(compute_logme(features, labels))


def test_logme_depends_neither_on_order_nor_on_scale_nor_on_names():
    features, labels = draw(40, 6)
    score = compute_logme(features, labels)
    order = np.random.default_rng(1).permutation(40)
    assert compute_logme(features[order], labels[order]) == pytest.approx(score, abs=1e-9)
    assert compute_logme(1000 * features, labels) == pytest.approx(score, abs=1e-9)
    assert compute_logme(features, 7 - 2 * labels) == pytest.approx(score, abs=1e-9)


def test_features_that_separate_the_classes_score_higher_than_shuffled_labels():
    features, labels = draw(60, 5, signal=2.0)
    shuffled = [compute_logme(features, np.random.default_rng(seed).permutation(labels)) for seed in range(20)]
    assert compute_logme(features, labels) > max(shuffled)


def test_features_that_say_nothing_leave_the_evidence_of_noise_alone():
    labels = np.arange(20) % 2
    # each class has 10 ones of 20: the noise has variance 1/2, the log density an image is -(log(2 pi / 2) + 1) / 2
    assert compute_logme(np.zeros((20, 3)), labels) == pytest.approx(-0.5 * (np.log(np.pi) + 1))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.ones((4, 2)), np.zeros(4, dtype=np.int64), "compares classes, and there is 1"),
        (np.full((4, 2), np.nan), np.arange(4) % 2, "not finite"),
    ],
)
def test_logme_refuses_what_it_cannot_compare(features, labels, message):
    with pytest.raises(ValueError, match=message):
        compute_logme(features, labels)


# The images


def test_images_are_chosen_from_the_classes_in_turn():
    labels = np.array([0] * 50 + [1] * 4 + [2] * 20)
    rows = choose_rows(labels, 30, seed=1)
    assert len(set(rows)) == 30
    # four rounds of three, then two classes share the other 18
    assert np.bincount(labels[rows]).tolist() == [13, 4, 13]
    assert np.bincount(labels[rows[:12]]).tolist() == [4, 4, 4]
    assert rows == choose_rows(labels, 30, seed=1)
    assert rows != choose_rows(labels, 30, seed=2)
    assert sorted(choose_rows(labels, 1000, seed=1)) == list(range(74))


# The network

SIZES = (6, 6, 3)
"""Images of the batches. There are gradients of the first two."""


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(SIZES), 3, 32, 32, generator=generator), np.arange(sum(SIZES)) % 3


@pytest.fixture(scope="module")
def scored(images):
    """A ResNet18, its tensors before it was scored, and its scores by block.

    Its BatchNorm has statistics of its own, so that its mode matters.
    """
    network = build_network(ModelConfig(weights="none"), 3, 0, FrozenSet())
    with torch.no_grad():
        network.train()(images[0])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transferability, "BATCH", SIZES[0])
        patch.setattr(transferability, "GRADIENTS", 2)
        scores = score_network(network, find_backbone("resnet18"), *images)
    return network, before, {score.block: score for score in scores}


def test_the_gradient_norm_of_a_block_is_that_of_autograd(scored, images):
    network, _, scores = scored
    assert list(scores) == list(RESNET18)
    pixels, labels = images
    expected = {block: [] for block in RESNET18}
    for rows in (slice(0, 6), slice(6, 12)):
        loss = nn.CrossEntropyLoss()(network.eval()(pixels[rows]), torch.tensor(labels[rows]))
        named = dict(network.named_parameters())
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        for block in RESNET18:
            roots = ("conv1.", "bn1.") if block == "stem" else (f"{block}.",)
            names = [name for name in named if name.startswith(roots)]
            gradient = torch.cat([gradients[name].flatten() for name in names]).double()
            weight = torch.cat([named[name].detach().flatten() for name in names]).double()
            expected[block].append(float(gradient.norm() / weight.norm()))
    assert {block: score.grad_norm for block, score in scores.items()} == pytest.approx(
        {block: np.mean(norms) for block, norms in expected.items()}, rel=1e-5
    )


def test_the_logme_of_a_block_is_of_what_it_gives_pooled(scored, images):
    network, _, scores = scored
    pixels, labels = images
    network.eval()
    with torch.no_grad():
        stem = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
        layer2 = network.layer2(network.layer1(stem))
        pooled = network.avgpool(network.layer4(network.layer3(layer2))).flatten(1)
    for block, value in (("stem", stem.mean((2, 3))), ("layer2", layer2.mean((2, 3))), ("layer4", pooled)):
        assert scores[block].logme == pytest.approx(compute_logme(value.double().numpy(), labels), abs=1e-4)


def test_scoring_leaves_the_network_as_it_was(scored):
    network, before, _ = scored
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_that_gives_no_number_is_refused(images):
    broken = build_network(ModelConfig(weights="none"), 3, 0, FrozenSet())
    nn.init.constant_(broken.get_parameter("conv1.weight"), torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        score_network(broken, find_backbone("resnet18"), images[0][:6], images[1][:6])


# An experiment


def make_experiment(train=40, **search) -> Experiment:
    synthetic = SyntheticConfig(classes=2, train=train, validation=4, test=4)
    return Experiment(
        name="scored",
        data=DataConfig(source="synthetic", image_size=32, synthetic=synthetic),
        model=ModelConfig(weights="none"),
        search=SearchConfig(**search),
    )


def test_an_experiment_is_scored_alike_each_time_and_with_a_cache_or_without(tmp_path, monkeypatch):
    monkeypatch.setattr(transferability, "IMAGES", 6)
    state = torch.get_rng_state()
    alone = score_blocks(make_experiment(), 2, None)
    cached = score_blocks(make_experiment(), 2, CachePlace(folder=str(tmp_path)))
    assert alone == cached
    assert torch.equal(torch.get_rng_state(), state)
    assert score_blocks(make_experiment(seeds=(1, 0)), 2, None) != alone  # other images, another head


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="3 training images of 2 classes are too few"):
        score_blocks(make_experiment(train=3), 2, None)


def test_no_image_but_those_that_are_looked_at_is_decoded(monkeypatch):
    monkeypatch.setattr(transferability, "IMAGES", 6)
    read = []
    drawn = load_data

    def load(*args, **kwargs):
        data = drawn(*args, **kwargs)
        images = data.images["train"]

        class Counting:
            labels = images.labels

            def read(self, row, size):
                read.append(row)
                return images.read(row, size)

        return replace(data, images={"train": Counting()})

    monkeypatch.setattr(transferability, "load_data", load)
    score_blocks(make_experiment(), 2, None)
    assert len(read) == len(set(read)) == 6


@pytest.mark.parametrize(("size", "count"), [(32, 256), (64, 256), (96, 113), (224, 64)])  # 256 x 64^2 / 96^2 = 113.8
def test_large_images_are_looked_at_in_smaller_number(size, count):
    assert transferability.count_images(size) == count
