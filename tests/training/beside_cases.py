"""Files beside images, links, and what is no file, each with the right reading."""

import os
from pathlib import Path

from tests.training.cases import PLAIN, SKIP, SPLIT, THREE, Case
from tests.training.trees import png


def special_files(folder: Path) -> None:
    os.mkfifo(folder / "train" / "rust" / "pipe.png")
    os.mkfifo(folder / "train" / "rust" / "pipe")


def endless_file(folder: Path) -> None:
    with (folder / "train" / "rust" / "endless.png").open("wb") as file:
        file.truncate(2**40)


def link_to_itself(folder: Path) -> None:
    (folder / "train" / "rust" / "loop.png").symlink_to("loop.png")


def link_upwards(folder: Path) -> None:
    (folder / "train" / "rust" / "up").symlink_to("../..")


def link_to_device(folder: Path) -> None:
    (folder / "train" / "rust" / "zero.png").symlink_to("/dev/zero")


def links_to_elsewhere(folder: Path) -> Path:
    target = folder.with_name("links")
    for file in folder.rglob("*.png"):
        link = target / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return target


def link_to_classes_elsewhere(folder: Path) -> Path:
    target = folder.with_name("links")
    target.mkdir()
    for split in folder.iterdir():
        (target / split.name).symlink_to(split)
    return target


COMPANIONS = {
    "README.md": b"---\nlicense: !!python/object:os.system x\n---\n",
    "LICENSE": b"MIT",
    ".DS_Store": b"x",
    "train/Thumbs.db": b"x",
    ".git/objects/ab/cd": b"x",
    "train/.ipynb_checkpoints/0.png": png(0),
    "__MACOSX/train/._0.png": b"x",
    "metadata.csv": b"file_name,x\n",
    "train/rust/notes.pdf": b"%PDF",
}

BESIDE = [
    Case(
        name="companions that are no images",
        tree=SPLIT | COMPANIONS,
        reads=THREE,
        same=PLAIN,
        notes=("9 files that are no images are left out: 5 hidden files", "1 .md files (README.md)", "1 metadata"),
    ),
    Case(
        name="a text beside each image",
        tree=SPLIT | {path.replace(".png", ".txt"): b"0 0.5 0.5" for path in SPLIT},
        reads=THREE,
        same=PLAIN,
        notes=("18 .txt files",),
    ),
    Case(
        name="an archive beside the classes",
        tree=SPLIT | {"all.zip": b"PK\3\4"},
        reads=THREE,
        same=PLAIN,
        notes=("1 archives, which are not unpacked (all.zip)",),
    ),
    Case(name="a loading script", tree=SPLIT | {"leaves.py": b"raise SystemExit"}, refused=("has a loading script",)),
    Case(
        name="a fifo",
        tree=SPLIT,
        build=special_files,
        refused=("1 file is a fifo, no regular file: train/rust/pipe.png",),
    ),
    Case(name="a fifo, allowed", tree=SPLIT, build=special_files, options=SKIP, reads=THREE, same=PLAIN),
    Case(name="an endless file", tree=SPLIT, build=endless_file, refused=("1 file has more than 512 MiB",)),
    Case(name="a link to a device", tree=SPLIT, build=link_to_device, refused=("lead out of the folder",)),
    Case(
        name="a link to a device, followed",
        tree=SPLIT,
        build=link_to_device,
        options={"follow_links": True},
        refused=("1 file is a device, no regular file: train/rust/zero.png",),
    ),
    Case(
        name="a link to itself",
        tree=SPLIT,
        build=link_to_itself,
        refused=("1 symbolic links lead to themselves", "train/rust/loop.png -> loop.png"),
    ),
    Case(
        name="a link to the folder that it lies in",
        tree=SPLIT,
        build=link_upwards,
        refused=("lead to themselves or to a folder that they lie in: train/rust/up",),
    ),
    Case(
        name="links to another disk",
        tree=SPLIT,
        build=links_to_elsewhere,
        refused=("18 symbolic links lead out of the folder", "and 15 more"),
        hint="data.follow_links to true",
    ),
    Case(
        name="links to another disk, followed",
        tree=SPLIT,
        build=links_to_elsewhere,
        options={"follow_links": True},
        reads=THREE,
        same=PLAIN,
    ),
    Case(
        name="linked folders, followed",
        tree=SPLIT,
        build=link_to_classes_elsewhere,
        options={"follow_links": True},
        reads=THREE,
        same=PLAIN,
    ),
]
