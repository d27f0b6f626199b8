"""What a run's best weights say of each image of validation and test: whatever compares runs is computed from it."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import NotFoundError, RunError
from orchestrator.files import write_atomically
from orchestrator.names import PREDICTIONS_FILE

_FIELDS = ("logits", "labels", "image_ids")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What is predicted for the images of one split, in the order of the split.

    Attributes:
        logits: fp32, [n, classes].
        labels: True classes: int64, [n].
        image_ids: Strings, [n]: equal for equal images of all runs on the same data.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    image_ids: NDArray[np.str_]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes: int64, [n]."""
        predicted: NDArray[np.int64] = self.logits.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the true class is predicted, [n]. Its mean is the accuracy."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct


def predictions_path(checkpoint: Path) -> Path:
    """Name the file of predictions beside a run's best checkpoint."""
    return checkpoint.with_name(PREDICTIONS_FILE)


def write_predictions(path: Path, by_split: Mapping[str, Predictions]) -> None:
    """Write predictions by the name of their split: a compressed `.npz`, there whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    arrays = {f"{split}_{field}": getattr(each, field) for split, each in by_split.items() for field in _FIELDS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Read the predictions of a run by the name of their split.

    Raises:
        NotFoundError: There is no such file.
        RunError: It is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            splits = [name.removesuffix("_labels") for name in file.files if name.endswith("_labels")]
            return {split: Predictions(**{field: file[f"{split}_{field}"] for field in _FIELDS}) for split in splits}
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no predictions at {path}",
            hint="the run has not finished, or an older version trained it: delete its folder to train it again",
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"the predictions {path} are damaged: {error}", hint="delete its folder to train it again"
        ) from error
