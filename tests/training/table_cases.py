"""Tables, saved data sets and lists of images as people bring them, each with the right reading."""

from collections.abc import Callable
from pathlib import Path

from datasets import Dataset, DatasetDict

from tests.training.beside_cases import COMPANIONS
from tests.training.cases import SKIP, SPLIT, Case, each
from tests.training.pictures import FEATURES, write_table
from tests.training.trees import CLASSES, png


def tables(*names: str, rows: int = 6) -> Callable[[Path], None]:
    """Parquet files with images of three classes."""

    def build(folder: Path) -> None:
        for number, name in enumerate(names):
            stored = [{"bytes": png(100 * number + row), "path": None} for row in range(rows)]
            write_table(folder / name, stored, [row % 3 for row in range(rows)])

    return build


def saved(single: bool = False, without: str = "", extra: str = "") -> Callable[[Path], None]:
    """What `save_to_disk` writes."""

    def part(number: int) -> Dataset:
        rows = range(12 if single else 6)
        stored = [{"bytes": png(100 * number + row), "path": None} for row in rows]
        return Dataset.from_dict({"image": stored, "labels": [row % 3 for row in rows]}, features=FEATURES)

    def build(folder: Path) -> None:
        names = ["train", "validation", "test", *([extra] if extra else [])]
        every = DatasetDict({name: part(number) for number, name in enumerate(names)})
        (part(0) if single else every).save_to_disk(folder)
        if without:
            (folder / without).unlink()

    return build


def empty_table(folder: Path) -> None:
    tables("train.parquet")(folder)
    tables("test.parquet", rows=0)(folder)


IN_TABLES = {"train": each(2), "validation": each(2), "test": each(2)}
DONE = "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet", "test-00000-of-00001.parquet"

TABLES = [
    Case(name="Parquet as the hub writes it", build=tables(*(f"data/{name}" for name in DONE)), reads=IN_TABLES),
    Case(name="Parquet in capitals", build=tables("Train.parquet", "Val.parquet", "Test.parquet"), reads=IN_TABLES),
    Case(
        name="Parquet by folders",
        build=tables("train/0.parquet", "eval/0.parquet", "holdout/0.parquet"),
        reads=IN_TABLES,
    ),
    Case(
        name="Parquet in brackets",
        build=tables("a [1]/train.parquet", "a [1]/val.parquet", "a [1]/test.parquet"),
        reads=IN_TABLES,
    ),
    Case(name="Parquet of no split", build=tables("a.parquet", "b.parquet"), reads={"train": each(4)}),
    Case(
        name="Parquet in parts",
        build=tables("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", DONE[2]),
        reads={"train": each(4), "test": each(2)},
    ),
    Case(
        name="Parquet without its second part",
        build=tables("train-00000-of-00002.parquet", *DONE[1:]),
        refused=("1 of 2 parts of train are missing: 00001",),
    ),
    Case(
        name="Parquet of two exports",
        build=tables(DONE[0], "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
        refused=("the parts of train are of several exports: of 1, of 2",),
    ),
    Case(
        name="Parquet in parts and whole",
        build=tables(DONE[0], "train.parquet"),
        refused=("has numbered parts and train.parquet besides",),
        hint="data.splits",
    ),
    Case(
        name="a fourth Parquet file",
        build=tables(*DONE, "extra.parquet"),
        refused=("1 file is tables that belong to no split: extra.parquet",),
        hint="data.on_unread: skip",
    ),
    Case(name="a fourth Parquet file, allowed", build=tables(*DONE, "extra.parquet"), options=SKIP, reads=IN_TABLES),
    Case(
        name="a second Parquet file of no split",
        build=tables("train.parquet", "extra.parquet"),
        refused=("(1) as the split train (train.parquet), and extra.parquet belong to none", "(2) all tables together"),
        hint="{train: .}",
    ),
    Case(
        name="Parquet that was told",
        build=tables("a.parquet", "b.parquet"),
        options={"splits": {"train": "a.parquet", "test": "b.parquet"}},
        reads={"train": each(2), "test": each(2)},
    ),
    Case(
        name="Parquet in a folder of another split",
        build=tables("test/train.parquet"),
        refused=("says train by its name and test by its folder",),
    ),
    Case(
        name="two data sets in one folder",
        build=tables("a/train.parquet", "b/train.parquet"),
        refused=("files of the same name in several folders",),
    ),
    Case(
        name="Parquet without rows", build=empty_table, refused=("has an empty split: ", "test.parquet without a row")
    ),
    Case(
        name="Parquet cut off",
        tree={"train.parquet": b"PAR1 and no more"},
        refused=("cannot be read as a data set", "train.parquet is no whole Parquet file"),
    ),
    Case(
        name="Parquet beside folders of classes",
        tree=SPLIT,
        build=tables("train.parquet"),
        refused=("(1) as folders of classes with 18 images; (2) as 1 tables (train.parquet)",),
    ),
    Case(
        name="a README with a YAML tag beside Parquet",
        tree={"README.md": COMPANIONS["README.md"]},
        build=tables(*DONE),
        reads=IN_TABLES,
    ),
    Case(name="what save_to_disk wrote", build=saved(), reads=IN_TABLES),
    Case(name="what save_to_disk wrote of one split", build=saved(single=True), reads={"train": each(4)}),
    Case(
        name="what save_to_disk wrote, a file lost",
        build=saved(without="test/data-00000-of-00001.arrow"),
        refused=("written by `save_to_disk`, and 1 of its files are not there: test/data-00000-of-00001.arrow",),
    ),
    Case(
        name="what save_to_disk wrote with a fourth split",
        build=saved(extra="more"),
        refused=("stored splits that are not used: more",),
        hint="data.on_unread: skip",
    ),
    Case(
        name="what save_to_disk wrote with a fourth split, told",
        build=saved(extra="more"),
        options={"splits": {"train": ["train", "more"], "validation": "validation", "test": "test"}},
        reads=IN_TABLES | {"train": each(4)},
    ),
]


def listed(text: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "list.csv").write_text(text)
        return folder / "list.csv"

    return build


def source_of(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / name


LOOSE = {f"images/{i}.png": png(i) for i in range(12)}
ROWS = "".join(f"images/{i}.png,{CLASSES[i % 3]},{'train' if i < 9 else 'Val'}\n" for i in range(12))

LISTS = [
    Case(
        name="a CSV of paths, labels and splits",
        tree=LOOSE,
        build=listed("path,label,split\n" + ROWS),
        reads={"train": each(3), "validation": each(1)},
    ),
    Case(
        name="a CSV of other column names",
        tree=LOOSE,
        reads={"train": {"2": 6, "10": 6}},
        build=listed("Filename;Class\n" + "".join(f"images/{i}.png;{(2, 10)[i % 2]}\n" for i in range(12))),
    ),
    Case(
        name="a CSV that lacks images beside",
        tree=LOOSE | {"images/99.png": png(900)},
        build=listed("path,label,split\n" + ROWS),
        reads={"train": each(3), "validation": each(1)},
        notes=("1 images beside the listed ones are in no row",),
    ),
    Case(
        name="a CSV without a label column",
        tree=LOOSE,
        build=listed("path,kind\nimages/0.png,a\n"),
        refused=("has no column of labels; its columns are path, kind",),
        hint="data.label_column",
    ),
    Case(
        name="a CSV without a header",
        tree=LOOSE,
        build=listed("images/0.png,rust\nimages/1.png,blight\n"),
        refused=("has no column of paths",),
    ),
    Case(
        name="a CSV with a split of another name",
        tree=LOOSE,
        build=listed("path,label,split\nimages/0.png,rust,fold1\n"),
        refused=("values that name no split: fold1",),
        hint="{train: fold1}",
    ),
    Case(
        name="a CSV of paths elsewhere",
        tree=LOOSE,
        build=listed("path,label\n/etc/hostname,a\nimages/0.png,b\n"),
        refused=("row 0 (/etc/hostname) lies outside the data folder",),
    ),
    Case(
        name="a folder of images and a CSV",
        tree=LOOSE | {"labels.csv": b"path,label\n"},
        refused=("lie in one folder only (images)", "labels.csv"),
        hint="labels.csv",
    ),
    Case(
        name="images with metadata",
        tree=LOOSE
        | {
            "images/metadata.csv": b"file_name,kind\n"
            + b"".join(f"{i}.png,{CLASSES[i % 3]}\n".encode() for i in range(12))
        },
        options={"label_column": "kind"},
        reads={"train": each(4)},
    ),
    Case(
        name="a zip",
        tree={"all.zip": b"PK\3\4"},
        build=source_of("all.zip"),
        refused=("is no whole zip archive",),
        hint="bring it again",
    ),
    Case(
        name="a tar",
        tree={"all.tar.gz": b"\x1f\x8b"},
        build=source_of("all.tar.gz"),
        refused=("is an archive",),
        hint="tar -xf ",
    ),
    Case(
        name="a folder of archives",
        tree={"train.zip": b"PK\3\4", "test.zip": b"PK\3\4"},
        refused=("holds no images and no Parquet files, but 2 archives",),
        hint="unzip -q ",
    ),
    Case(name="an empty folder", tree={"a/": b""}, refused=("cannot be read as a data set", "but nothing")),
    Case(name="a text file", tree={"a.txt": b"x"}, build=source_of("a.txt"), refused=("a.txt is no folder",)),
    Case(name="nothing", build=source_of("gone"), refused=("gone does not exist",)),
]
