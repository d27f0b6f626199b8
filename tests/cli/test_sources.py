"""`orchestrator sweep --with-source`: what an experiment starts from is swept first. The training is a fake."""

import functools
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import load_sweep
from orchestrator.config.models import ModelConfig
from orchestrator.report import plots
from orchestrator.search import study_names
from orchestrator.storage.layout import Root
from orchestrator.training.network.backbones import WeightsInfo
from orchestrator.training.network.costs import measure_costs

CONFIG = """\
experiments:
  first:
    data: {source: synthetic, image_size: 32, synthetic: {train: 8, validation: 4, test: 4}}
    model: {weights: none, num_classes: 3}
    trainer: {accelerator: cpu}
    search: {mode: list, frozen: [none], scores: false}
    execution: inline
  second: {extends: first, model: {weights: "sweep:first"}}
  third:
    extends: first
    model: {weights: "sweep:second"}
    search: {frozen: [none, stem]}
  round: {extends: first, model: {weights: "sweep:about"}}
  about: {extends: first, model: {weights: "sweep:round"}}
  lost: {extends: first, model: {weights: "sweep:frist"}}
"""


@functools.cache
def count(frozen_sets):
    return measure_costs(ModelConfig(weights="none", num_classes=3), 3, 32, frozen_sets)


def describe_weights(model: ModelConfig, file: str | None = None, *_) -> WeightsInfo:
    """Hash the file as it is: the fake leaves no network."""
    return WeightsInfo(sha256=hashlib.sha256(Path(file).read_bytes()).hexdigest()) if file else WeightsInfo()


@pytest.fixture
def sweep(command, mlflow_root, tmp_path, monkeypatch):
    config = tmp_path / "experiments.yaml"
    config.write_text(CONFIG)
    monkeypatch.setattr("orchestrator.app.parts.RUN_FUNCTION", "tests.fake_training:train")
    monkeypatch.setattr(
        "orchestrator.training.preparation.prepare.measure_costs", lambda *words: count(tuple(words[3]))
    )
    monkeypatch.setattr("orchestrator.training.preparation.prepare.describe_weights", describe_weights)
    monkeypatch.setattr(plots, "write_report", lambda *_: [])

    def run(name: str, *words: str) -> SimpleNamespace:
        done = command("sweep", name, "-c", str(config), "--root", str(mlflow_root.path), *words)
        done.root, done.config = mlflow_root.path, config
        return done

    return run


def test_without_the_source_the_error_names_the_commands_and_they_lead_on(sweep):
    done = sweep("second")
    assert done.code == 2
    assert f"error: model.weights: sweep:first: {done.root} has no sweep called 'first'; it has none" in done.err
    hint = f"orchestrator sweep -c {done.config} second --root {done.root} --with-source"
    assert hint in done.err
    done = sweep("second", *hint.split()[7:], "-f", "json")
    assert done.code == 0
    assert [row["frozen"] for row in json.loads(done.out)] == ["none"]  # the front of what was asked for, alone


def test_a_chain_is_swept_from_its_beginning_and_what_is_done_is_not_looked_at_again(sweep):
    done = sweep("third", "--with-source")
    assert done.code == 0
    assert "first comes first: second starts from its best network" in done.err
    assert "second comes first: third starts from its best network" in done.err
    assert "model.weights: trial_000_none_seed0 of the sweep second (val_acc 0.9500, the best of 1 finished" in done.err
    assert {name: len(load_sweep(name, done.root).trials) for name in ("first", "second", "third")} == {
        "first": 1,
        "second": 1,
        "third": 2,
    }
    again = sweep("third", "--with-source")
    assert again.code == 0
    assert "comes first" not in again.err


def test_what_is_set_and_begun_anew_is_the_named_one_but_for_where_it_runs(sweep):
    assert sweep("second", "--with-source", "-s", "trainer.lr=0.5", "-s", "execution.retries=7").code == 0

    def of(name: str):
        return load_sweep(name, sweep.root).experiment

    sweep.root = sweep("second").root
    assert (of("first").trainer.lr, of("second").trainer.lr) == (1e-4, 0.5)
    assert of("first").execution.retries == 7
    assert sweep("second", "--with-source", "--fresh").code == 0
    assert study_names(Root.at(sweep.root)) == ["first", "second", "second~1"]


def test_a_source_that_was_interrupted_stops_the_command(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_SIGNAL", "SIGINT")
    done = sweep("second", "--with-source")
    assert done.code == 130
    assert "stopped; this goes on with it:\n  orchestrator sweep second" in done.err
    monkeypatch.delenv("FAKE_SIGNAL")
    assert sweep("second", "--with-source").code == 0


def test_a_source_whose_only_trial_failed(sweep, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "none")
    done = sweep("second", "--with-source")
    assert done.code == 2
    assert "that sweep has no finished trial yet (1 failed)" in done.err


def test_a_circle_has_no_beginning(sweep):
    done = sweep("round", "--with-source")
    assert done.code == 2
    assert "model.weights: round starts from about starts from round: a circle has no beginning" in done.err


def test_a_source_that_is_nowhere(sweep):
    done = sweep("lost", "--with-source")
    assert done.code == 2
    assert f"has no sweep called 'frist', and {done.config} no such experiment; did you mean 'first'?" in done.err


def test_a_plan_needs_no_source_and_says_so(sweep):
    done = sweep("second", "--dry-run", "-f", "json")
    assert done.code == 0
    assert json.loads(done.out)["totals"]["runs"] == 1
    assert "the plan needs no weights, and the sweep would not start yet: model.weights: sweep:first" in done.err
    assert sweep("first").code == 0
    assert "would not start" not in sweep("second", "--dry-run").err


def test_a_sweep_that_started_from_a_network_that_is_the_best_no_more_is_refused_and_can_go_on(sweep):
    first = sweep("second", "--with-source")
    former = load_sweep("first", first.root).best().checkpoint
    assert sweep("first", "--fresh").code == 0
    newer = load_sweep("first", first.root).best().checkpoint
    newer.write_bytes(b"other weights")
    done = sweep("second", "-s", "search.frozen=[none,stem]")
    assert done.code == 2
    assert f"model.weights: was {former}, is {newer}" in done.err
    assert f"hint: put it back (-s model.weights={former}), or train from scratch with --fresh" in done.err
    assert load_sweep("second", first.root).experiment.search.frozen == ("none",)
