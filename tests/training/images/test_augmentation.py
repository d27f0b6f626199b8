"""Augmentation by transforms of torchvision: what is drawn, and what is refused."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from orchestrator.config.models import DataConfig
from orchestrator.config.transforms import TRANSFORMS
from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.images.augmentation import Views, build_transform, require_transform
from tests.training.tiny import make_data

SIZE = 24
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(256, size=(6, 3, SIZE, SIZE), dtype=np.uint8))
STEPS = [{"RandomRotation": {"degrees": 20, "interpolation": "bilinear"}}, "RandomHorizontalFlip"]


def build(augment, **more):
    transform = build_transform(DataConfig(source="synthetic", image_size=SIZE, augment=augment, **more))
    assert transform is not None
    return transform


@pytest.mark.parametrize("augment", [*TRANSFORMS, STEPS], ids=str)
def test_what_becomes_of_an_image_depends_on_its_own_draw_alone(augment):
    transform = build(augment)
    drawn = torch.from_numpy(transform.draw(np.random.default_rng(1), len(IMAGES)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    changed = transform.apply(IMAGES, drawn)
    assert torch.equal(torch.get_rng_state(), before)
    assert (changed.dtype, changed.shape) == (torch.uint8, IMAGES.shape)
    assert not torch.equal(changed, IMAGES)
    some = torch.tensor([4, 1])
    torch.manual_seed(7)
    assert torch.equal(transform.apply(IMAGES[some], drawn[some]), changed[some])


@pytest.mark.parametrize(
    ("augment", "plain"),
    [
        ("crop-flip", [v2.RandomResizedCrop((SIZE, SIZE)), v2.RandomHorizontalFlip()]),
        ("randaugment", [v2.RandomResizedCrop((SIZE, SIZE)), v2.RandomHorizontalFlip(), v2.RandAugment()]),
        ("trivialaugment", [v2.RandomResizedCrop((SIZE, SIZE)), v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()]),
        (STEPS, [v2.RandomRotation(20, v2.InterpolationMode.BILINEAR), v2.RandomHorizontalFlip()]),
        (
            [{"RandomApply": {"transforms": [{"ColorJitter": {"brightness": 0.5}}], "p": 0.9}}],
            [v2.RandomApply([v2.ColorJitter(brightness=0.5)], p=0.9)],
        ),
    ],
    ids=str,
)
def test_the_steps_are_torchvisions(augment, plain):
    drawn = torch.arange(len(IMAGES))
    expected = []
    for image, seed in zip(IMAGES, drawn.tolist(), strict=True):
        torch.manual_seed(seed)
        expected.append(v2.Compose(plain)(image))
    assert torch.equal(build(augment).apply(IMAGES, drawn), torch.stack(expected))


@pytest.mark.parametrize(
    ("augment", "message", "hint"),
    [
        (["RandomRotatoin"], r"RandomRotatoin is no transform of torchvision\.transforms\.v2", "RandomRotation"),
        ([{"ColorJitter": {"brightnes": 1}}], r"ColorJitter: \{brightnes: 1\} cannot be used: .*'brightnes'", None),
        (
            [{"ColorJitter": {"brightness": -1}}],
            r"ColorJitter: \{brightness: -1\} cannot be used: .*non negative",
            None,
        ),
        (
            [{"Resize": {"size": [8, 8]}}],
            r"\[Resize: \{size: \[8, 8\]\}\] gives torch\.uint8 of shape \(3, 8, 8\)",
            "size",
        ),
        ([{"Normalize": {"mean": [0], "std": [1]}}], r"Normalize: .* cannot be used: TypeError: .*float", None),
        (["MixUp"], "MixUp mixes the images of a batch", r"data\.mixup"),
        ([{"RandomApply": {"transforms": [3]}}], r"transforms: each item of the list must be a transform", None),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_anything_trains(augment, message, hint):
    config = make_data(augment=augment)
    with pytest.raises(ConfigError, match=rf"data\.augment: {message}") as caught:
        describe_data(config)
    assert hint is None or hint.replace("\\", "") in str(caught.value.hint)


def test_what_can_be_done_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    require_transform(make_data(augment="trivialaugment"))
    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_views_are_the_same_in_each_order_and_differ_from_each_other():
    views = Views(IMAGES, build("crop-flip"), 3)
    assert len(views) == 18
    every = views[torch.arange(18)]
    assert len({tuple(image.flatten().tolist()) for image in every}) == 18
    some = torch.tensor([17, 3, 8])
    assert torch.equal(views[some], every[some])
    assert torch.equal(Views(IMAGES, build("crop-flip"), 2)[torch.arange(12)], every[:12])


@pytest.mark.parametrize("sampler", ["random", "balanced"])
def test_epochs_take_one_view_after_the_other_whatever_the_seed_and_wherever_they_are_drawn(sampler):
    kept = load_data(make_data(augment="crop-flip", augment_views=2, sampler=sampler)).with_views()
    streamed = load_data(make_data(augment="crop-flip", augment_views=2, sampler=sampler, memory_mb=0)).with_views()
    assert kept.viewed
    assert not streamed.viewed
    seen = {}
    for epoch in range(3):
        for seed in (0, 1):
            batches = kept.batches("train", seed=seed)
            batches.batch_sampler.set_epoch(epoch)
            rows = batches.batch_sampler.rows()
            images = torch.cat([images for images, _ in batches])
            assert torch.equal(images, kept.pixels["train"][torch.from_numpy(rows + 24 * (epoch % 2))])
            assert torch.cat([labels for _, labels in batches]).tolist() == kept.images["train"].labels[rows].tolist()
            others = streamed.batches("train", seed=seed)
            others.batch_sampler.set_epoch(epoch)
            assert torch.equal(torch.cat([images for images, _ in others]), images)
            seen[epoch, seed] = {tuple(image.flatten().tolist()) for image in images}
    if sampler == "random":
        assert seen[0, 0] == seen[0, 1] == seen[2, 0]
        assert not seen[0, 0] & seen[1, 0]


def test_an_image_that_comes_again_in_an_epoch_is_changed_otherwise():
    batches = load_data(make_data(augment="crop-flip", sampler="balanced")).batches("train", seed=3)
    rows = batches.batch_sampler.rows()
    images = torch.cat([images for images, _ in batches])
    assert len(set(rows.tolist())) < 24
    assert len({tuple(image.flatten().tolist()) for image in images}) == 24


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("augment: flp", "data.augment: must be one of none, flip, crop-flip, randaugment, trivialaugment, or a list"),
        ("augment: [{a: 1, b: 2}]", "data.augment: each item of the list must be a transform"),
        ("augment: []", "data.augment: an empty list changes nothing: write none"),
        ("augment_views: 2", "data.augment_views: belongs to data.augment, which is none"),
        ("mixup: -1", "data.mixup: must be greater than or equal to 0 (-1)"),
    ],
)
def test_a_wrong_value_is_a_mistake_at_its_place(tmp_path, data, line):
    from orchestrator.config import check_file

    path = tmp_path / "e.yaml"
    path.write_text(f"experiments:\n  a:\n    data: {{source: synthetic, {data}}}\n")
    with pytest.raises(ConfigError, match=r"e\.yaml:3:") as caught:
        check_file(str(path))
    assert line in caught.value.message
