"""Where labels go. Data coordinates are pixels here."""

from matplotlib.figure import Figure

from orchestrator.report.pictures import labels


def make_field(width, *points, path):
    axes = Figure(figsize=(width / 100, 5), dpi=100).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, 500))
    return labels._Field(axes, points, [path], 1.0)


def test_a_leader_along_a_line_is_hidden_and_one_across_it_is_not():
    field = make_field(500, (250, 250), path=[(250, 0), (250, 500)])
    above, beside = (
        labels._leader(field.points[0], box)
        for box in (labels._Box(200, 340, 300, 360), labels._Box(340, 240, 440, 260))
    )
    assert field._hidden(above) == len(above) - 1  # all but the anchor
    assert field._hidden(beside) == 0
