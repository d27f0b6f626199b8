"""Which images of a data set are used: classes, and a limit of the training images."""

import numpy as np
import pytest

from orchestrator.config.models import DataConfig, SyntheticConfig
from orchestrator.errors import ConfigError
from orchestrator.records.spec import RunSpec
from orchestrator.training.data.inspection import inspect_data
from orchestrator.training.data.loading import describe_data, load_data
from orchestrator.training.data.splits import SPLITS
from orchestrator.training.data.subset import choose_stratified, choose_subset
from tests.factories import make_spec
from tests.training.pictures import THREE, config, write_image_folder, write_parquet

DRAWN = DataConfig(
    source="synthetic",
    image_size=8,
    loader_workers=0,
    synthetic=SyntheticConfig(classes=4, train=40, validation=8, test=8),
)


def change(data: DataConfig, **fields) -> DataConfig:
    return DataConfig(**(data.model_dump() | fields))


def colours(data: DataConfig, split: str) -> list[tuple[int, int]]:
    """(label by its colour, label that it has now) of each image of a split; see `pictures.colour`."""
    loaded = load_data(data)
    reds = [loaded.images[split].read(row, 8)[0, 0, 0] for row in range(loaded.size(split))]
    return sorted(
        (int(red - 10) // 80, int(label)) for red, label in zip(reds, loaded.images[split].labels, strict=True)
    )


# Classes


@pytest.mark.parametrize("write", [write_image_folder, write_parquet])
def test_classes_are_taken_by_name_in_the_order_of_the_source(tmp_path, write):
    data = config(write(tmp_path / "data", THREE), classes=("rust", "blight"))
    info = describe_data(data)
    assert info.class_names == ("blight", "rust")  # labels 0 and 2 of blight, healthy, rust
    assert info.split_sizes == {"train": 8, "validation": 4, "test": 2}
    assert colours(data, "train") == [(0, 0)] * 4 + [(2, 1)] * 4
    assert info.notes == (f"{tmp_path / 'data'}: 2 of 3 classes are used (data.classes): blight, rust",)


def test_an_image_is_in_the_same_split_whichever_classes_are_chosen(tmp_path):
    folder = write_image_folder(tmp_path / "data", {"": 12})
    every, two = load_data(config(folder)), load_data(config(folder, classes=("healthy", "rust")))
    for split in SPLITS:
        kept = [
            image
            for image, label in zip(every.images[split].ids, every.images[split].labels, strict=True)
            if label in (1, 2)
        ]
        assert two.images[split].ids == kept


def test_what_is_chosen_is_in_the_fingerprint_and_nowhere_else_in_the_identity(tmp_path):
    folder = write_image_folder(tmp_path / "data", {"train": 6, "validation": 2, "test": 1})
    for base in (config(folder), DRAWN, DataConfig(source="sklearn/digits", image_size=8)):
        names = describe_data(base).class_names
        choices = [
            {},
            {"classes": names[:2]},
            {"classes": names[1:3]},
            {"max_train_images": 10},
            {"max_train_images": 11},
            {"max_train_images": 10, "split_seed": 1},
            {"classes": names[:2], "max_train_images": 10},
        ]
        found = [describe_data(change(base, **choice)).fingerprint for choice in choices]
        assert len(set(found)) == len(found)
        # all that there is, by another way, is the same data
        everything = change(base, classes=tuple(reversed(names)), max_train_images=100_000)
        assert describe_data(everything).fingerprint == found[0]
    plain: RunSpec = make_spec()
    chosen = plain.data.model_copy(update={"classes": ("a", "b"), "max_train_images": 5})
    assert plain.model_copy(update={"data": chosen}).fingerprint == plain.fingerprint


def test_unknown_classes_are_named_with_what_was_meant_all_mistakes_at_once(tmp_path):
    folder = write_image_folder(tmp_path / "data", THREE)
    data = config(folder, classes=("blight", "Rust", "helthy", "xyz"), max_train_images=2)
    with pytest.raises(ConfigError) as caught:
        describe_data(data)
    # of the four asked for one is there
    assert caught.value.message == (
        f"data.classes: {folder} has no class 'Rust' (did you mean 'rust'?), 'helthy' (did you mean 'healthy'?), "
        "'xyz'; it has blight, healthy, rust"
    )
    with pytest.raises(ConfigError, match=r"^2 problems\ndata.classes: synthetic has no class 'x'; .*\ndata.max_train"):
        describe_data(change(DRAWN, classes=("x", "texture_1", "texture_2", "texture_3"), max_train_images=2))


def test_a_class_without_training_images_may_be_left_out(tmp_path):
    folder = write_image_folder(tmp_path / "data", THREE)
    for image in (folder / "train" / "rust").iterdir():
        image.unlink()
    with pytest.raises(ConfigError, match=r": 1 of 3 classes have no training images: rust$") as caught:
        describe_data(config(folder))
    assert caught.value.hint == "add images, or leave the class out with data.classes"
    info = describe_data(config(folder, classes=("blight", "healthy")))
    assert info.split_sizes == {"train": 8, "validation": 4, "test": 2}


def test_the_check_counts_what_is_used(tmp_path):
    report = inspect_data(config(write_image_folder(tmp_path / "data", THREE), classes=("healthy", "rust")))
    assert report.usable
    assert report.class_names == ("healthy", "rust")
    assert [(part.split, part.label, part.images) for part in report.portions[:3]] == [
        ("train", "healthy", 4),
        ("train", "rust", 4),
        ("train", "(all)", 8),
    ]


# So many training images


def test_a_limit_is_stratified_seeded_and_said(tmp_path):
    data = change(DRAWN, max_train_images=10)
    info = describe_data(data)
    assert info.split_sizes == {"train": 10, "validation": 8, "test": 8}
    counts = np.bincount(load_data(data).images["train"].labels)
    assert counts.tolist() == [3, 3, 2, 2]  # 10 of 4 x 10: two each, and one more of the first two
    assert "; ".join(info.notes) == (
        "synthetic: 10 of 40 training images are used (data.max_train_images=10, stratified, data.split_seed=0): "
        "texture_0 3, texture_1 3, texture_2 2, texture_3 2"
    )
    ids = {seed: load_data(change(data, split_seed=seed)).images["train"].ids for seed in (0, 1)}
    assert ids[0] == load_data(data).images["train"].ids != ids[1]


def test_a_limit_that_is_not_reached_says_so():
    assert describe_data(change(DRAWN, max_train_images=40)).notes == (
        "synthetic: there are 40 training images; data.max_train_images=40 keeps all",
    )


def test_fewer_images_are_among_more_each_class_in_proportion():
    labels = np.repeat([0, 1, 2], [60, 30, 3])  # 93
    before: set[int] = set()
    for count in range(3, 94):
        rows = choose_stratified(labels, count, seed=7)
        assert len(rows) == count
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
        counts = np.bincount(labels[rows], minlength=3)
        # in proportion up to one, and one of each class at least
        assert counts.min() >= 1
        assert abs(counts[:2] - count * np.array([60, 30]) / 93).max() <= 2


def test_a_limit_below_the_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"^data.max_train_images is 3, and there are 4 classes") as caught:
        describe_data(change(DRAWN, max_train_images=3))
    assert caught.value.hint == "allow at least 4, or take fewer classes with data.classes"
    classes = ("texture_0", "texture_2", "texture_3")
    assert describe_data(change(DRAWN, max_train_images=3, classes=classes)).split_sizes["train"] == 3


def test_nothing_asked_for_is_nothing_left_out():
    assert choose_subset({"train": np.array([0, 1])}, ("a", "b"), DataConfig(source="x")) is None
