"""Folders of images as people bring them, each with the right reading."""

import os
from pathlib import Path

from tests.training.cases import BY_NAME, FLAT, INNER, OUTER, PLAIN, SKIP, SPLIT, THREE, TWO, Case, each, rename
from tests.training.trees import images, png, split_images

SPELLINGS = (
    ("train", "val", "test"),
    ("training", "valid", "testing"),
    ("train", "dev", "test"),
    ("Train", "Valid", "Test"),
    ("TRAIN", "VAL", "TEST"),
    ("train", "eval", "test"),
    ("train", "Validation", "test"),
    ("train", "validation", "holdout"),
    ("Training", "Evaluation", "Hold-Out"),
    ("train2017", "val2017", "test2017"),
    ("seg_train", "seg_val", "seg_test"),
)

SPLIT_FOLDERS = [
    Case(name=f"splits called {', '.join(names)}", tree=split_images(*names), reads=THREE, same=PLAIN)
    for names in SPELLINGS
] + [
    Case(
        name="no validation split",
        tree=split_images("train", "test", count=8),
        reads={"train": each(8), "test": each(8)},
        notes=("has no validation split",),
        same=TWO,
    ),
    Case(name="a training split alone", tree=split_images("train", count=10), reads={"train": each(10)}, same=FLAT),
    Case(name="classes alone", tree=images("{c}/{i}.png", count=10), reads={"train": each(10)}, same=FLAT),
    Case(
        name="classes in a folder around them",
        tree=images("PetImages/{c}/{i}.png", count=10),
        reads={"train": each(10)},
        same=FLAT,
    ),
    Case(
        name="splits in a folder around them",
        tree=images(*(f"beans/{s}/{{c}}/{{i}}.png" for s in THREE)),
        reads=THREE,
        same=PLAIN,
    ),
    Case(
        name="a folder around the classes of each split",
        same=PLAIN,
        reads=THREE,
        tree=images(*(f"{s}/images/{{c}}/{{i}}.png" for s in THREE)),
    ),
    Case(
        name="splits wrapped in their own names",
        same=TWO,
        reads={"train": each(8), "test": each(8)},
        tree=images(*(f"{s}/{s}/{{c}}/{{i}}.png" for s in ("seg_train", "seg_test")), count=8),
    ),
    Case(
        name="a folder called like a split around all of them",
        same=PLAIN,
        reads=THREE,
        tree=images(*(f"test_data/{s}/{{c}}/{{i}}.png" for s in THREE)),
    ),
    Case(
        name="splits within the classes", reads=THREE, same=None, tree=images(*(f"{{c}}/{s}/{{i}}.png" for s in THREE))
    ),
    Case(
        name="a split folder beside the splits that is none",
        tree=split_images("train", "val", "test", "extra"),
        refused=("6 files lie in no folder of a split: extra/blight/0.png",),
        hint="data.on_unread: skip",
    ),
    Case(
        name="a split folder that is none, allowed",
        tree=split_images("train", "val", "test", "extra"),
        options=SKIP,
        reads=THREE,
        notes=("6 files lie in no folder of a split",),
        same=PLAIN,
    ),
    Case(
        name="two folders for one split",
        tree=split_images("train", "val", "valid"),
        refused=("several folders that can be its validation split: val, valid",),
        hint="validation: [val, valid]",
    ),
    Case(
        name="two folders for one split, told to be one",
        tree=split_images("train", "val", "valid"),
        options={"splits": {"train": "train", "validation": ["val", "valid"]}},
        reads={"train": each(2), "validation": each(4)},
    ),
    Case(
        name="two folders for one split, one chosen",
        tree=split_images("train", "val", "valid"),
        options={"splits": {"train": "train", "validation": "val"}},
        refused=("6 files lie in no part of data.splits",),
    ),
    Case(
        name="splits of other names, told",
        tree=split_images("a", "b", "c"),
        reads=THREE,
        same=PLAIN,
        options={"splits": {"train": "a", "validation": "b", "test": "./c/"}},
    ),
    Case(
        name="splits told that are not there",
        tree=SPLIT,
        options={"splits": {"train": "train", "test": "tset"}},
        refused=("data.splits.test: ", "has no images in tset; there is test, train, validation"),
    ),
    Case(
        name="splits told that overlap",
        tree=SPLIT,
        options={"splits": {"train": ".", "test": "test"}},
        refused=("share files",),
    ),
    Case(
        name="splits told outside the folder",
        tree=SPLIT,
        options={"splits": {"train": "../x"}},
        refused=("does not lie in",),
    ),
    Case(
        name="no training split",
        tree=split_images("val", "test"),
        refused=("has no train split; it has test, val",),
        hint="data.splits",
    ),
    Case(name="an empty split folder", tree=SPLIT | {"val/": b""}, refused=("split val is empty",)),
    Case(name="an empty class folder", tree=SPLIT | {"train/mildew/": b""}, refused=("class mildew has no images",)),
]

CLASS_FOLDERS = [
    Case(
        name="a class called like a split",
        tree=images("{c}/{i}.png", classes=("bus", "car", "train"), count=4),
        reads={"train": each(4, ("bus", "car", "train"))},
        notes=("train is read as a class, like bus, car beside it",),
    ),
    Case(
        name="two classes, one called like a split",
        tree=images("{c}/{i}.png", classes=("plane", "train"), count=4),
        refused=("read in two ways: (1) as the splits train", "(2) as the classes plane, train"),
        hint="{train: .}",
    ),
    Case(
        name="two classes, one called like a split, told",
        tree=images("{c}/{i}.png", classes=("plane", "train"), count=4),
        options={"splits": {"train": "."}},
        reads={"train": each(4, ("plane", "train"))},
    ),
    Case(
        name="classes whose names hold the word test",
        reads={"train": each(4, ("flask", "test_tube"))},
        tree=images("{c}/{i}.png", classes=("flask", "test_tube"), count=4),
    ),
    Case(
        name="folders of splits without classes",
        tree=images("{c}/{i}.png", classes=("train", "test")),
        refused=("(1) as the splits test, train", "(2) as the classes test, train"),
        hint="data.splits",
    ),
    Case(
        name="sites within classes",
        tree=images("{c}/site1/{i}.png", "{c}/site2/{i}.png"),
        refused=(
            "(1) the outer folders are the classes: blight, healthy, rust",
            "(2) the inner folders are: site1, site2",
        ),
        hint="data.class_folder to outer, for (2) to inner",
    ),
    Case(
        name="sites within classes, told",
        tree=images("{c}/site1/{i}.png", "{c}/site2/{i}.png"),
        options=OUTER,
        reads={"train": each(4)},
    ),
    Case(
        name="classes within sites, told",
        tree=images("site1/{c}/{i}.png", "site2/{c}/{i}.png"),
        options=INNER,
        reads={"train": each(4)},
    ),
    Case(
        name="sites within the classes of splits",
        tree=images("train/{c}/site1/{i}.png", "train/{c}/site2/{i}.png"),
        refused=("read in two ways",),
    ),
    Case(
        name="a folder in one class only",
        tree=images("{c}/{i}.png") | {"rust/crops/a.png": png(900)},
        refused=("read in two ways", "rust/crops/a.png"),
        hint="data.class_folder",
    ),
    Case(
        name="a folder in one class only, told",
        tree=images("{c}/{i}.png", count=4) | {"rust/crops/a.png": png(900)},
        options=OUTER,
        reads={"train": each(4) | {"rust": 5}},
    ),
    Case(
        name="images without classes",
        tree={f"{i}.png": png(i) for i in range(4)},
        refused=("has no classes",),
        hint="a CSV with the columns path and label",
    ),
    Case(
        name="an image beside the classes",
        tree=images("{c}/{i}.png") | {"plot.png": png(900)},
        refused=("1 file lies in no class folder: plot.png",),
        hint="data.on_unread: skip",
    ),
    Case(
        name="an image beside the classes, allowed",
        tree=images("{c}/{i}.png", count=10) | {"plot.png": png(900)},
        options=SKIP,
        reads={"train": each(10)},
        same=FLAT,
        notes=("1 file lies in no class folder: plot.png",),
    ),
    Case(
        name="an unlabelled test split",
        tree=split_images("train") | {"test/a.png": png(900)},
        refused=("1 file lies in no class folder: test/a.png",),
    ),
    Case(
        name="a class of brackets",
        tree=rename(SPLIT, "rust", "leaf [v2]"),
        reads={split: {"blight": 2, "healthy": 2, "leaf [v2]": 2} for split in THREE},
    ),
    Case(
        name="a class of underscores",
        tree=rename(SPLIT, "rust", "__background__"),
        reads={split: {"__background__": 2, "blight": 2, "healthy": 2} for split in THREE},
    ),
    Case(
        name="classes that are numbers",
        tree=images("{c}/{i}.png", classes=("10", "9", "100"), count=4),
        reads={"train": {"10": 4, "100": 4, "9": 4}},
    ),
    Case(
        name="classes in another alphabet",
        tree=images("{c}/{i}.png", classes=("葉", "é"), count=4),
        reads={"train": {"é": 4, "葉": 4}},
    ),
    Case(
        name="a class name of two lines",
        tree=images("{c}/{i}.png", classes=("a\nb", "c")),
        refused=("names of classes must be text in one line: a\\nb",),
    ),
]


def undecodable_class(folder: Path) -> None:
    for file in (folder / "train" / "rust").iterdir():
        file.rename(file.with_suffix(".HEIC"))
        file.with_suffix(".HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))


def bytes_in_a_name(folder: Path) -> None:
    (folder / "train" / "rust").rename(folder / "train" / os.fsdecode(b"ru\xff"))


FILE_NAMES = [
    Case(
        name="some names say a split",
        tree=images("{c}/{i}.png", "{c}/train_{i}.png", "{c}/test_{i}.png"),
        refused=("(6 train, 6 test, such as", "and 6 say none", "(2) the names say nothing"),
        hint="{train: .}",
    ),
    Case(
        name="some names say a split, told to say nothing",
        options={"splits": {"train": "."}},
        reads={"train": each(6)},
        tree=images("{c}/{i}.png", "{c}/train_{i}.png", "{c}/test_{i}.png"),
    ),
    Case(
        name="all names say a split",
        same=BY_NAME,
        notes=("the names of the files say the splits: 9 train",),
        tree=images(*(f"{{c}}/{s}_{{i}}.png" for s in ("train", "val", "test")), count=3),
        reads={"train": each(3), "validation": each(3), "test": each(3)},
    ),
    Case(name="all names say the same split", tree=images("{c}/test_{i}.png", count=4), reads={"train": each(4)}),
    Case(
        name="names that speak against their folder",
        tree=split_images("train", "val", "test", name="test_{i}.png"),
        reads=THREE,
        same=PLAIN,
    ),
    Case(name="two colons", tree=rename(SPLIT, "/0.png", "/a::b.png"), reads=THREE, same=PLAIN),
    Case(name="a line break", tree=rename(SPLIT, "/0.png", "/a\nb.png"), reads=THREE, same=PLAIN),
    Case(name="bytes that are no text", tree=rename(SPLIT, "/0.png", "/\udce9.png"), reads=THREE, same=PLAIN),
    Case(name="wildcards and quotes", tree=rename(SPLIT, "/0.png", "/*?'\"$(x).png"), reads=THREE, same=PLAIN),
    Case(
        name="a class whose name is no text",
        tree=SPLIT,
        build=bytes_in_a_name,
        refused=("names of classes must be text in one line: ru\\xff",),
    ),
    Case(name="suffixes in capitals", tree=rename(SPLIT, ".png", ".PNG"), reads=THREE, same=PLAIN),
    Case(name="no suffixes", tree=rename(SPLIT, ".png", ""), reads=THREE, same=PLAIN),
    Case(name="numbers for suffixes", tree=rename(SPLIT, ".png", ".0001"), reads=THREE, same=PLAIN),
    Case(name="AVIF", tree=rename(SPLIT, ".png", ".avif"), reads=THREE, same=PLAIN),
    Case(
        name="HEIC",
        tree=SPLIT,
        build=undecodable_class,
        refused=("2 files are HEIF, which this Pillow cannot decode: train/rust/0.HEIC", "no training images: rust"),
        hint="convert them",
    ),
    Case(
        name="PNG called HEIC",
        tree=rename(SPLIT, "1.png", "1.heic"),
        reads=THREE,
        same=PLAIN,
        notes=("9 images are called .heic and hold PNG, and are read as that",),
    ),
    Case(
        name="an image of an unknown suffix",
        tree=SPLIT | {"train/rust/9.dat": png(900)},
        refused=("1 file is called .dat, with the first bytes of PNG: train/rust/9.dat",),
    ),
]

FOLDERS = (*SPLIT_FOLDERS, *CLASS_FOLDERS, *FILE_NAMES)
