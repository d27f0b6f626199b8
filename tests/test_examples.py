"""The examples in the docstrings of the public names, run in a folder where the sweep `demo` has finished."""

import doctest

import pytest

import orchestrator
from orchestrator import load_experiment, run_sweep

EXPERIMENTS = """
experiments:
  demo:
    data:
      {source: synthetic, image_size: 32, batch_size: 8, synthetic: {classes: 3, train: 24, validation: 12, test: 12}}
    model: {weights: none}
    trainer: {max_epochs: 1, accelerator: cpu}
    search: {mode: list, frozen: [none, stem+layer1]}
    execution: inline
    tracking: {tensorboard: false}
"""
HOW = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    (folder / "experiments.yaml").write_text(EXPERIMENTS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        _, outcome = run_sweep(load_experiment("demo"))
    assert outcome.trained == 2
    return folder


@pytest.mark.parametrize("name", orchestrator.__all__)
def test_every_public_name_has_an_example_that_holds(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(orchestrator, name), name, globs={})
    assert found.examples
    said = []
    assert doctest.DocTestRunner(optionflags=HOW).run(found, out=said.append).failed == 0, "".join(said)
