from hashlib import sha256

import numpy as np
import pytest
import torch

from orchestrator.config.models import SyntheticConfig
from orchestrator.training.data.loading import describe_data, load_data, order_seed
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.images.batches import BatchOrder
from tests.training.tiny import make_data


def rows(order: BatchOrder, epoch: int = 0) -> list[list[int]]:
    order.set_epoch(epoch)
    return list(order)


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own():
    order = BatchOrder(23, 8, seed=5)
    epochs = [rows(order, epoch) for epoch in range(3)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [8, 8, 7]
        assert sorted(row for batch in batches for row in batch) == list(range(23))
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows(BatchOrder(23, 8, seed=5), 1) == epochs[1]
    assert rows(BatchOrder(23, 8, seed=6), 1) != epochs[1]


def test_evaluation_keeps_the_order():
    # a single image left over joins the batch before it
    assert rows(BatchOrder(5, 2, None), 3) == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(
    ("length", "size", "sizes"), [(17, 8, [8, 9]), (16, 8, [8, 8]), (18, 8, [8, 8, 2]), (3, 1, [1, 1, 1]), (1, 8, [1])]
)
def test_an_image_left_over_in_training_joins_the_batch_before(length, size, sizes):
    order = BatchOrder(length, size, seed=0)
    assert [len(batch) for batch in order] == sizes
    assert len(order) == len(sizes)


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_and_loader_give_identical_batches(workers):
    data = make_data(loader_workers=workers)
    kept, streamed = load_data(data), load_data(data.model_copy(update={"memory_mb": 0}))
    assert kept.in_memory
    assert not streamed.in_memory
    for split in SPLITS:
        seed = order_seed(3) if split == "train" else None
        one, two = kept.batches(split, seed=seed), streamed.batches(split, seed=seed)
        for epoch in range(2):
            one.batch_sampler.set_epoch(epoch)
            two.batch_sampler.set_epoch(epoch)
            pairs = list(zip(one, two, strict=True))
            assert len(pairs) == len(one) == len(two)
            for (images, labels), (images_2, labels_2) in pairs:
                assert images.dtype == torch.uint8
                assert torch.equal(images, images_2)
                assert torch.equal(labels, labels_2)


def test_a_split_that_fits_exactly_is_kept():
    # 45 images of 3*32*32 bytes are 138,240 bytes: less than 1 MiB; 512 images of 64 pixels are 6 MiB
    assert load_data(make_data(memory_mb=1)).in_memory
    many = make_data(image_size=64, memory_mb=6, synthetic=SyntheticConfig(train=500, validation=6, test=6))
    assert load_data(many).in_memory
    assert not load_data(many.model_copy(update={"memory_mb": 5})).in_memory


def test_drawn_images_are_reproducible_and_balanced():
    data = make_data()
    one, two = load_data(data), load_data(data)
    assert torch.equal(one.pixels["train"], two.pixels["train"])
    for split in SPLITS:
        counts = np.bincount(one.images[split].labels)
        assert counts.max() - counts.min() <= 1
    assert not torch.equal(one.pixels["train"][:9], one.pixels["test"])


def test_the_fingerprint_follows_what_decides_the_images():
    info = describe_data(make_data())
    assert info.split_sizes == {"train": 24, "validation": 12, "test": 9}
    assert len(info.class_names) == 3
    same = describe_data(make_data(batch_size=2, memory_mb=0))
    others = [
        describe_data(make_data(image_size=16)),
        describe_data(make_data(synthetic=SyntheticConfig(train=25, validation=12, test=9))),
        describe_data(make_data(synthetic=SyntheticConfig(train=24, validation=12, test=9, seed=1))),
    ]
    assert same.fingerprint == info.fingerprint
    assert len({info.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize("streamed", [False, True])
def test_flips_follow_from_row_epoch_and_seed_only(streamed):
    plain = load_data(make_data())
    images = plain.pixels["train"]
    # the random numbers that the documentation of `AugmentedBatches` states
    seed = int.from_bytes(sha256(f"augmentation:{order_seed(3)}".encode()).digest()[:8], "big") >> 1
    for size, workers in ((8, 0), (5, 2)):
        data = load_data(
            make_data(augment="flip", batch_size=size, loader_workers=workers, memory_mb=0 if streamed else 4096)
        )
        assert data.in_memory != streamed
        batches = data.batches("train", seed=order_seed(3))
        order = BatchOrder(24, size, order_seed(3))
        for epoch in (0, 1, 7):
            flipped = np.random.default_rng([seed, epoch]).random(24) < 0.5
            assert 0 < flipped.sum() < 24
            batches.batch_sampler.set_epoch(epoch)
            found = list(batches)
            for mine, (pixels, labels) in zip(rows(order, epoch), found, strict=True):
                wanted = [images[row].flip(-1) if flipped[row] else images[row] for row in mine]
                assert pixels.dtype == torch.uint8
                assert torch.equal(pixels, torch.stack(wanted))
                assert labels.tolist() == plain.images["train"].labels[mine].tolist()
            assert len(found) == len(batches)


def test_what_is_evaluated_is_not_flipped():
    flipped, plain = load_data(make_data(augment="flip")), load_data(make_data())
    for split in SPLITS:
        for (one, _), (two, _) in zip(flipped.batches(split), plain.batches(split), strict=True):
            assert torch.equal(one, two)
