"""A root that version 0.1 wrote: it is shown as then, answers without a training, and what it put off is gone on with.

What it is, and how it was made, says `tests/data/README.md`.
"""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import names
from orchestrator.app.sweep import run_sweep
from orchestrator.config.models import Experiment
from orchestrator.records.document import read_document
from orchestrator.records.place import Workplace
from orchestrator.records.record import flatten
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.results import Sweep, load_sweep
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training import narrow

DATA = Path(__file__).parents[1] / "data"


def read(text: str) -> Any:
    """Read JSON, its numbers to nine digits: another processor may give what is worked out another last bit."""
    return json.loads(text, parse_float=lambda number: f"{float(number):.9g}")


SHOWN = read((DATA / "shown.json").read_text())
PUT_OFF, EPOCHS = "e2946b707b556d48", 2
"""Fingerprint of the run that was stopped, and epochs that it had then."""


@pytest.fixture
def root(tmp_path) -> Root:
    with tarfile.open(DATA / "root-of-0.1.tar.xz") as archive:
        archive.extractall(tmp_path / "moved", filter="data")
    return Root.at(tmp_path / "moved" / "root")


@pytest.fixture
def trained(monkeypatch):
    """Epochs that are trained: the frozen set of each. The network is as narrow as the one of the root."""
    epochs: list[str] = []
    start = FreezingModule.on_train_epoch_start

    def counting(module):
        epochs.append(module.hparams["frozen"])
        start(module)

    monkeypatch.setattr(FreezingModule, "on_train_epoch_start", counting)
    monkeypatch.setattr(narrow, "CHANNELS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with narrow.narrow_networks():
        yield epochs
    torch.set_num_threads(threads)


def load(root: Root, name: str) -> Sweep:
    return load_sweep(name, root=root.path)


def without_times(result: RunResult) -> dict:
    values = result.model_dump(exclude={"duration_s", "s_per_epoch", "images_per_s", "peak_memory_mb"})
    for epoch in values["history"]:
        del epoch["duration_s"]
    return values


def without_beliefs(answer: object) -> object:
    """Leave out what the model of today believes, and that of then did not."""
    if isinstance(answer, list):
        return [without_beliefs(each) for each in answer]
    if isinstance(answer, dict):
        return {key: value for key, value in answer.items() if key not in {names.VAL_ACC_CORRECTED, names.P_FRONT}}
    return answer


@pytest.mark.parametrize("question", SHOWN)
def test_it_is_shown_as_it_was(question, command, root):
    found = command(*question.split(), "--format", "json", "--root", str(root.path))
    assert found.code == 0, found.err
    assert without_beliefs(read(found.out.replace(str(root.path), "ROOT"))) == without_beliefs(SHOWN[question])


def test_its_sweeps_are_listed(command, root):
    found = command("list", "--format", "json", "--root", str(root.path))
    assert {row["name"]: (row["state"], row["done"], row["planned"]) for row in json.loads(found.out)} == {
        "old": ("unfinished", 2, 3),
        "seven": ("finished", 1, 1),
        "onward": ("finished", 1, 1),
        "raced": ("finished", 2, 2),
        "lossy": ("unfinished", 1, 2),
    }


def test_what_it_predicts_is_advised_by_the_rules_of_today(command, root):
    sweep = load(root, "old")
    best = json.loads(command("best", "old", "--format", "json", "--root", str(root.path)).out)
    found = json.loads(command("recommend", "old", "--format", "json", "--root", str(root.path)).out)
    assert (best["rule"], best["trial"]) == ("expected", sweep.best().number)
    assert (found["trial"], found["frozen"]) == (sweep.recommend().number, sweep.recommend().frozen)
    assert (found["margin"], found["confidence"]) == (0.01, 0.8)  # it was begun before there was a choice


def test_its_pictures_are_drawn(command, root):
    found = command("report", "old", "--root", str(root.path))
    assert found.code == 0, found.err
    assert {path.name for path in root.reports("old").iterdir()} >= {"pareto.png", "loss_progress.png", "pareto.html"}


@pytest.mark.parametrize("name", ["seven", "onward", "raced"])
def test_what_is_finished_is_answered_without_a_training(name, root, trained):
    before = load(root, name)
    after, outcome = run_sweep(before.experiment, root=root.path)
    assert (trained, outcome.trained, outcome.failed_runs) == ([], 0, 0)
    assert after.trials == before.trials


def forget_same(root: Root) -> None:
    """Remove the training of `old` that is the one of `seven`, but for how often it logged."""
    (run, _) = load(root, "old").trials[0].runs
    shutil.rmtree(Ledger(root).directory(run.fingerprint))


def test_its_trainings_answer_another_sweep(root, trained):
    forget_same(root)
    before = load(root, "seven")
    other = before.experiment.model_copy(update={"name": "other"})
    after, outcome = run_sweep(other, root=root.path)
    assert (trained, outcome.trained, outcome.reused) == ([], 0, 1)
    (run,) = after.trials[0].runs
    assert run.reused_from == "seven/trial_000_none_seed0"
    assert run.fingerprint == before.trials[0].runs[0].fingerprint


def logging_every(experiment: Experiment, steps: int, name: str | None = None) -> Experiment:
    trainer = experiment.trainer.model_copy(update={"log_every_n_steps": steps})
    return experiment.model_copy(update={"trainer": trainer, "name": name or experiment.name})


@pytest.mark.parametrize("steps", [7, 10, 11])
def test_how_often_a_run_logs_is_no_reason_to_train_it_again(steps, root, trained):
    forget_same(root)
    before = load(root, "seven")
    assert before.experiment.trainer.log_every_n_steps == 7
    after, _ = run_sweep(logging_every(before.experiment, steps), root=root.path)
    assert after.trials == before.trials
    other, outcome = run_sweep(logging_every(before.experiment, steps, "other"), root=root.path)
    assert (trained, outcome.trained, outcome.reused) == ([], 0, 1)
    assert other.trials[0].runs[0].result.val_loss == before.trials[0].runs[0].result.val_loss


def test_what_was_put_off_is_gone_on_with_however_often_it_logs_now(root, trained):
    before = load(root, "old")
    _, outcome = run_sweep(logging_every(before.experiment, 11), root=root.path)
    assert (outcome.resumed, len(trained)) == (1, 4 - EPOCHS)
    assert Ledger(root).find_result(PUT_OFF) is not None


def test_what_was_put_off_is_gone_on_with_to_the_same_end(root, trained, tmp_path):
    before = load(root, "old")
    spec = Ledger(root).directory(PUT_OFF) / "spec.json"
    written = json.loads(spec.read_text())
    after, outcome = run_sweep(before.experiment, root=root.path)
    frozen = "stem+layer1+layer2"
    assert (outcome.resumed, outcome.trained) == (1, 1)
    assert trained == [frozen] * (4 - EPOCHS)
    assert [trial.state for trial in after.trials] == ["complete"] * 3
    assert after.trials[:2] == before.trials[:2]
    resumed = Ledger(root).find_result(PUT_OFF)
    again = flatten(json.loads(spec.read_text()))
    assert {key: again[key] for key in flatten(written)} == flatten(written)
    alone = train_alone(root, tmp_path / "alone")
    assert alone.fingerprint == PUT_OFF
    # another processor may give the epochs that version 0.1 trained another last bit, and what follows from them too
    same = [epoch.model_copy(update={"duration_s": 0.0}) for epoch in resumed.history[:EPOCHS]] == [
        epoch.model_copy(update={"duration_s": 0.0}) for epoch in alone.history[:EPOCHS]
    ]
    if same:
        assert without_times(resumed) == without_times(alone)
    assert [epoch.val_loss for epoch in resumed.history] == pytest.approx(
        [epoch.val_loss for epoch in alone.history], rel=1e-3
    )


def train_alone(root: Root, folder: Path) -> RunResult:
    """Train what was put off from its beginning."""
    path = Ledger(root).directory(PUT_OFF) / "spec.json"
    spec = read_document(RunSpec, path.read_bytes(), str(path))
    return run_training(spec, Workplace(directory=str(folder)), lambda _: None)
