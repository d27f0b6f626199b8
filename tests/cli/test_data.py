"""`orchestrator data check`: data on stdout, findings on stderr, and the exit code."""

import csv
import io
import json
import shutil
import sys
from types import SimpleNamespace

import datasets
import pytest

from orchestrator.cli import main
from orchestrator.storage.cache import Cache
from orchestrator.storage.layout import Root
from tests.training.pictures import THREE, write_image_folder


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run `orchestrator data check leaves` beside a configuration of that name; gives exit code, stdout and stderr."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "experiments.yaml").write_text("experiments: {leaves: {data: {source: ./leaves, image_size: 8}}}\n")
    write_image_folder(tmp_path / "leaves", THREE)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["orchestrator", "data", "check", *(words or ("leaves",))])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


def test_good_data_have_a_table_and_code_0(ask):
    answer = ask()
    assert answer.code == 0
    assert answer.err.splitlines() == [
        "read as folders of classes; train from train, validation from validation, test from test",
        "files: 21 used, 0 left out",
        "./leaves: 21 images can be used; no problem",  # 3 classes of 4 + 2 + 1
    ]
    header, _, first, *_ = answer.out.splitlines()
    assert header.split()[:4] == ["split", "class", "images", "broken"]
    assert first.split() == ["train", "blight", "4", "0", "0", "0", *["8"] * 6, "RGB", "4"]


def test_broken_data_end_with_code_2_and_every_file_is_named(ask, tmp_path):
    for file in ("train/rust/0.png", "test/rust/0.png"):
        (tmp_path / "leaves" / file).write_bytes(b"")
    answer = ask("leaves", "-f", "json")
    assert answer.code == 2
    report = json.loads(answer.out)
    assert (report["usable"], len(report["problems"]), len(report["broken"])) == (False, 2, 2)
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert [f"{split}/rust/0.png" in line for split, line in zip(("train", "test"), errors, strict=True)] == [
        True,
        True,
    ]


def test_skipped_images_are_a_warning(ask, tmp_path):
    (tmp_path / "leaves/train/rust/0.png").write_bytes(b"")
    answer = ask("leaves", "-s", "data.on_corrupt=skip", "-f", "csv")
    assert answer.code == 0
    assert "warning: ./leaves: 1 of 21 images are broken and left out" in answer.err
    rows = {(row["split"], row["class"]): row for row in csv.DictReader(io.StringIO(answer.out))}
    assert (rows["train", "rust"]["images"], rows["train", "rust"]["broken"]) == ("3", "1")


def test_files_that_are_not_used_are_counted_and_named(ask, tmp_path):
    (tmp_path / "leaves/README.md").write_text("---\nlicense: !!x y\n---\n")
    (tmp_path / "leaves/train/rust/a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    answer = ask("leaves", "-f", "json")
    assert answer.code == 2
    assert "files: 21 used, 2 left out" in answer.err
    line = "error: ./leaves: 1 file is HEIF, which this Pillow cannot decode: train/rust/a.HEIC"
    assert line in answer.err.splitlines()
    report = json.loads(answer.out)
    assert [(group["names"], group["unread"]) for group in report["left_out"]] == [
        (["train/rust/a.HEIC"], True),
        (["README.md"], False),
    ]
    assert ask("leaves", "-s", "data.on_unread=skip").code == 0


def test_with_a_root_a_sweep_there_finds_the_images_decoded(ask, tmp_path):
    plain = ask("leaves", "-f", "json")
    assert not (tmp_path / "runs").exists()
    answer = ask("leaves", "-f", "json", "--root", "runs")
    assert (answer.code, answer.out) == (0, plain.out)
    (entry,) = Cache(Root.at(tmp_path / "runs").cache).entries()
    assert entry.kind == "images"
    assert ask("leaves", "-f", "json", "--root", "runs").out == plain.out
    assert "no decoded image is kept" in ask("leaves", "--root", "other", "-s", "cache.images=false").err


def test_duplicates_are_named(ask, tmp_path):
    shutil.copy(tmp_path / "leaves/train/rust/0.png", tmp_path / "leaves/test/rust/9.png")
    answer = ask("leaves", "-f", "md")
    assert answer.code == 0
    assert answer.out.startswith("| split | class |")
    (line,) = [line for line in answer.err.splitlines() if line.startswith("equal: ")]
    assert "train/rust/0.png" in line
    assert "test/rust/9.png" in line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nothing",), "there is no experiment 'nothing'"),
        (("leaves", "-s", "data.source=./gone"), "data.source: ./gone does not exist"),
        (("leaves", "-s", "data.on_corrupt=ignore"), "must be one of fail, skip"),
    ],
)
def test_what_cannot_be_looked_at_ends_with_code_2(ask, words, text):
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert text in answer.err
