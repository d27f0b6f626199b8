"""The benchmark's own arithmetic on made-up runs, and one tiny run of it all."""

import json
import os
import runpy
import signal
import sys

import pytest
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.bound import Bound
from benchmarks.competitors import Arena, Sweep, Training, TrialTime
from benchmarks.equality import compare
from benchmarks.images import draw_images
from benchmarks.processes import ProgramError, Usage, run_program
from benchmarks.report import as_plain, print_result
from benchmarks.results import WaterfallStep, WorkloadResult, build_score
from benchmarks.scale import learning_rates, measure_scale
from benchmarks.techniques import Technique, plan_steps, sift
from benchmarks.workloads import SplitSizes, Workload

ALL = "stem+layer1+layer2+layer3+layer4"
WORKLOAD = Workload(name="two sets", frozen=("none", ALL), image_size=32, epochs=2)
SIZES = SplitSizes(60, 20, 20)
BOUNDS = {
    "none": Bound(prefix=0.0, training=4.0, validation=1.0, test=1.0),
    ALL: Bound(prefix=1.0, training=0.5, validation=0.25, test=0.25),
}
BOUND = Bound(prefix=1.0, training=4.5, validation=1.25, test=1.25)


@pytest.fixture(autouse=True)
def _libraries_as_they_are(monkeypatch):
    """Compile no packages: it takes minutes."""
    for module in ("benchmarks.processes", "benchmarks.__main__"):
        monkeypatch.setattr(f"{module}.compile_libraries", lambda: None)


def make_sweep(seconds: float, memory_mb: float = 500.0) -> Sweep:
    return Sweep(
        usage=Usage(seconds=seconds, peak_memory_mb=memory_mb, peak_rss_mb=2 * memory_mb),
        trials=tuple(
            TrialTime(frozen=frozen, seconds=seconds / 2, run_seconds=seconds / 4, val_acc=0.5, test_acc=0.25)
            for frozen in WORKLOAD.frozen
        ),
        trainings={},
    )


def make_result(**seconds: float) -> WorkloadResult:
    scores = {name: build_score([make_sweep(each)], WORKLOAD, SIZES, BOUND, BOUNDS) for name, each in seconds.items()}
    return WorkloadResult(workload=WORKLOAD, sizes=SIZES, bound=BOUND, bounds=BOUNDS, scores=scores)


# Scores


def test_a_score_is_the_median_of_the_repeats():
    sweeps = [make_sweep(30.0, 400.0), make_sweep(20.0, 600.0), make_sweep(100.0, 500.0)]
    score = build_score(sweeps, WORKLOAD, SIZES, BOUND, BOUNDS)
    assert (score.seconds, score.repeats) == (30.0, (30.0, 20.0, 100.0))
    assert score.images_per_s == pytest.approx(2 * 2 * (60 + 20) / 30)  # trials, epochs, images
    assert (score.peak_memory_mb, score.peak_rss_mb) == (600.0, 1200.0)
    assert score.attainment == pytest.approx(8 / 30)
    assert score.trials["none"].seconds == 15.0
    assert score.trials["none"].attainment == pytest.approx(6 / 15)
    assert score.trials[ALL].run_attainment == pytest.approx(2 / 7.5)


def test_the_ratio_says_how_many_times_as_long_another_takes():
    result = make_result(A=90.0, B=60.0, C=20.0)
    scores = as_plain(result)["scores"]
    assert (scores["C"]["ratio_to_a"], scores["C"]["ratio_to_b"]) == (4.5, 3.0)
    assert scores["B"]["ratio_to_b"] == 1.0
    assert as_plain(make_result(C=20.0))["scores"]["C"]["ratio_to_a"] is None


def test_the_tables_show_what_was_measured(capsys):
    result = make_result(A=90.0, B=60.0, C=20.0)
    result.waterfall = [
        WaterfallStep(name="all off", overrides=("a=1",), score=result.scores["B"]),
        WaterfallStep(name="+ something", skipped="unknown key"),
    ]
    result.scale = {"images": measure_scale(lambda factor: (10.0 + 5 * factor, 500.0))}
    result.equality = compare({"none": make_training()}, {"none": make_training(val_loss=0.5)})
    print_result(result)
    shown = capsys.readouterr().out
    lines = {line.split("  ")[0].strip(): line for line in shown.splitlines()}
    # 2 trials of 2 epochs of 80 images in 20 s; the bound is 8 s
    assert lines["C"].split()[3:] == ["20.0", "16.0", "500", "4.50", "x", "3.00", "x", "0.400"]
    assert "skipped: unknown key" in lines["+ something"]
    assert lines["images x4"].split()[-1] == "yes"
    assert "differ by up to 0.25" in shown


# Growth


def test_growth_is_measured_against_linear_growth_and_from_point_to_point():
    points = measure_scale({1: (20.0, 1.0), 2: (30.0, 1.0), 4: (50.0, 1.0)}.__getitem__)
    assert [point.growth for point in points] == [1.0, 30 / 40, 50 / 80]
    assert [point.trend for point in points] == [None, None, 1.0]  # 10 s a unit, both times
    assert all(point.is_linear for point in points)


def test_a_quadratic_part_does_not_hide_behind_the_start_up():
    points = measure_scale(lambda factor: (100.0 + 10 * factor**2, 1.0))
    assert points[-1].growth < 1
    assert points[-1].trend == pytest.approx(260 / (140 + 2 * 30))
    assert not points[-1].is_linear


def test_learning_rates_make_distinct_trials():
    assert learning_rates(1e-4, 1) == [1e-4]
    assert len(set(learning_rates(1e-4, 4))) == 4


# Equality


def make_training(sha256: str = "a", **metrics: float) -> Training:
    return Training(metrics={"val_acc": 0.5, "val_loss": 0.25} | metrics, weights_sha256=sha256)


def test_equal_trainings_are_equal_to_the_last_bit():
    one = {"none": make_training(), "stem": make_training(), ALL: make_training()}
    other = {"none": make_training(), "stem": make_training(val_loss=0.25 + 2**-40), ALL: make_training("b")}
    equal, nearly, weights = compare(one, other)
    assert equal.equal
    assert (nearly.metrics, nearly.largest_difference) == (False, 2**-40)
    assert (weights.metrics, weights.weights, weights.equal) == (True, False, False)


def test_a_metric_that_one_lacks_is_a_difference():
    (found,) = compare({"none": make_training()}, {"none": make_training(test_acc=0.5)})
    assert found.largest_difference == float("inf")
    with pytest.raises(ValueError, match="cannot be compared"):
        compare({"none": make_training()}, {"stem": make_training()})


# The waterfall


def test_each_step_switches_one_technique_on():
    steps = plan_steps([Technique("one", ("a=1",), ("a=0",)), Technique("two", ("b=1", "c=1"), ("b=0",))])
    assert [step.overrides for step in steps] == [("a=0", "b=0"), ("a=1", "b=0"), ("a=1", "b=1", "c=1")]
    assert [step.name for step in steps] == ["this project, all of them off", "+ one", "+ two"]


def test_a_technique_that_the_configuration_refuses_is_left_out(tmp_path):
    arena = Arena(folder=tmp_path, images=draw_images(tmp_path / "images", SplitSizes(3, 3, 3), 8), weights=None)
    config = arena.write_config(WORKLOAD, tmp_path / "experiments.yaml")
    memory = Technique("memory", ("data.memory_mb=64",), ("data.memory_mb=0",))
    magic = Technique("magic", ("trainer.magic=1",), ("trainer.magic=0",))
    known, refused = sift([memory, magic], config)
    assert known == [memory]
    assert list(refused) == ["magic"]
    assert "trainer.magic" in refused["magic"]


# Images and programs


def test_images_are_drawn_once_in_a_folder_a_class(tmp_path):
    images = draw_images(tmp_path, SplitSizes(7, 4, 3), 40)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len(files) == 14
    assert len({path.read_bytes() for path in files}) == 14
    assert {str(path.relative_to(tmp_path).parent) for path in files} >= {"train/healthy", "test/bean_rust"}
    with Image.open(files[0]) as image:
        assert (image.size, image.format) == ((40, 40), "JPEG")
    files[0].unlink()
    assert draw_images(tmp_path, SplitSizes(7, 4, 3), 40) == images
    assert not files[0].exists()  # what is there is not drawn again


def test_a_program_that_fails_says_what_it_said(tmp_path):
    with pytest.raises(ProgramError, match=r"exit code 3(.|\n)*told you so"):
        run_program([sys.executable, "-c", "print('told you so'); exit(3)"], tmp_path, os.environ)


def test_memory_counts_the_children(tmp_path):
    child = "import time; held = bytearray(80 * 2**20); time.sleep(1.6)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    usage = run_program([sys.executable, "-c", code], tmp_path, os.environ)
    assert 80 < usage.peak_memory_mb < 400
    assert usage.seconds > 1.6


# All of it


@pytest.fixture
def own_sigterm():
    """Put back the handler of SIGTERM, which the command replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.usefixtures("own_sigterm")
def test_a_tiny_run_writes_what_it_measured(tmp_path, mlflow_root, monkeypatch, capsys):
    """All of it but two things that take a while: the sweep needs no new store, and trains in its own process."""
    monkeypatch.setenv("HF_DATASETS_CACHE", "")  # it sets its own
    pinned = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: pinned.append(len(cores)), raising=False)
    out = tmp_path / "benchmark.json"
    words = ["--frozen", "none", ALL, "--competitors", "C", "--no-equality", "--drawn", "--drawn-sizes", "12,6,6"]
    words += [
        "--drawn-pixels",
        "40",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--threads",
        "1",
        "--json",
        str(out),
    ]
    words += ["--set", f"tracking.mlflow_uri={mlflow_root.mlflow_uri}", "--set", "execution.mode=inline"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    monkeypatch.delitem(sys.modules, "benchmarks.__main__")
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("benchmarks", run_name="__main__")  # as `python -m benchmarks`
    assert pinned in ([1], [])  # where a system can
    assert "this project" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert document["machine"]["versions"].keys() >= {"python", "torch", "optuna"}
    (found,) = document["workloads"]
    assert found["sizes"] == {"train": 12, "validation": 6, "test": 6}
    assert list(found["stages"]) == [*ALL.split("+"), "head"]
    score = found["scores"]["C"]
    assert score["images_per_s"] == pytest.approx(2 * (12 + 6) / score["seconds"])
    assert score["attainment"] == pytest.approx(found["bound"]["seconds"] / score["seconds"])
    assert score["peak_memory_mb"] > 100
    assert score["ratio_to_b"] is None
    assert set(score["trials"]) == {"none", ALL}
    for frozen, trial in score["trials"].items():
        assert 0 < trial["run_seconds"] <= trial["seconds"] < score["seconds"]
        assert trial["attainment"] == pytest.approx(found["bounds"][frozen]["seconds"] / trial["seconds"])
        assert 0 <= trial["val_acc"] <= 1


def test_an_unknown_workload_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--workload", "everything"])
    assert "invalid choice" in capsys.readouterr().err
