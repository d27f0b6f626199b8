"""A run, against its own repetition, and by reading back what it wrote."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch.nn.functional import cross_entropy

from orchestrator import names
from orchestrator.config.models import ModelConfig, SyntheticConfig
from orchestrator.errors import ConfigError, RunError
from orchestrator.records.document import read_document
from orchestrator.records.place import Workplace
from orchestrator.records.runs import RunResult
from orchestrator.records.spec import RunSpec
from orchestrator.storage.files import is_whole
from orchestrator.storage.layout import Root
from orchestrator.storage.ledger import Ledger
from orchestrator.storage.predictions import read_predictions
from orchestrator.training.data.loading import load_data
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.training.tiny import (
    MEAN,
    RESNET18,
    STD,
    evaluate,
    make_data,
    make_spec,
    normalise,
    parse,
    train,
    without_times,
)

pytestmark = pytest.mark.usefixtures("narrow")
ALL = "+".join(RESNET18)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, narrow):
    """A run whose `val_loss` falls, then rises: its best epoch is neither first nor last, and it stops early."""
    folder = tmp_path_factory.mktemp("stopped")
    spec = make_spec("stem+layer1", 1, max_epochs=8, patience=2, optimizer="sgd", lr=0.01)
    result, seen = train(spec, folder)
    return spec, folder, result, seen


def test_the_result_is_that_of_the_best_checkpoint_recomputed_by_hand(stopped):
    spec, folder, result, _ = stopped
    assert 0 < result.best_epoch < result.epochs_run - 1  # else the first or last epoch would do as well
    network = load_checkpoint_network(folder / "best.ckpt")
    for split, found in (
        ("validation", (result.val_acc, result.val_loss, result.val_confusion)),
        ("test", (result.test_acc, result.test_loss, result.test_confusion)),
    ):
        accuracy, loss, confusion = evaluate(network, spec, split)
        assert found[0] == accuracy
        assert found[1] == pytest.approx(loss, rel=1e-4)
        assert [list(row) for row in found[2]] == confusion
    assert (result.n_val, result.n_test) == (12, 9)


def test_a_run_states_every_quantity_of_the_table_and_no_other(stopped):
    _, _, result, _ = stopped
    unknown = [each.key for each in names.OF_RUN if result.read(each.key) is None]
    assert unknown == ["resident_mb", "energy_wh"]  # this is a CPU
    assert set(result.measured) <= {each.key for each in names.OF_RUN}


def test_the_predictions_are_those_of_the_best_checkpoint_image_by_image(stopped):
    spec, folder, result, _ = stopped
    network = load_checkpoint_network(folder / "best.ckpt")
    data = load_data(spec.data)
    found = read_predictions(folder / "predictions.npz")
    wanted = {"validation": (result.val_acc, result.val_loss), "test": (result.test_acc, result.test_loss)}
    assert list(found) == list(wanted)
    for split, (accuracy, loss) in wanted.items():
        with torch.no_grad():
            logits = torch.cat([network(normalise(image)[None]) for image in torch.as_tensor(data.pixels[split])])
        assert found[split].logits == pytest.approx(logits.numpy(), abs=1e-4)
        assert found[split].labels.tolist() == data.images[split].labels.tolist()
        assert found[split].correct.mean() == accuracy
        assert float(cross_entropy(logits, torch.tensor(found[split].labels))) == pytest.approx(loss, rel=1e-4)
    assert found["test"].image_ids.tolist() == [f"drawn-2-{number:06d}" for number in range(9)]


def test_the_best_epoch_is_the_first_with_the_lowest_loss(stopped):
    *_, result, _ = stopped
    losses = [epoch.val_loss for epoch in result.history]
    best = result.history[losses.index(min(losses))]
    assert result.best_epoch == best.epoch
    for name in ("val_acc", "val_loss", "train_acc", "train_loss"):
        assert getattr(result, name) == getattr(best, name)


def test_training_stops_after_patience_epochs_without_a_lower_loss(stopped):
    *_, result, _ = stopped
    losses = [epoch.val_loss for epoch in result.history]
    lowest, waited, expected = float("inf"), 0, 0
    for loss in losses:
        expected += 1
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        if waited == 2:
            break
    assert result.epochs_run == len(losses) == expected < 8
    assert result.best_epoch == result.epochs_run - 1 - 2


def test_epochs_reach_the_sink_in_order_and_are_the_history(stopped):
    *_, result, seen = stopped
    assert tuple(seen) == result.history
    assert [epoch.epoch for epoch in seen] == list(range(result.epochs_run))


def test_times_and_memory_are_sane(stopped):
    *_, result, _ = stopped
    seconds = [epoch.duration_s for epoch in result.history]
    assert min(seconds) > 0
    assert sum(seconds) < result.duration_s < 120
    assert result.s_per_epoch == pytest.approx(float(np.median(seconds)))
    # 24 training and 12 validation images an epoch
    assert result.images_per_s == pytest.approx(36 * len(seconds) / sum(seconds))
    assert 200 < result.peak_memory_mb < 64_000  # torch at least


def test_what_was_written_says_the_same(stopped):
    spec, folder, result, _ = stopped
    assert {path.name for path in folder.iterdir()} == {
        "spec.json",
        "best.ckpt",
        "best.ckpt.sha256",
        "predictions.npz",
        "result.json",
    }
    assert read_document(RunResult, (folder / "result.json").read_text(), "the result") == result
    assert is_whole(folder / "best.ckpt")
    assert RunSpec.model_validate_json((folder / "spec.json").read_text()) == spec
    written = [
        (folder / name).stat().st_mtime_ns for name in ("spec.json", "best.ckpt", "predictions.npz", "result.json")
    ]
    assert written == sorted(written)


def test_the_checkpoint_tells_what_it_needs_to_be_used(stopped):
    spec, folder, result, _ = stopped
    hparams = torch.load(folder / "best.ckpt", weights_only=True)["hyper_parameters"]
    assert hparams == {
        "backbone": "resnet18",
        "num_classes": 3,
        "class_names": list(result.class_names),
        "frozen": "stem+layer1",
        "image_size": 32,
        "mean": list(MEAN),
        "std": list(STD),
        "fingerprint": spec.fingerprint,
    }
    assert not load_checkpoint_network(folder / "best.ckpt").training


@pytest.mark.parametrize("key", ["stem+layer1+layer2", ALL])
def test_a_second_run_gives_equal_metrics_and_weights_to_the_last_bit(key, tmp_path):
    spec = make_spec(key, seed=1)
    one, _ = train(spec, tmp_path / "one")
    torch.rand(7)  # what happened before does not count
    np.random.rand(7)
    two, _ = train(spec, tmp_path / "two")
    assert without_times(one) == without_times(two)
    states = [torch.load(tmp_path / name / "best.ckpt", weights_only=True)["state_dict"] for name in ("one", "two")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_images_that_do_not_fit_in_memory_train_the_same(tmp_path):
    kept, _ = train(make_spec(ALL), tmp_path / "kept")
    streamed_data = make_data(memory_mb=0)
    streamed, _ = train(make_spec(ALL, data=streamed_data), tmp_path / "streamed")
    assert without_times(kept) == without_times(streamed)


@pytest.fixture
def watched(monkeypatch):
    """The images of every training batch, by run, and the head before the first step."""
    runs = []
    step, start = FreezingModule.train_on, FreezingModule.on_train_start

    def on_train_start(module):
        runs.append({"batches": [], "head": module.network.fc.weight.detach().clone()})
        return start(module)

    def train_on(module, batch):
        runs[-1]["batches"].append(batch[0].clone())
        return step(module, batch)

    monkeypatch.setattr(FreezingModule, "on_train_start", on_train_start)
    monkeypatch.setattr(FreezingModule, "train_on", train_on)
    return runs


def test_trials_with_a_seed_see_one_order_and_start_from_one_head(watched, tmp_path):
    for number, (key, seed, lr) in enumerate([("none", 0, 1e-3), (ALL, 0, 0.1), (ALL, 1, 1e-3)]):
        train(make_spec(key, seed=seed, lr=lr), tmp_path / str(number))
    one, two, other = watched
    assert len(one["batches"]) == 2 * 3
    assert all(torch.equal(a, b) for a, b in zip(one["batches"], two["batches"], strict=True))
    assert torch.equal(one["head"], two["head"])
    assert not all(torch.equal(a, b) for a, b in zip(one["batches"], other["batches"], strict=True))
    assert not torch.equal(one["head"], other["head"])
    first, second = torch.cat(one["batches"][:3]), torch.cat(one["batches"][3:])
    assert not torch.equal(first, second)  # each epoch has an order of its own
    assert torch.equal(first.flatten(1).sort(0).values, second.flatten(1).sort(0).values)


def test_a_last_batch_of_one_image_trains(watched, tmp_path):
    data = make_data(synthetic=SyntheticConfig(train=17, validation=9, test=9))
    result, _ = train(make_spec("none", data=data, max_epochs=1), tmp_path)
    assert [len(batch) for batch in watched[0]["batches"]] == [8, 9]
    assert (result.n_val, result.n_test) == (9, 9)


def leave_a_stale_run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best.ckpt").write_bytes(b"of an interrupted run")
    (folder / "result.json").write_text("{}")


def test_a_loss_that_is_not_a_number_is_a_lost_run(tmp_path, monkeypatch):
    leave_a_stale_run(tmp_path)
    seen = []
    monkeypatch.setattr(FreezingModule, "forward", lambda module, images: module.network(images * float("nan")))
    with pytest.raises(RunError, match=r"the train loss is nan in epoch 1") as caught:
        run_training(make_spec(ALL), Workplace(directory=str(tmp_path)), seen.append)
    assert "lower trainer.lr (0.001)" in caught.value.hint
    assert caught.value.cause == "diverged"
    assert not caught.value.may_pass
    assert seen == []
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "best.ckpt").exists()


def test_a_validation_loss_that_is_infinite_is_a_lost_run(tmp_path, monkeypatch):
    evaluate_batch = FreezingModule.validation_step

    def spoilt(module, batch):
        evaluate_batch(module, batch)
        module.eval_outcomes.add(torch.tensor([float("inf")]), torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))

    monkeypatch.setattr(FreezingModule, "validation_step", spoilt)
    with pytest.raises(RunError, match="the validation loss is inf in epoch 1"):
        train(make_spec(ALL), tmp_path)


def test_epochs_that_differ_by_less_than_fp32_tells_have_the_same_best_for_everybody(tmp_path, monkeypatch):
    """Lightning compares in fp32: a best epoch of which it kept no weights would lose the run."""
    losses = iter([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 - 2**-24]])  # the second mean is 1 - 2e-8, which fp32 rounds to 1

    def two_values(module, batch):
        if module.trainer.state.fn == TrainerFn.FITTING and not module.eval_outcomes._losses:
            module.eval_outcomes.add(torch.tensor(next(losses)), torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64))
        elif module.trainer.state.fn != TrainerFn.FITTING:
            evaluate_batch(module, batch)

    evaluate_batch = FreezingModule.validation_step
    monkeypatch.setattr(FreezingModule, "validation_step", two_values)
    result, _ = train(make_spec(ALL), tmp_path)
    assert [epoch.val_loss for epoch in result.history] == [1.0, 1.0]
    assert result.best_epoch == 0


def test_other_images_than_those_of_the_specification_are_refused(tmp_path):
    spec = make_spec(ALL).model_copy(update={"data_fingerprint": "0" * 64})
    with pytest.raises(RunError, match=r"images of synthetic are not those .* instead of 0000000000000000") as caught:
        train(spec, tmp_path)
    assert "changed since the sweep began" in caught.value.hint


def test_other_weights_than_those_of_the_specification_are_refused(tmp_path):
    weights = tmp_path / "w.pth"
    torch.save(build_network(ModelConfig(weights="none"), 3, 0, parse("none")).state_dict(), weights)
    spec = make_spec(ALL, model=ModelConfig(weights=str(weights))).model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(RunError, match=r"weights .*w\.pth are not those of the run's specification: sha256 .* 0000"):
        train(spec, tmp_path / "run")


def test_a_head_that_does_not_fit_the_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.num_classes is 4, but synthetic has 3 classes"):
        train(make_spec(ALL, model=ModelConfig(weights="none", num_classes=4)), tmp_path)


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C: a shell's background job starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_comes_out_as_what_it_is_and_leaves_no_result(tmp_path):
    """Lightning would make it `SystemExit(1)` and ignore the next one."""
    root = Root.at(tmp_path)
    spec = make_spec(ALL)
    folder = root.run_dir(spec.fingerprint)
    before = signal.getsignal(signal.SIGINT)
    leave_a_stale_run(folder)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_training(spec, Workplace(directory=str(folder)), lambda epoch: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before
    assert not (folder / "result.json").exists()
    assert Ledger(root).find_result(spec.fingerprint) is None

    result, _ = train(spec, folder)  # what it left is no obstacle
    clean, _ = train(spec, tmp_path / "clean")
    assert without_times(result) == without_times(clean)
    assert Ledger(root).find_result(spec.fingerprint) == result


def test_a_run_leaves_the_process_as_it_found_it(tmp_path):
    def look() -> tuple[bool, bool, int]:
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        return torch.are_deterministic_algorithms_enabled(), filled, torch.get_num_threads()

    torch.set_num_threads(2)
    before, during = look(), []
    workplace = Workplace(directory=str(tmp_path), threads=1)
    result = run_training(make_spec(ALL, max_epochs=1), workplace, lambda _: during.append(look()))
    assert during == [(True, False, 1)]
    assert look() == before == (False, True, 2)
    assert json.loads((tmp_path / "result.json").read_text())["epochs_run"] == result.epochs_run == 1
