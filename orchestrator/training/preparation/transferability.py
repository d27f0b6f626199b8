"""What a pretrained network says of the training images before anything trains: two scores for each of its blocks."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.backbones import Backbone
from orchestrator.blocks import FrozenSet
from orchestrator.config.models import DataConfig, Experiment
from orchestrator.records.place import CachePlace
from orchestrator.records.scores import BlockScore
from orchestrator.storage.cache import Cache
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.splits import TRAIN
from orchestrator.training.network.backbones import block_modules, build_network, network_stages
from orchestrator.training.network.tracing import spatial_axes
from orchestrator.training.network.weights import load_weights
from orchestrator.training.seeds import derive_seed

IMAGES = 256
"""Training images that are looked at, at the most: fewer where they are large, so that it takes seconds."""
_SMALL, _FEWEST = 64, 64
"""Pixels square up to which as many are looked at, and the number below which it does not fall for larger ones."""
BATCH = 16
"""Images that are computed at a time, and of one gradient."""
GRADIENTS = 2
"""Gradients that are looked at: those of the first batches. A backward pass takes twice as long as a forward pass."""
_LEAST = 2
"""Images of a class, below which nothing can be said of it."""
_STEPS = 1000
_TOLERANCE = 1e-7
_RANGE = (1e-12, 1e12)
"""Of the ratio of the precisions, in units of the largest squared singular value: evidence may rise up to any end."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def score_blocks(
    experiment: Experiment, num_classes: int, place: CachePlace | None, weights_file: str | None = None
) -> tuple[BlockScore, ...]:
    """Score the blocks of an experiment's pretrained network on some training images, on the CPU and in fp32.

    The images are drawn from the first seed, the same number of each class as far as there are as many; the head is
    that of a run with this seed. Equal arguments give equal scores.

    Args:
        experiment: What is swept.
        num_classes: Outputs of the head.
        place: Where decoded images are kept; None: nowhere.
        weights_file: Where the weights lie, if they are those of a sweep.

    Raises:
        ValueError: There are too few images, or a score is not finite.
        OrchestratorError: Data or weights cannot be brought.
        RuntimeError: There is not enough memory.
    """
    seed = experiment.search.seeds[0]
    pixels, labels = _read_images(experiment.data, place, derive_seed(seed, "scores"))
    weights = load_weights(experiment.model, weights_file, experiment.data.image_size)
    size = experiment.data.image_size
    network = build_network(experiment.model, num_classes, derive_seed(seed, "head"), FrozenSet(), weights, size)
    return score_network(network, experiment.model.network, _normalise(pixels, experiment.data), labels)


def score_network(network: nn.Module, known: Backbone, images: Tensor, labels: Labels) -> tuple[BlockScore, ...]:
    """Score the blocks of a network.

    The relative gradient norm of a block is sqrt(sum of squared gradients) / sqrt(sum of squared weights) over its
    parameters, a mean over the first `GRADIENTS` batches; BatchNorm holds its statistics.
    Source: Lee et al., Surgical fine-tuning improves adaptation to distribution shifts, ICLR 2023, section 4.

    Args:
        network: All of it trains; it is put into eval mode and keeps no gradients.
        known: Its blocks.
        images: Normalised, [n, 3, size, size].
        labels: [n].

    Raises:
        ValueError: There are too few images, or a score is not finite.
    """
    _require_enough(labels)
    network.eval()
    blocks = block_modules(network, known)
    features: dict[str, list[Floats]] = {block: [] for block in blocks}
    norms: dict[str, list[float]] = {block: [] for block in blocks}
    targets = torch.from_numpy(labels)
    stages = network_stages(network, known, images.shape[-1])
    for number, start in enumerate(range(0, len(labels), BATCH)):
        value = images[start : start + BATCH]
        with torch.set_grad_enabled(number < GRADIENTS):
            for name, part in stages.items():
                value = part(value)
                if name in features:
                    features[name].append(_pool(value.detach()).double().numpy())
        if number < GRADIENTS:
            loss = nn.functional.cross_entropy(value, targets[start : start + BATCH])
            loss.backward()  # type: ignore[no-untyped-call]
            for block, norm in _relative_gradients(blocks):
                norms[block].append(norm)
            network.zero_grad(set_to_none=True)
    scores = tuple(
        BlockScore(
            block=block,
            logme=compute_logme(np.concatenate(features[block]), labels),
            grad_norm=float(np.mean(norms[block])),
        )
        for block in blocks
    )
    if not np.isfinite([[each.logme, each.grad_norm] for each in scores]).all():
        raise ValueError("a score of the pretrained network is not finite")
    return scores


def _pool(value: Tensor) -> Tensor:
    """Average over the places of the image."""
    axes = spatial_axes(tuple(value.shape))
    return value.mean(dim=axes) if axes else value


def count_images(image_size: int) -> int:
    """Count the training images that are looked at, for images of so many pixels square."""
    return min(IMAGES, max(_FEWEST, IMAGES * _SMALL**2 // image_size**2))


def compute_logme(features: Floats, labels: Labels) -> float:
    """Compute the highest log evidence of a Bayesian linear regression from features to labels, an image.

    For each class, 1 for its images and 0 for others are regressed on the features, without an intercept, and the
    evidence is maximised over the precisions of weights and noise. The mean over the classes that occur is divided by
    the number of images. Higher is better; it does not depend on the scale of the features.
    Source: You et al., LogME: practical assessment of pre-trained models for transfer learning, ICML 2021; by the fixed
    point of You et al., Ranking and tuning pre-trained models, JMLR 2022, algorithm 3.

    Args:
        features: [n, d], float64.
        labels: [n].

    Raises:
        ValueError: There are fewer than two classes, or a feature is not finite.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"LogME compares classes, and there is {len(classes)}")
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite")
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    told = singular > max(features.shape) * np.finfo(np.float64).eps * singular[0]
    left, squares = left[:, told], singular[told] ** 2
    if len(squares):
        squares = squares / squares[0]
    evidences = [_maximise_evidence(left, squares, (labels == each).astype(np.float64)) for each in classes]
    return float(np.mean(evidences)) / len(labels)


def _maximise_evidence(left: Floats, squares: Floats, target: Floats) -> float:
    """Maximise the log evidence of a target.

    With the ratio r of the precisions of weights and noise, the latter has its best value in closed form. For r the
    fixed point is that of the paper: the number of well determined weights over their squares, by the residual over
    what is left of the images.

    Args:
        left: Left singular vectors of the features, [n, rank].
        squares: Squared singular values, [rank], the largest 1.
        target: [n].
    """
    n, rank = left.shape
    projected = (left.T @ target) ** 2
    outside = max(0.0, float(target @ target - projected.sum()))
    ratio = 1.0
    for _ in range(_STEPS):
        sums = squares + ratio
        weights = float((squares * projected / sums**2).sum())
        residual = float((ratio**2 * projected / sums**2).sum()) + outside
        loose = float((ratio / sums).sum()) + n - rank
        determined = float((squares / sums).sum())
        moved = determined * residual / (loose * weights) if loose * weights > 0 else _RANGE[1]
        before, ratio = ratio, float(np.clip(moved, *_RANGE))
        if abs(np.log(ratio / before)) < _TOLERANCE:
            break
    sums = squares + ratio
    misfit = float((ratio * projected / sums).sum()) + outside
    log_noise = np.log(n / max(misfit, np.finfo(np.float64).tiny))
    return float(0.5 * (n * log_noise - n - n * np.log(2 * np.pi) + np.log(ratio / sums).sum()))


def choose_rows(labels: Labels, most: int, seed: int) -> list[int]:
    """Choose at most so many rows at random, from the classes in turn until each has given all that it has.

    So any first rows of the answer are balanced too, as far as the classes have as many.
    """
    draw = np.random.default_rng(seed)
    shuffled = [draw.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    turns = sorted((turn, place) for place, rows in enumerate(shuffled) for turn in range(len(rows)))
    return [int(shuffled[place][turn]) for turn, place in turns[:most]]


def _require_enough(labels: Labels) -> None:
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or counts.min() < _LEAST:
        raise ValueError(f"{len(labels)} training images of {len(counts)} classes are too few")


def _relative_gradients(blocks: Mapping[str, list[nn.Module]]) -> Iterator[tuple[str, float]]:
    for block, modules in blocks.items():
        parameters = [parameter for module in modules for parameter in module.parameters()]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        yield block, (_sum_squares(gradients) / _sum_squares(parameters)) ** 0.5


def _sum_squares(tensors: list[Tensor] | list[nn.Parameter]) -> float:
    return sum(float(tensor.detach().double().square().sum()) for tensor in tensors)


def _read_images(config: DataConfig, place: CachePlace | None, seed: int) -> tuple[Tensor, Labels]:
    """Read the images to look at, uint8, and their labels; no others are decoded."""
    cache = Cache.at(place) if place is not None and place.images else None
    data = load_data(config.model_copy(update={"memory_mb": 0}), (TRAIN,), cache=cache)
    images = data.images[TRAIN]
    rows = choose_rows(images.labels, count_images(config.image_size), seed)
    labels = images.labels[rows]
    _require_enough(labels)
    if data.in_memory:
        return data.pixels[TRAIN][torch.tensor(rows)], labels
    return torch.stack([torch.from_numpy(images.read(row, config.image_size)) for row in rows]), labels


def _normalise(pixels: Tensor, config: DataConfig) -> Tensor:
    mean, std = (255 * torch.tensor(each).view(1, 3, 1, 1) for each in (config.mean, config.std))
    return (pixels.float() - mean) / std
