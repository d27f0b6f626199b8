"""Where labels go."""

import pytest
from matplotlib.figure import Figure

from orchestrator.report import labels


@pytest.fixture
def field():
    """A point in the middle of axes of 500 pixels, with a line straight through it from below to above."""
    axes = Figure(figsize=(5, 5), dpi=100).add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    return labels._Field(axes, [(0, 0)], [[(0, -1), (0, 1)]], 1.0)


def test_a_leader_along_a_line_is_hidden_and_one_across_it_is_not(field):
    anchor = field.points[0]
    above, beside = labels._Box(200, 340, 300, 360), labels._Box(340, 240, 440, 260)
    along = field._hidden(labels._leader(anchor, above))
    assert along == len(labels._leader(anchor, above)) - 1  # all but the anchor
    assert field._hidden(labels._leader(anchor, beside)) == 0


def test_a_label_that_must_move_away_moves_off_the_line(field):
    # taken: all places near the point, and those beside it; straight above is the nearest one
    field.boxes = [labels._Box(0, 210, 500, 290)]
    box, leader = field.place(field.points[0], 60, 12)
    assert leader
    assert field._hidden(labels._leader(field.points[0], box)) == 0
