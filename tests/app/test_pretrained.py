"""Which network `model.weights: sweep:<experiment>` means, and what is said where it means none."""

import pytest

from orchestrator.app.pretrained import describe_missing, find_pretrained
from orchestrator.config.models import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.storage.files import digest_path
from orchestrator.storage.layout import Root
from tests.factories import make_experiment, make_result, make_run
from tests.search.studies import COSTS, finish, open_search


@pytest.fixture
def root(tmp_path):
    root = Root.at(tmp_path / "a root")
    root.create()
    return root


def starting(name: str = "demo", weights: str = "sweep:source", **model):
    return make_experiment(name, model=ModelConfig(weights=weights, **model))


def sweep(root: Root, accuracies: dict[str, list[float]], name: str = "source"):
    """Sweep frozen sets, each with a run for every accuracy; each leaves its checkpoint."""
    search = open_search(root, name, mode="list", frozen=tuple(accuracies), seeds=(0, 1))
    search.require_identity({})
    for _ in accuracies:
        proposal = search.propose()
        frozen = proposal.choice.frozen
        costs = COSTS[frozen].trainable_params
        runs = [
            make_run(proposal.number, frozen, seed, result=make_result(frozen, accuracy, seed, trainable_params=costs))
            for seed, accuracy in enumerate(accuracies[frozen])
        ]
        for run in runs:
            file = root.path / run.checkpoint
            file.parent.mkdir(parents=True)
            file.write_text(f"{frozen} {run.seed}")
        search.tell(proposal.number, runs)
    return search


def test_it_is_the_best_run_of_the_best_trial(root):
    sweep(root, {"stem": [0.9, 0.8], "none": [0.88, 0.97], "layer4": [0.5, 0.99]})  # means: 0.85, 0.925, 0.745
    found = find_pretrained(root, starting())
    assert found.file.read_text() == "none 1"
    assert found.description == (
        "trial_000_none_seed1 of the sweep source (val_acc 0.9700, the best of 3 finished trials)"
    )
    assert describe_missing(root, starting()) is None


def test_other_weights_are_no_sweeps(root):
    for weights in ("none", "IMAGENET1K_V1", "sweep.pth"):
        assert find_pretrained(root, starting(weights=weights)) is None


def refused(root: Root, experiment, **options) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        find_pretrained(root, experiment, **options)
    return caught.value


def test_where_the_sweep_is_not_there_the_command_that_makes_it_is_named(root, monkeypatch):
    error = refused(root, starting())
    assert error.message == f"model.weights: sweep:source: {root.path} has no sweep called 'source'; it has none"
    # a root with a space in its path, so that the command can be copied
    assert error.hint.splitlines() == [
        f"this makes it: orchestrator sweep source --root '{root.path}'",
        f"      or this, and goes on: orchestrator sweep demo --root '{root.path}' --with-source",
    ]
    monkeypatch.chdir(root.path)
    assert refused(Root.at("mlruns"), starting(), command="orchestrator sweep -c x.yaml").hint.splitlines() == [
        "this makes it: orchestrator sweep -c x.yaml source",
        "      or this, and goes on: orchestrator sweep -c x.yaml demo --with-source",
    ]


def test_a_name_that_is_nearly_right_is_offered(root):
    sweep(root, {"none": [0.9, 0.9]}, name="digits-source")
    error = refused(root, starting(weights="sweep:digit-source"))
    assert error.message.endswith("has no sweep called 'digit-source'; it has digits-source")
    assert error.hint.startswith(
        "did you mean sweep:digits-source? else this makes it: orchestrator sweep digit-source"
    )


def test_a_sweep_without_a_finished_trial(root):
    search = open_search(root, "source")
    search.require_identity({})
    search.fail(search.propose().number, "no", [])
    search.propose()
    error = refused(root, starting())
    assert error.message == ("model.weights: sweep:source: that sweep has no finished trial yet (1 failed, 1 put off)")
    assert error.hint == f"this goes on with it: orchestrator sweep source --root '{root.path}'"


def test_a_checkpoint_that_is_gone_or_damaged(root):
    search = sweep(root, {"none": [0.9, 0.8]})
    file = root.path / search.trials()[0].runs[0].checkpoint
    digest_path(file).write_text("0" * 64)
    error = refused(root, starting())
    assert error.message == (
        f"model.weights: sweep:source: the checkpoint of its best run, trial_000_none_seed0, is damaged: {file}"
    )
    file.unlink()
    error = refused(root, starting())
    assert error.message.endswith(f"trial_000_none_seed0, is gone: {file}")
    assert error.hint.endswith(f"train that sweep again: orchestrator sweep source --root '{root.path}' --fresh")


def test_another_backbone(root):
    sweep(root, {"none": [0.9, 0.8]})
    error = refused(root, starting(backbone="resnet34"))
    assert error.message == (
        "model.weights: sweep:source: that sweep trained a resnet18, and model.backbone is resnet34"
    )
    assert error.hint == (
        "set model.backbone to resnet18, or train that sweep with this one: orchestrator sweep source "
        f"--root '{root.path}' --fresh -s model.backbone=resnet34"
    )


def test_a_sweep_that_found_a_better_network_is_refused_and_the_former_one_is_named(root):
    search = open_search(root, experiment={"model": ModelConfig(weights="sweep:source")})
    first, second = root.path / "checkpoints/a/best.ckpt", root.path / "checkpoints/b/best.ckpt"
    search.require_identity({"weights_sha256": "a" * 64}, str(first))
    finish(search, search.propose())
    search.require_identity({"weights_sha256": "a" * 64}, str(first))
    with pytest.raises(ConfigError) as caught:
        search.require_identity({"weights_sha256": "b" * 64}, str(second))
    assert caught.value.message.splitlines() == [
        "the finished trials of 'demo' were made with another configuration:",
        f"  weights_sha256: was '{'a' * 64}', is '{'b' * 64}'",
        f"  model.weights: was {first}, is {second}",
    ]
    assert caught.value.hint == (
        f"put it back (-s model.weights='{first}'), or train from scratch with --fresh "
        "(the old study stays, under another name)"
    )
    # which leads on: the same network by its path
    back = open_search(root, experiment={"model": ModelConfig(weights=str(first))})
    back.require_identity({"weights_sha256": "a" * 64})
    with pytest.raises(ConfigError, match=r"model\.weights: was"):
        back.require_identity({"weights_sha256": "b" * 64}, str(second))


def test_weights_of_no_sweep_are_refused_as_before(root):
    search = open_search(root)
    search.require_identity({"weights_sha256": "a" * 64})
    finish(search, search.propose())
    with pytest.raises(ConfigError) as caught:
        search.require_identity({"weights_sha256": "b" * 64})
    assert len(caught.value.message.splitlines()) == 2
    assert caught.value.hint.startswith("put it back, or train from scratch")
