"""Class names are whatever a folder may be called."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from orchestrator.tracking.mlflow.confusion import draw_confusion, render_confusion

STRANGE = ["$10_$20", "$20_$50", r"\frac{$", "<script>alert(1)</script>", "bad\udcffbyte", "x" * 255, "a\nb", ""]


def matrix(classes: int) -> list[list[int]]:
    return [[9 * (row == column) for column in range(classes)] for row in range(classes)]


@pytest.mark.parametrize("names", [STRANGE, STRANGE[:1], [f"${number}" for number in range(40)]])
def test_any_class_name_is_drawn(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = render_confusion({"validation": matrix(len(names)), "test": matrix(len(names))}, names)
    assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).std() > 5


def test_names_stand_at_their_rows_and_columns():
    figure = draw_confusion({"validation": matrix(2)}, ["$10_$20", "healthy"])
    (axes,) = figure.axes
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == [r"\$10_\$20", "healthy"]
