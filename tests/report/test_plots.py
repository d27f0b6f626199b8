"""Pictures are read back with another library; what they draw is read from the figures."""

import numpy as np
import pytest
from PIL import Image

from orchestrator.blocks import all_sets
from orchestrator.config.models import SearchConfig
from orchestrator.errors import NotFoundError, SetupError
from orchestrator.report import plots
from orchestrator.report.pictures.comparisons import draw_time
from orchestrator.report.pictures.front import draw_front
from orchestrator.report.pictures.labels import wrap_key
from orchestrator.report.pictures.series import build_series, describe_sweep, epochs_to_converge, seconds_to_converge
from orchestrator.report.plots import PICTURES, write_report
from orchestrator.results import Sweep
from orchestrator.storage.layout import Root
from tests.factories import (
    PREFIXES,
    RESNET18,
    make_experiment,
    make_history,
    make_hyperparameters,
    make_result,
    make_trial,
)
from tests.predicted import draw_correct, make_predicted_sweep
from tests.report.sweeps import list_bars, make_curved_trial, make_sweep

FILES = {
    "pareto.png",
    "block_effects.png",
    "pareto.html",
    "accuracies.png",
    "loss_progress.png",
    "overfitting_analysis.png",
    "convergence_analysis.png",
    "params_vs_time.png",
    "test_results.png",
}
EVERY = [frozen.key for frozen in all_sets(RESNET18)]


def check_pictures(paths):
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert image.width == 1500
                assert 400 <= image.height <= 3000
                assert np.asarray(image.convert("L")).std() > 5, f"{path.name} is empty"


@pytest.mark.parametrize(
    ("keys", "name"),
    [(PREFIXES[:1], "beans"), (PREFIXES, "<b>a $x_1$ 豆 & \\frac $"), (EVERY, "beans")],
    ids=["1", "6 of an odd name", "32"],
)
def test_report_writes_its_files(tmp_path, keys, name):
    folder = tmp_path / "reports" / "beans"
    folder.mkdir(parents=True)
    (folder / "block_effects.png").write_bytes(b"of an earlier report")
    paths = write_report(make_sweep(keys, tmp_path, name=name), folder)
    expected = FILES if len(keys) > 1 else FILES - {"block_effects.png"}  # one trial has no other to differ from
    assert {path.name for path in paths} == expected == {path.name for path in folder.iterdir()}
    assert all(path.parent == folder for path in paths)
    check_pictures(paths)


def test_a_picture_that_cannot_be_drawn_keeps_nobody_from_the_others(tmp_path, monkeypatch, caplog):
    def refuse(*_args):
        raise ValueError("a number that no axis takes\nand more")

    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "test_results.png").write_bytes(b"of other trials")
    monkeypatch.setattr(plots, "PICTURES", {"test_results.png": refuse, "params_vs_time.png": draw_time})
    paths = write_report(make_sweep(PREFIXES[:1], tmp_path), folder)
    expected = {"pareto.png", "pareto.html", "params_vs_time.png"}
    assert {path.name for path in paths} == expected == {path.name for path in folder.iterdir()}
    assert caplog.messages == ["test_results.png cannot be drawn: ValueError: a number that no axis takes"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot make .*file/reports: Not a directory"):
        write_report(make_sweep(PREFIXES[:1], tmp_path), tmp_path / "file" / "reports")


def test_report_of_a_half_finished_sweep_with_seeds(tmp_path):
    running = make_trial(8, "layer3", runs=(), state="running", trainable_params=None).model_copy(
        update={"val_acc": None}
    )
    sweep = make_sweep(PREFIXES[:3], tmp_path, seeds=(0, 1), extra=[make_trial(7, "layer4", error="boom"), running])
    check_pictures(write_report(sweep, tmp_path / "out"))


def test_report_of_runs_of_one_epoch_without_test_images(tmp_path):
    result = make_result("stem", 0.5, history=make_history((0.5,)), n_test=0, test_acc=float("nan"))
    run = make_trial(0, "stem").runs[0].model_copy(update={"result": result})
    sweep = Sweep(Root.at(tmp_path), make_experiment(), [make_trial(0, "stem", 0.5, runs=(run,))])
    check_pictures(write_report(sweep, tmp_path / "out"))


def test_nothing_to_draw(tmp_path):
    sweep = Sweep(Root.at(tmp_path), make_experiment("beans"), [make_trial(0, error="boom")])
    with pytest.raises(NotFoundError, match=r"nothing to draw: no trial of 'beans' is complete yet \(1 failed\)"):
        write_report(sweep, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_front_is_named_and_the_others_are_pale(tmp_path):
    series = build_series(make_sweep(EVERY, tmp_path))
    page = draw_front(series, "caption", knee=series[0].number)
    texts = {text.get_text().replace("\n", "") for text in page.panels[0].texts} - {""}
    assert texts == {each.label for each in series if each.on_front}
    axes = page.panels[0]
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == (
        "log",
        "Trainable parameters (logarithmic axis)",
        "Validation accuracy (%)",
    )


def test_the_front_shows_the_interval_of_each_accuracy(tmp_path):
    sweep = make_sweep(EVERY, tmp_path)
    page = draw_front(build_series(sweep), "caption", knee=0)
    bars = list_bars(page.panels[0])
    rows = sweep.trial_rows()
    ends = ("val_acc_low", "val_acc_high")
    assert bars == {tuple((float(row["trainable_params"]), row[end]) for end in ends) for row in rows}


def test_the_front_is_shaded_by_probability_and_recommends(tmp_path):
    sweep = make_predicted_sweep(tmp_path, PREFIXES, draw_correct((0.95, 0.95, 0.95, 0.95, 0.94, 0.6), seeds=3, seed=1))
    series = build_series(sweep)
    page = draw_front(series, "caption", 0, sweep.recommend())
    points = {line.get_xdata()[0]: line for line in page.panels[0].lines if len(line.get_xdata()) == 1}
    for each in series:
        level = 1 - each.p_front * (1 - 0x1A / 255)
        assert points[each.params].get_markerfacecolor() == pytest.approx((level, level, level))
        assert points[each.params].get_marker() == ("D" if each.supported else "o")
    title = page.figure.texts[0].get_text().replace("\n", " ")
    assert title == f"Recommended: {sweep.recommend().sentence}"


def test_the_caption_says_what_the_bars_cover(tmp_path):
    one = make_sweep(["none", "stem"], tmp_path)
    several = make_sweep(["none", "stem"], tmp_path, seeds=(0, 1))  # without their predictions
    assert describe_sweep(one, build_series(one), intervals=True).endswith(
        "bars: 95 % intervals over validation images, not over seeds"
    )
    assert "bars" not in describe_sweep(several, build_series(several), intervals=True)
    assert "lowest" not in describe_sweep(several, build_series(several), intervals=True)
    assert "means over 2 seeds, with the lowest and the highest" in describe_sweep(several, build_series(several))


def test_labels_do_not_cover_each_other(tmp_path):
    series = build_series(make_sweep(EVERY, tmp_path))
    page = draw_front(series, "caption", knee=0)
    page.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in page.panels[0].texts if text.get_text()]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    assert len(boxes) >= 5
    assert pairs == []


@pytest.mark.parametrize("name", PICTURES)
def test_every_axis_has_a_name_and_every_picture_a_title(tmp_path, name):
    series = build_series(make_sweep(PREFIXES, tmp_path))
    page = PICTURES[name](series, "beans: 6 trials")
    title, caption = (text.get_text() for text in page.figure.texts)
    assert len(title) > 20
    assert "beans: 6 trials" in caption
    for axes in page.panels:
        assert axes.get_xlabel()
    assert page.panels[0].get_ylabel()


def test_lines_differ_without_colour(tmp_path):
    series = build_series(make_sweep(EVERY, tmp_path))
    page = PICTURES["accuracies.png"](series, "caption")
    lines = page.panels[1].get_lines()
    assert len(lines) == 32
    thick = [line for line in lines if line.get_linewidth() > 1.5]
    front = [each for each in series if each.on_front]
    assert len(thick) == len(front)
    dashes = [str(line._unscaled_dash_pattern) for line in thick]  # type: ignore[attr-defined]
    assert len({(line.get_marker(), dash) for line, dash in zip(thick, dashes, strict=True)}) == len(front)


def test_labels_are_unique(tmp_path):
    search = SearchConfig.model_validate({"lr": {"choices": [1e-3, 1e-4]}})
    trials = [
        make_trial(i, key, 0.5 + i / 10, hyperparameters=make_hyperparameters(lr=lr))
        for i, (key, lr) in enumerate([("stem", 1e-3), ("stem", 1e-4), ("stem", 1e-4), ("none", 1e-3)])
    ]
    series = build_series(Sweep(Root.at(tmp_path), make_experiment(search=search), trials))
    assert [each.label for each in series] == [
        "stem lr=0.001",
        "stem lr=0.0001 #1",
        "stem lr=0.0001 #2",
        "none lr=0.001",
    ]


def test_convergence_by_hand():
    # the best is 0.8, 95 % of it is 0.76: reached in the third epoch; epochs take 2.0, 2.1, 2.2, ... seconds
    result = make_result(history=make_history((0.5, 0.7, 0.77, 0.8, 0.75)))
    assert epochs_to_converge(result) == 3
    assert seconds_to_converge(result) == pytest.approx(6.3)


def test_curves_go_as_far_as_every_seed_went(tmp_path):
    trial = make_curved_trial(0, "stem", seeds=(0, 1), epochs=4)
    (series,) = build_series(Sweep(Root.at(tmp_path), make_experiment(), [trial]))
    lengths = [len(result.history) for result in series.results]
    curve = series.curve(lambda epoch: epoch.val_acc)
    assert len(curve) == min(lengths) < max(lengths)
    first = [result.history[0].val_acc for result in series.results]
    assert (curve[0].low, curve[0].high) == (min(first), max(first))
    assert curve[0].mean == pytest.approx(sum(first) / 2)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("none", ["none"]),
        ("stem+layer1+layer2", ["stem+layer1+layer2"]),
        ("stem+layer1+layer2+layer3", ["stem+layer1+layer2+", "layer3"]),
        ("stem+layer1+layer2 lr=0.001", ["stem+layer1+layer2", "lr=0.001"]),
    ],
)
def test_long_labels_break(text, lines):
    assert wrap_key(text).splitlines() == lines
