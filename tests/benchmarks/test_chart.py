"""The chart of the benchmark: each competitor and step of the waterfall is a bar with its seconds."""

import json

from matplotlib.figure import Figure
from PIL import Image

from benchmarks import chart

WORKLOAD = {
    "workload": {"name": "prefixes", "frozen": ["none", "stem"], "image_size": 64, "epochs": 3},
    "bound": {"seconds": 10.0},
    "scores": {"B": {"seconds": 40.0}, "C": {"seconds": 1234.5}},
    "waterfall": [
        {"name": "B  plain script", "overrides": [], "score": {"seconds": 40.0}},
        {"name": "this project, all of them off", "overrides": ["a=0"], "score": {"seconds": 30.0}},
        {"name": "+ frozen prefix computed once", "overrides": ["a=1"], "score": {"seconds": 20.0}},
        {"name": "+ what this version lacks", "overrides": [], "score": None},
    ],
}


def test_competitors_and_steps_are_bars_with_their_seconds(tmp_path, monkeypatch):
    drawn = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **options: drawn.append(figure) or savefig(figure, *args, **options)
    )
    source, target = tmp_path / "benchmark.json", tmp_path / "chart.png"
    source.write_text(json.dumps({"machine": {}, "workloads": [WORKLOAD, WORKLOAD]}))
    monkeypatch.setattr("sys.argv", ["chart", str(source), str(target)])
    chart.main()
    with Image.open(target) as picture:
        picture.verify()
    first, second = drawn[0].axes
    assert [label.get_text() for label in first.get_yticklabels()] == [
        *("B  plain script", "C  this project"),
        *("this project, all of them off", "+ frozen prefix computed once"),
    ]
    assert [bar.get_width() for bar in first.patches] == [40.0, 1234.5, 30.0, 20.0]
    assert [text.get_text().strip() for text in first.texts] == ["40 s", "1,234 s", "30 s", "20 s"]
    assert second.get_title(loc="left") == "prefixes: frozen sets: 2, epochs: 3, 64 px"
    assert [list(line.get_xdata()) for line in second.lines] == [[10.0, 10.0]]
