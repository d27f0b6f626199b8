"""Single runs on a CUDA device: `make test-gpu`. Sweeps and what runs do to each other are in `test_gpu_sweep.py`."""

import pytest
import torch

from orchestrator.config.models import ModelConfig, SyntheticConfig, TrainerConfig
from orchestrator.execution.processes import ProcessExecutor
from orchestrator.records.place import CachePlace, Workplace
from orchestrator.training.device import device_name, list_gpus, resolve_trainer
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.saved import load_checkpoint_network
from orchestrator.training.run.lightning import torch_settings
from orchestrator.training.run.run import run_training
from orchestrator.training.seeds import derive_seed
from tests.training.gpu import gpu_spec, used_mib
from tests.training.targets import HERE
from tests.training.tiny import RESNET18, make_data, make_spec, parse, train

pytestmark = pytest.mark.gpu

MIB = 2**20
# parameters with gradients and two moments of Adam in fp32: 11,178,051 * 4 * 4 bytes
FULL_TRAINING_MIB = 11_178_051 * 16 / MIB
TIMEOUT_S = 300


def test_auto_takes_the_gpu_and_the_precision_that_it_has_natively():
    resolved = resolve_trainer(TrainerConfig())
    major, _ = torch.cuda.get_device_capability()
    assert resolved.accelerator == "gpu"
    assert resolved.precision == ("bf16-mixed" if major >= 8 else "16-mixed")  # 8: Ampere
    assert len(list_gpus()) == torch.cuda.device_count() >= 1
    assert device_name("gpu") == torch.cuda.get_device_name(0)


@pytest.mark.parametrize("precision", ["auto", "32-true", "16-mixed"])
def test_a_run_on_the_gpu_finishes_and_uses_it(tmp_path, precision):
    resolved = resolve_trainer(TrainerConfig(precision=precision))
    result, seen = train(make_spec("none", accelerator="gpu", precision=resolved.precision), tmp_path)
    assert tuple(seen) == result.history
    assert (result.device, result.precision) == (torch.cuda.get_device_name(0), resolved.precision)
    assert FULL_TRAINING_MIB * 0.9 < result.peak_memory_mb < FULL_TRAINING_MIB * 10
    assert 0 <= result.val_acc <= 1


def test_frozen_blocks_are_bit_identical_and_the_others_moved(tmp_path):
    spec = gpu_spec("stem+layer2", max_epochs=1, lr=0.01)
    train(spec, tmp_path)
    before = build_network(ModelConfig(weights="none"), 3, derive_seed(spec.seed, "head"), parse("none")).state_dict()
    after = load_checkpoint_network(tmp_path / "best.ckpt").state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert not {name for name in moved if name.startswith(("conv1.", "bn1.", "layer2."))}
    for block in ("layer1", "layer3", "layer4", "fc"):
        assert any(name.startswith(f"{block}.") for name in moved)


def test_two_runs_of_one_specification_agree(tmp_path):
    spec = gpu_spec("stem+layer1")
    one, two = (train(spec, tmp_path / name)[0] for name in ("one", "two"))
    assert [epoch.val_loss for epoch in one.history] == [epoch.val_loss for epoch in two.history]
    assert one.test_confusion == two.test_confusion


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("frozen", ["none", "stem+layer2", "+".join(RESNET18), "stem:norm+layer2:lora-4+layer3:bias"])
def test_a_run_with_cuda_graphs_gives_what_one_without_gives(tmp_path, monkeypatch, precision, frozen):
    """20 images in batches of 8: the last one is smaller, and goes without."""
    data = make_data(synthetic=SyntheticConfig(train=20, validation=12, test=9))
    spec = make_spec(frozen, data=data, accelerator="gpu", precision=precision)
    graphed, _ = train(spec, tmp_path / "graphed")
    assert graphed.notes == ()

    def refuse(*_, **__):
        raise RuntimeError("refused by the test")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    plain, _ = train(spec, tmp_path / "plain")
    assert plain.notes == ("training steps run without CUDA graphs, more slowly: refused by the test",)
    for one, two in zip(graphed.history, plain.history, strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-2)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-2)


@pytest.mark.parametrize("frozen", ["stem+layer1", "+".join(RESNET18)])
def test_activations_that_are_kept_change_a_run_on_the_gpu_by_no_more_than_rounding(tmp_path, frozen):
    spec = gpu_spec(frozen)
    cache = CachePlace(folder=str(tmp_path / "cache"))
    plain, _ = train(spec, tmp_path / "plain")
    kept = run_training(spec, Workplace(directory=str(tmp_path / "kept"), cache=cache), lambda _: None)
    for one, two in zip(kept.history, plain.history, strict=True):
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-2)


def test_freezing_everything_takes_less_memory_than_training_everything(tmp_path):
    """In workers, so that neither sees what the other left."""
    with ProcessExecutor(f"{HERE}:run_or_die") as executor:
        none, everything = (
            executor.submit(gpu_spec(key), Workplace(directory=str(tmp_path / key)), print).result(TIMEOUT_S)
            for key in ("none", "+".join(RESNET18))
        )
    assert everything.peak_memory_mb < none.peak_memory_mb / 2


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_in_fp16_whose_first_steps_overflow_depends_on_nothing_that_is_not_filled(tmp_path, optimizer):
    spec = make_spec("none", accelerator="gpu", precision="16-mixed", optimizer=optimizer, lr=0.01)
    one, _ = train(spec, tmp_path / "one")
    filled = torch.full((64 * 2**20,), 1e30, device="cuda")  # what the next run finds in the memory it takes
    del filled
    two, _ = train(spec, tmp_path / "two")
    assert [epoch.val_loss for epoch in one.history] == [epoch.val_loss for epoch in two.history]


@pytest.mark.parametrize("precision", ["32-true", "auto"])
def test_a_run_that_continues_gives_what_one_run_gives(tmp_path, record_property, precision):
    resolved = resolve_trainer(TrainerConfig(precision=precision))
    spec = make_spec("stem", accelerator="gpu", precision=resolved.precision, max_epochs=3)
    whole, _ = train(spec, tmp_path / "whole")
    run_training(spec, Workplace(directory=str(tmp_path / "parts"), until_epoch=1), lambda _: None)
    continued, _ = train(spec, tmp_path / "parts")
    losses = [[epoch.val_loss for epoch in result.history] for result in (whole, continued)]
    record_property("to the last bit", "yes" if losses[0] == losses[1] else "no")
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_batches_that_are_decoded_each_epoch_are_pinned_beside_the_capture(tmp_path, loader_workers):
    data = make_data(memory_mb=0, loader_workers=loader_workers)
    result, _ = train(make_spec("none", data=data, accelerator="gpu"), tmp_path)
    assert (result.notes, result.resident_mb) == ((), 0)


def test_images_on_the_gpu_are_counted_apart(tmp_path):
    result, _ = train(gpu_spec("none"), tmp_path)
    assert result.resident_mb == pytest.approx(45 * (3 * 32 * 32 + 8) / MIB)


def test_what_is_called_32_is_32_and_tf32_is_a_choice(record_property):
    """Against fp64: fp32 rounds at 6e-8, TF32 at 5e-4, on GPUs that have it."""
    torch.manual_seed(0)
    images, weight = torch.randn(8, 64, 16, 16, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    exact = torch.nn.functional.conv2d(images.double(), weight.double())
    errors = {}
    for precision in ("highest", "high"):
        with torch_settings(None, precision):
            found = torch.nn.functional.conv2d(images, weight).double()
        errors[precision] = float((found - exact).abs().max() / exact.abs().max())
        record_property(precision, f"{errors[precision]:.1e}")
    assert errors["highest"] < 1e-5
    if torch.cuda.get_device_capability()[0] >= 8:
        assert errors["high"] > 1e-5


def test_graphs_make_small_steps_faster(tmp_path, monkeypatch, record_property):
    data = make_data(image_size=64, batch_size=16, synthetic=SyntheticConfig(train=960, validation=48, test=9))
    spec = make_spec("none", data=data, accelerator="gpu", max_epochs=4, patience=4)
    graphed, _ = train(spec, tmp_path / "graphed")

    def refuse(*_, **__):
        raise RuntimeError("refused by the test")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    plain, _ = train(spec, tmp_path / "plain")
    speeds = [1008 / min(epoch.duration_s for epoch in result.history) for result in (graphed, plain)]
    record_property("images/s with graphs", f"{speeds[0]:.0f}")
    record_property("without", f"{speeds[1]:.0f}")
    assert speeds[0] > speeds[1]


def test_memory_comes_back_when_a_worker_ends(tmp_path):
    torch.zeros(1, device="cuda")  # this process's own context is in both numbers
    before = used_mib()
    with ProcessExecutor(f"{HERE}:run_or_die") as executor:
        executor.submit(gpu_spec("none"), Workplace(directory=str(tmp_path)), print).result(TIMEOUT_S)
        assert used_mib() - before < 64  # the fork server lives, and holds nothing
    assert abs(used_mib() - before) < 64
