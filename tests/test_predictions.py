"""Predictions are written and read back, and say what they cannot."""

import io
import zipfile

import numpy as np
import pytest

from orchestrator.errors import NotFoundError, RunError
from orchestrator.predictions import Predictions, read_predictions, write_predictions


def make_predictions(rows=4, seed=0):
    rng = np.random.default_rng(seed)
    return Predictions(
        logits=rng.normal(size=(rows, 3)).astype(np.float32),
        labels=rng.integers(3, size=rows),
        image_ids=np.array([f"image-{number}" for number in range(rows)]),
    )


def test_what_was_written_is_read_back_to_the_last_bit(tmp_path):
    written = {"validation": make_predictions(5), "test": make_predictions(2, seed=1)}
    write_predictions(tmp_path / "p.npz", written)
    read = read_predictions(tmp_path / "p.npz")
    assert list(read) == ["validation", "test"]
    for split, found in read.items():
        assert found.logits.tobytes() == written[split].logits.tobytes()
        assert (found.logits.dtype, found.labels.dtype) == (np.float32, np.int64)
        assert found.labels.tolist() == written[split].labels.tolist()
        assert found.image_ids.tolist() == written[split].image_ids.tolist()


def test_equal_predictions_are_equal_files(tmp_path):
    for name in ("one", "other"):
        write_predictions(tmp_path / name, {"validation": make_predictions()})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_class_with_the_highest_logit_is_predicted():
    found = Predictions(
        logits=np.array([[1, 3, 2], [0.5, -1, 0.25], [-3, -2, -1]], dtype=np.float32),
        labels=np.array([1, 1, 2]),
        image_ids=np.array(["a", "b", "c"]),
    )
    assert found.predicted.tolist() == [1, 0, 2]
    assert found.correct.tolist() == [True, False, True]


def test_where_there_are_none_the_error_says_why(tmp_path):
    with pytest.raises(NotFoundError, match=r"no predictions at .*gone\.npz") as caught:
        read_predictions(tmp_path / "gone.npz")
    assert "older version" in (caught.value.hint or "")


def flip_within_logits(content):
    info = zipfile.ZipFile(io.BytesIO(content)).getinfo("validation_logits.npy")
    place = info.header_offset + 30 + len(info.filename) + 20 + info.compress_size // 2  # behind its header
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def without_logits(content):
    source, kept = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(kept, "w") as file:
        for name in source.namelist():
            if name != "validation_logits.npy":
                file.writestr(name, source.read(name))
    return kept.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"nothing of the kind",
        lambda content: content[: len(content) // 2],
        flip_within_logits,
        without_logits,
    ],
    ids=["empty", "text", "half", "flipped", "incomplete"],
)
def test_a_damaged_file_is_said_to_be_damaged(tmp_path, damage):
    path = tmp_path / "p.npz"
    write_predictions(path, {"validation": make_predictions()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"the predictions .*p\.npz are damaged"):
        read_predictions(path)
