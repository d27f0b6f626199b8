"""A picture of confusion matrices."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.lettering import lettering, plain

_MOST_NUMBERS = 20  # classes; beyond, numbers in the cells cannot be read
_LONGEST_NAME = 32  # characters; a folder's name may have 255, for which no picture has room
Matrix = Sequence[Sequence[int]]


def render_confusion(matrices: Mapping[str, Matrix], class_names: Sequence[str]) -> bytes:
    """Draw a panel for each matrix as a PNG file."""
    content = io.BytesIO()
    with lettering():
        draw_confusion(matrices, class_names).savefig(content, format="png")
    return content.getvalue()


def draw_confusion(matrices: Mapping[str, Matrix], class_names: Sequence[str]) -> Figure:
    """Draw a panel for each matrix: rows are true classes, shades are shares of the row, numbers are images."""
    side = min(1.8 + 0.8 * len(class_names), 12.0)
    figure = Figure(figsize=(side * len(matrices) + 0.6, side), layout="constrained")
    FigureCanvasAgg(figure)
    ticks = range(len(class_names))
    labels = [plain(name, _LONGEST_NAME) for name in class_names]
    for axes, (name, matrix) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True):
        shares = [[count / max(sum(row), 1) for count in row] for row in matrix]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        right = sum(matrix[i][i] for i in ticks)
        total = sum(map(sum, matrix))
        axes.set_title(f"{name}: {right} of {total} right")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, labels)
        if len(class_names) <= _MOST_NUMBERS:
            for i in ticks:
                for j in ticks:
                    color = "white" if shares[i][j] > 0.5 else "black"
                    axes.text(j, i, str(matrix[i][j]), ha="center", va="center", color=color)
    return figure
