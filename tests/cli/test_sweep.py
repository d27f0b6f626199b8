"""`orchestrator sweep` as in the shell: what it prints where, and its exit codes. The training is a fake."""

import functools
import json
import signal
import sqlite3
from contextlib import closing
from types import SimpleNamespace
from urllib.parse import quote

import optuna
import pytest
from PIL import Image

from orchestrator.config.models import ModelConfig
from orchestrator.report import plots
from orchestrator.training.network.costs import measure_costs
from tests.factories import TOTAL_PARAMS, count_trainable

CONFIG = """\
experiments:
  fake:
    data: {source: synthetic, image_size: 32, synthetic: {train: 8, validation: 4, test: 4}}
    model: {weights: none, num_classes: 3}
    trainer: {accelerator: cpu}
    search: {mode: list, frozen: [none, stem, stem+layer1]}
    execution: inline
"""


@functools.cache
def count(frozen_sets):
    """Count costs as a sweep does, once for all sweeps of the same frozen sets."""
    return measure_costs(ModelConfig(weights="none", num_classes=3), 3, 32, frozen_sets)


@pytest.fixture
def sweep(command, mlflow_root, tmp_path, monkeypatch):
    """Run `orchestrator sweep fake` with further words; returns exit code, stdout and stderr."""
    config = tmp_path / "experiments.yaml"
    config.write_text(CONFIG)
    monkeypatch.setattr("orchestrator.app.parts.RUN_FUNCTION", "tests.fake_training:train")
    monkeypatch.setattr(
        "orchestrator.training.preparation.prepare.measure_costs", lambda *words: count(tuple(words[3]))
    )
    monkeypatch.setattr(plots, "write_report", lambda *_: [])  # tests/test_app.py has a sweep with its pictures

    def run(*words: str, root: bool = True) -> SimpleNamespace:
        place = ("--root", str(mlflow_root.path)) if root else ()
        return command("sweep", "fake", "-c", str(config), *place, *words)

    return run


def test_the_front_goes_to_stdout_and_all_else_to_stderr(sweep):
    done = sweep("-f", "json")
    assert done.code == 0
    # stem has 0.96 with fewer parameters than none (0.95); stem+layer1 has 0.94 with fewer still
    assert [row["frozen"] for row in json.loads(done.out)] == ["stem+layer1", "stem"]
    assert "3 runs trained." in done.err
    assert "trial_000_none_seed0: epoch 1/30" in done.err
    assert "orchestrator best fake --root" in done.err


def test_a_second_call_trains_nothing_and_says_why(sweep):
    first = sweep("-f", "csv")
    again = sweep("-f", "csv")
    assert again.code == 0
    assert "nothing to train: all 3 trials of the search space are finished" in again.err
    assert "0 runs trained." in again.err
    assert again.out == first.out


def test_a_failed_trial_ends_in_exit_code_4_and_the_others_finish(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "stem")
    done = sweep("-f", "json")
    assert done.code == 4
    assert "(stem): seed 0: ValueError: the fake was told to fail" in done.err
    assert [row["frozen"] for row in json.loads(done.out)] == ["stem+layer1", "none"]
    monkeypatch.delenv("FAKE_FAIL")
    assert sweep().code == 0


def test_an_interrupted_sweep_ends_in_130(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_INTERRUPT", "stem")
    assert sweep().code == 130


def test_quiet_is_silent_about_epochs(sweep):
    assert "epoch" not in sweep("-q").err


def test_the_dry_run_gives_the_plan_and_leaves_nothing(sweep, mlflow_root):
    done = sweep("--dry-run", "-f", "json")
    plan = json.loads(done.out)
    assert [row["frozen"] for row in plan["trials"]] == ["none", "stem", "stem+layer1"]  # the costliest first
    assert {row["frozen"]: row["trainable_params"] for row in plan["trials"]} == {
        key: count_trainable(key) for key in ("none", "stem", "stem+layer1")
    }
    percent = {row["frozen"]: row["trainable_pct"] for row in plan["trials"]}
    assert percent["stem"] == pytest.approx(100 * count_trainable("stem") / TOTAL_PARAMS)
    assert plan["totals"]["trials"] == plan["totals"]["runs"] == 3
    assert not mlflow_root.optuna_db.exists()


def test_the_dry_run_refuses_what_is_not_there_all_at_once_and_says_what_it_did_not_check(sweep, tmp_path):
    gone = ("-s", f"model.weights={tmp_path}/gone.pth", "-s", f"data.source={tmp_path}/images")
    done = sweep("--dry-run", *gone)
    assert (done.code, done.out) == (2, "")
    assert "2 mistakes" in done.err
    assert f"no such file: {tmp_path}/gone.pth" in done.err
    assert f"{tmp_path}/images does not exist" in done.err
    said = done.err[done.err.index("error:") :]
    assert sweep(*gone).err.endswith(said)  # the sweep itself says the same, at once
    hub = sweep("--dry-run", "-s", "data.source=nobody/has-this")
    assert "not checked: hub data set nobody/has-this: not in the cache" in hub.err
    assert "that nobody/has-this has 3 classes; device and memory" in hub.err


def test_the_dry_run_counts_the_classes_of_a_folder(sweep, tmp_path):
    for name in ("round", "square"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "images" / name / f"{number}.png")
    done = sweep("--dry-run", "-s", f"data.source={tmp_path}/images")
    assert done.code == 2
    assert "model.num_classes is 3, but" in done.err
    assert "has 2 classes: round, square" in done.err


def test_the_dry_run_says_what_a_budget_leaves_out(sweep):
    done = sweep("--dry-run", "-s", "search.max_trainable_params=11100000")
    assert "left out, over search.max_trainable_params: none, stem" in done.err
    assert "none" not in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-s", "trainer.max_epoch=1"), "did you mean 'max_epochs'?"),
        (("-s", "search.frozen=[stem, layer9]"), "layer9"),
        (("-s", "data.source=./nowhere"), "does not exist"),
        (("-s", "model.weights=IMAGENET1K_V9"), "did you mean 'IMAGENET1K_V1'?"),
    ],
)
def test_a_mistake_ends_in_exit_code_2(sweep, words, said):
    done = sweep(*words)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_an_unreachable_tracking_server_ends_in_exit_code_5_before_anything_trains(sweep, mlflow_root):
    done = sweep("-s", "tracking.mlflow_uri=http://127.0.0.1:1")
    assert done.code == 5
    assert "cannot open the MLflow store http://127.0.0.1:1" in done.err
    assert not (mlflow_root.path / "checkpoints").exists()


def test_ctrl_c_stops_at_the_end_of_the_epoch_and_names_the_command_that_goes_on(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_SIGNAL", "SIGINT")
    done = sweep("-f", "json")
    assert done.code == 130
    assert "stopped; this goes on with it:\n  orchestrator sweep fake -c " in done.err
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # the exit code is settled
    monkeypatch.delenv("FAKE_SIGNAL")
    assert sweep().code == 0


def test_sigterm_ends_in_143(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_SIGNAL", "SIGTERM")
    assert sweep().code == 143


def test_fresh_trains_anew_and_keeps_the_old_study(sweep, mlflow_root):
    first = sweep()
    assert first.code == 0, first.err
    done = sweep("--fresh")
    assert done.code == 0
    assert "the old study is 'fake~1'" in done.err
    assert "3 runs trained." in done.err
    names = optuna.get_all_study_names(f"sqlite:///{mlflow_root.optuna_db}")
    assert sorted(names) == ["fake", "fake~1"]
    with closing(sqlite3.connect(mlflow_root.mlflow_db)) as connection:
        parents = connection.execute(
            "select r.status, count(*) from tags t join runs r on r.run_uuid = t.value"
            " where t.key = 'mlflow.parentRunId' group by r.run_uuid"
        ).fetchall()
    assert parents == [("FINISHED", 3), ("FINISHED", 3)]
    assert "0 runs trained." in sweep().err
    assert "3 runs trained." in sweep("--fresh").err


PLANTED = "Zq7planted'secret"


def list_leaks(folder, *texts):
    """List the files of a folder, and the texts, in which a part of the planted secret stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    leaks = [str(path) for path in files if b"Zq7planted" in path.read_bytes()]
    return leaks + [text for text in texts if "Zq7planted" in text]


def test_a_secret_is_in_no_file_and_in_nothing_that_is_printed(sweep, command, mlflow_root, monkeypatch, tmp_path):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, PLANTED)
    monkeypatch.setenv("STORE", f"sqlite:///file:{mlflow_root.mlflow_db}?uri=true&token={quote(PLANTED)}")
    monkeypatch.setenv("FAKE_FAIL", "stem")
    monkeypatch.setenv("FAKE_FAIL_WITH", f"403 for {PLANTED!r} at https://anna:{quote(PLANTED)}@host/x?sig={PLANTED}")
    store = ("-s", "tracking.mlflow_uri=${env:STORE}")
    words = ("-s", f"description=see http://anna:{PLANTED}@host/page")
    outputs = [sweep("-v", *store, *words), sweep("--dry-run", *store, *words)]
    assert [done.code for done in outputs] == [4, 0]
    assert "403 for" in outputs[0].err
    assert "not checked: " in outputs[1].err
    shown = ("status", "trials", "history")
    outputs += [
        command(name, "fake", *(["none"] if name == "history" else []), "--root", str(mlflow_root.path))
        for name in shown
    ]
    path = tmp_path / "experiments.yaml"
    outputs += [
        command("config", "show", "fake", "-c", str(path), *store, *words, *more) for more in ((), ("--origin",))
    ]
    assert [done.code for done in outputs[2:]] == [0] * 5
    assert "token=***" in outputs[-1].out
    # mistakes show what was received
    wrong = [sweep("-s", f"tracking.mlflow_url=http://anna:{PLANTED}@host"), sweep(*store, "-s", "trainer.lr=x")]
    wrong += [
        sweep("-s", f"tracking.mlflow_uri=http://anna:{PLANTED}#@host"),
        sweep("-s", f"data.source=http://a:{PLANTED}@h/d"),
    ]
    wrong += [sweep("-s", f"tracking.mlflow_uri=http://anna:{quote(PLANTED)}@127.0.0.1:1")]
    assert [done.code for done in wrong] == [2, 2, 2, 2, 5]
    assert "the command line holds credentials" in wrong[-1].err
    texts = [text for done in (*outputs, *wrong) for text in (done.out, done.err)]
    assert list_leaks(mlflow_root.path, *texts) == []
