"""Predictions are written and read back, and say what they cannot."""

import io
import zipfile

import numpy as np
import pytest

from orchestrator.errors import NotFoundError, RunError
from orchestrator.storage.predictions import Predictions, read_predictions, write_predictions


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


def write_arrays(path, **arrays):
    fields = {
        "logits": np.zeros((4, 3), np.float32),
        "labels": np.zeros(4, np.int64),
        "image_ids": np.array(list("abcd")),
    }
    np.savez_compressed(path, **{f"validation_{name}": array for name, array in (fields | arrays).items()})


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"logits": np.zeros((5, 3), np.float32)},
            r"shapes that do not fit each other: logits \(5, 3\)",
        ),
        ({"logits": np.zeros(4, np.float32)}, r"an array of float32 with shape \(4,\)"),
        ({"image_ids": np.array([{}, 1, 2, 3], object)}, "an array of object"),
        ({"labels": np.zeros(4, np.float32)}, "an array of float32"),
        ({"labels": np.array([0, 1, 2, 3])}, "labels of 'validation' go from 0 to 3, of 3 classes"),
        ({"labels": np.array([0, 1, 2, -1])}, "labels of 'validation' go from -1 to 2"),
    ],
)
def test_what_is_no_prediction_is_refused_in_our_words(tmp_path, arrays, said):
    path = tmp_path / "predictions.npz"
    write_arrays(path, **arrays)
    with pytest.raises(RunError, match=rf"the predictions .*predictions\.npz are damaged: .*{said}") as caught:
        read_predictions(path)
    assert caught.value.hint == "delete its folder to train it again"


def claim(shape, descr="<f4"):
    """Write the header of an array of a shape, and no array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


@pytest.mark.parametrize("held", [b"", bytes(2**20), None])
def test_no_memory_is_taken_for_what_a_header_merely_claims(tmp_path, held, monkeypatch):
    """A header that claims 4 TB; one of as many bytes as are there, but for a bomb: 80 MB of nothing in 80 kB."""
    path = tmp_path / "predictions.npz"
    content = claim((10**9, 1000)) + held if held is not None else claim((80, 250_000)) + bytes(80 * 250_000 * 4)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for field in ("logits", "labels", "image_ids"):
            file.writestr(f"validation_{field}.npy", content if field == "logits" else claim((10**9,), "<i8"))
    monkeypatch.setattr(np.lib.format, "read_array", None)  # it allocates
    said = r"validation_logits.npy (says that it has \d+ bytes, and has|unpacks \d+ bytes to)"
    with pytest.raises(RunError, match=said):
        read_predictions(path)
