"""Questions about a study of six prefixes, asked as in the shell; expected answers are worked out by hand."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from orchestrator.app.keeping import keep_report
from orchestrator.cli import main
from orchestrator.cli.options import complete_name
from orchestrator.config.models import SearchConfig, TrackingConfig
from orchestrator.errors import SetupError
from orchestrator.observers.progress import ProgressFile
from orchestrator.results import Sweep
from orchestrator.search import OptunaSearch, count_points
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.storage.lock import hold_lock
from tests.factories import (
    PREFIXES,
    TOTAL_PARAMS,
    count_trainable,
    make_cost,
    make_experiment,
    make_history,
    make_result,
    make_run,
    make_run_start,
)

ACCURACY = dict(zip(PREFIXES, (0.95, 0.94, 0.96, 0.90, None, 0.60), strict=True))  # None: the trial fails
ALL_FROZEN = PREFIXES[-1]
# 0.96 beats 0.95 and 0.94 with fewer parameters; 0.90 and 0.60 have fewer still
FRONT = [ALL_FROZEN, "stem+layer1+layer2", "stem+layer1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the study `demo`: five trials complete, one failed."""
    root = Root.at(tmp_path_factory.mktemp("mlruns"))
    root.create()
    search = OptunaSearch(root, make_experiment("demo"), {key: make_cost(key) for key in PREFIXES})
    ledger = Ledger(root)
    for _ in PREFIXES:
        proposal = search.propose()
        assert proposal is not None
        number, frozen = proposal.number, proposal.choice.frozen
        accuracy = ACCURACY[frozen]
        if accuracy is None:
            search.fail(number, "out of memory", [make_run(number, frozen, error="out of memory")])
            continue
        result = make_result(frozen, accuracy)
        folder = ledger.directory(result.fingerprint)
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_bytes(b"weights")
        (folder / "result.json").write_text(result.model_dump_json())
        search.tell(number, [make_run(number, frozen, val_acc=accuracy)])
    return root


@pytest.fixture
def ask(command, root):
    """Run a command line on the root; returns its exit code, stdout and stderr."""
    return lambda *words: command(*words, "--root", str(root.path))


def test_trials_gives_a_row_a_trial(ask):
    rows = json.loads(ask("trials", "demo", "-f", "json").out)
    assert {row["frozen"]: row["val_acc"] for row in rows} == ACCURACY
    assert {row["frozen"]: row["trainable_params"] for row in rows if row["state"] == "complete"} == {
        key: count_trainable(key) for key in PREFIXES if ACCURACY[key] is not None
    }
    assert {row["frozen"] for row in rows if row["pareto"]} == set(FRONT)
    assert [row["error"] for row in rows if row["state"] == "failed"] == ["out of memory"]


def test_pareto_is_the_front_by_rising_parameters(ask):
    answer = ask("pareto", "demo", "-f", "csv")
    assert [row["frozen"] for row in csv.DictReader(io.StringIO(answer.out))] == FRONT
    assert answer.code == 0
    assert answer.err == "nothing is recommended: not every complete trial has predictions of the same images\n"


def test_pareto_as_a_table_for_people(ask):
    lines = ask("pareto", "demo").out.splitlines()
    assert lines[0].split()[:6] == ["trial", "front", "frozen", "trainable_params", "val_acc", "val_acc_low"]
    # Wilson's intervals of 36 and 58 of 60 images
    assert lines[2].split()[2:7] == [ALL_FROZEN, "1,539", "0.6000", "0.4737", "0.7143"]
    assert lines[4].split()[2:7] == ["stem+layer1", "11,020,547", "0.9600", "0.8864", "0.9908"]


@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        ((), "stem+layer1"),
        (("--max-trainable-params", "3000000"), ALL_FROZEN),
        (("--max-trainable-params", "11000000"), "stem+layer1+layer2"),
        (("--min-val-acc", "0.9"), "stem+layer1+layer2"),
        (("--min-val-acc", "0.5"), ALL_FROZEN),
    ],
)
def test_best_within_a_budget(ask, options, frozen):
    answer = ask("best", "demo", "-f", "json", *options)
    assert json.loads(answer.out)["frozen"] == frozen


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("best", "demo", "--min-val-acc", "0.99"), 3, "0.99"),
        (("best", "demo", "--max-trainable-params", "1000"), 3, "1000|1,000"),
        (("best", "demo", "--min-val-acc", "97"), 2, r"fraction in \[0, 1\], not 97"),
        (("best", "demo", "--max-trainable-params", "0"), 2, "max-trainable-params"),
        (("trials", "nothing"), 3, "nothing"),
        (("trials", "demo", "-f", "xml"), 2, "xml"),
        (("history", "demo", "layer9"), 2, "layer9"),
    ],
)
def test_what_cannot_be_answered(ask, words, code, text):
    answer = ask(*words)
    assert (answer.code, answer.out) == (code, "")
    assert re.search(text, answer.err)


def test_status_of_a_sweep_that_has_ended(ask, root):
    status = json.loads(ask("status", "demo", "-f", "json").out)
    assert status["alive"] is False
    assert [status[key] for key in ("complete", "failed", "running", "left")] == [5, 1, 0, 1]
    assert (status["highest_measured_label"], status["highest_measured_val_acc"], status["front_size"]) == (
        "stem+layer1",
        0.96,
        3,
    )
    assert status["mlflow"] == f"sqlite:///{root.path}/mlflow.db"


@pytest.mark.parametrize(
    ("search", "points"),
    [
        ({}, 6),  # the prefixes of five blocks
        ({"mode": "subset"}, 32),
        ({"mode": "list", "frozen": ("stem", "none", "stem")}, 2),
        ({"lr": {"choices": (1e-3, 1e-4)}, "optimizer": {"choices": ("adam", "sgd", "adamw")}}, 36),  # 6 * 2 * 3
        ({"n_trials": 10}, 6),
        ({"mode": "subset", "n_trials": 10}, 10),
        ({"lr": {"range": {"low": 1e-4, "high": 1e-2}}, "n_trials": 20}, 20),
        ({"sampler": "random", "n_trials": 9}, 9),
        ({"max_trainable_params": 3_000_000}, None),
    ],
)
def test_a_study_has_as_many_points_as_its_space(search, points):
    assert count_points(make_experiment(search=SearchConfig(**search))) == points


def test_status_tells_what_should_be_heard_of_a_run(ask, root):
    root.progress("demo").parent.mkdir(exist_ok=True)
    start, file = make_run_start(5, "none"), ProgressFile(root.progress("demo"))
    root.progress("demo").parent.mkdir(exist_ok=True)
    file.on_run_start(start)
    file.on_epoch(start, make_history()[0].model_copy(update={"notes": ("training steps run without CUDA graphs",)}))
    try:
        said = " ".join(ask("status", "demo").out.split())
    finally:
        root.progress("demo").unlink()
    assert "epoch 1/3, val_acc 0.6000; training steps run without CUDA graphs" in said


def test_status_of_a_sweep_that_lives(ask, root):
    with hold_lock(root.lock("demo")):
        status = json.loads(ask("status", "demo", "-f", "json").out)
    assert (status["alive"], status["pid"]) == (True, os.getpid())
    assert json.loads(ask("status", "demo", "-f", "json").out)["alive"] is False


def test_status_for_people_has_a_line_a_fact(ask):
    lines = dict(line.split(maxsplit=1) for line in ask("status", "demo").out.splitlines() if len(line.split()) > 1)
    assert (lines["alive"], lines["complete"], lines["highest_measured_label"]) == ("no", "5", "stem+layer1")


def test_blocks_gives_a_row_a_block(ask):
    answer = ask("blocks", "demo", "-f", "json")
    rows = {row["block"]: row for row in json.loads(answer.out)}
    effects = {block: row["val_acc_effect"] for block, row in rows.items()}
    # the trial that freezes all but layer4 failed: neither layer3 nor layer4 has another to be compared with
    assert effects == pytest.approx({"stem": -0.01, "layer1": 0.02, "layer2": -0.06, "layer3": None, "layer4": None})
    assert rows["layer2"]["besides"] == "stem+layer1"
    assert rows["layer2"]["trainable_params_effect"] == -525_568
    assert answer.err.splitlines() == [
        "each effect is of also freezing the block when all before it are frozen: no others were tried",
        "without the predictions of each run an effect on accuracy has no interval",
        "one seed: the intervals cover other images, another seed may well show something else",
        (
            "seconds are stated where at least two pairs of trials or two seeds have runs that trained in one piece, "
            "beside about as many others: else a difference may be the machine's"
        ),
        "PED-ANOVA needs at least 17 complete trials, and there are 5",
    ]


def test_blocks_as_a_table_and_as_markdown(ask):
    lines = ask("blocks", "demo").out.splitlines()
    assert lines[0].split()[:4] == ["block", "besides", "n_pairs", "val_acc_effect"]
    assert lines[4].split()[:4] == ["layer2", "stem+layer1", "1", "-0.0600"]
    assert "-525,568" in lines[4]
    assert lines[5].split() == ["layer3", "0"]
    assert "| layer2 | stem+layer1 | 1 | -0.0600 |" in ask("blocks", "demo", "-f", "md").out
    assert next(csv.DictReader(io.StringIO(ask("blocks", "demo", "-f", "csv").out)))["block"] == "stem"


def test_runs_gives_a_row_a_run(ask):
    rows = json.loads(ask("runs", "demo", "-f", "json").out)
    assert len(rows) == len(PREFIXES)
    assert {row["seed"] for row in rows} == {0}
    assert {row["total_params"] for row in rows if row["val_acc"] is not None} == {TOTAL_PARAMS}


def test_history_gives_a_row_an_epoch(ask):
    rows = json.loads(ask("history", "demo", "layer1+stem", "-f", "json").out)  # any order of blocks
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["val_acc"] for row in rows] == pytest.approx([0.96 * 0.75, 0.96 * 0.9, 0.96])


def test_report_prints_the_paths_it_wrote(ask, root, monkeypatch):
    kept: list[object] = []
    monkeypatch.setattr("orchestrator.app.keeping.keep_report", lambda _sweep, paths, *_: kept.extend(paths))
    monkeypatch.setattr("orchestrator.report.plots.write_report", lambda _sweep, folder: [folder / "accuracies.png"])
    answer = ask("report", "demo")
    assert answer.out.splitlines() == [str(root.reports("demo") / "accuracies.png")]
    assert [str(path) for path in kept] == answer.out.splitlines()


def test_a_report_needs_the_address_of_a_store_whose_credentials_the_study_does_not_keep(root):
    masked = make_experiment("demo", tracking=TrackingConfig(mlflow_uri="https://***@example.org"))
    with pytest.raises(SetupError, match=r"does not keep the credentials .* https://\*\*\*@example.org") as caught:
        keep_report(Sweep(root, masked, ()), [])
    assert caught.value.hint == "give its address: --mlflow-uri"


def test_the_root_may_come_from_the_environment(root, monkeypatch, capsys):
    monkeypatch.setenv("ORCHESTRATOR_ROOT", str(root.path))
    monkeypatch.setattr(sys, "argv", ["orchestrator", "pareto", "demo", "-f", "csv"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(FRONT)


def test_answers_load_no_heavy_library(root):
    code = """
import sys
from orchestrator.cli import main
for command in ("status", "trials", "pareto", "best"):
    sys.argv[1] = command
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
        heavy = {"torch", "mlflow", "pytorch_lightning", "datasets", "pandas", "matplotlib", "plotly"}
        print("LOADED", command, sorted(heavy & set(sys.modules)))
"""
    words = [sys.executable, "-c", code, "command", "demo", "--root", str(root.path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("LOADED ")
    assert [answer.splitlines()[0] for answer in answers[1:]] == [
        f"{command} []" for command in ("status", "trials", "pareto", "best")
    ]
    assert all("stem+layer1" in answer for answer in (answers[0], *answers[1:-1]))


def test_names_are_completed_from_the_root(root):
    context = SimpleNamespace(params={"root": root.path})
    assert complete_name(context, "de") == ["demo"]
    assert complete_name(context, "x") == []


def test_completion_fails_in_silence(tmp_path, capsys):
    (tmp_path / "optuna.db").write_text("no database")
    assert complete_name(SimpleNamespace(params={"root": tmp_path}), "") == []
    assert capsys.readouterr() == ("", "")
