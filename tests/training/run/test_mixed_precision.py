"""Mixed precision as on a GPU, on the CPU: autocast in fp16 and bf16, and the scaler of fp16's gradients."""

import functools
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from orchestrator.config.models import SyntheticConfig
from orchestrator.records.place import Workplace
from orchestrator.training.data.loading import load_data, order_seed
from orchestrator.training.network.backbones import build_network
from orchestrator.training.run import epochs
from orchestrator.training.run import run as run_module
from orchestrator.training.run.lightning import torch_settings
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from orchestrator.training.seeds import derive_seed
from tests.doubles.graphs import Captures
from tests.factories import make_cost
from tests.training.tiny import make_data, make_spec, normalise, parse

pytestmark = pytest.mark.usefixtures("narrow")
ALL_OF_IT = {"accumulate": 2, "gradient_clip": 0.5, "schedule": {"name": "step", "every_epochs": 1}}
DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Let runs on a GPU happen on the CPU."""
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", Captures())
    monkeypatch.setattr(run_module, "open_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(run_module, "device_name", lambda *_: "GPU of the test")


def spec_of(precision="16-mixed", **trainer):
    return make_spec("stem", accelerator="gpu", precision=precision, **trainer)


def run(spec, folder, **workplace):
    return run_training(spec, Workplace(directory=str(folder), cost=make_cost("stem"), **workplace), lambda _: None)


def train_by_hand(spec, scale):
    """Train as torch's documentation does, and return the network's tensors and the scaler."""
    network = build_network(spec.model, 3, derive_seed(spec.seed, "head"), spec.frozen)
    network = network.to(memory_format=torch.channels_last)
    module = FreezingModule(network, spec, ("a", "b", "c"), print)
    module.train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    given = spec.trainer
    kinds = {"adam": torch.optim.Adam, "sgd": functools.partial(torch.optim.SGD, momentum=0.9)}
    optimizer = kinds[spec.trainer.optimizer](trained, lr=spec.trainer.lr)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=spec.trainer.precision == "16-mixed")
    batches = load_data(spec.data).batches("train", seed=order_seed(spec.seed))
    with torch_settings(None):
        torch.use_deterministic_algorithms(True)
        for epoch in range(spec.trainer.max_epochs):
            batches.batch_sampler.set_epoch(epoch)
            every = list(batches)
            for group in (every[first : first + given.accumulate] for first in range(0, len(every), given.accumulate)):
                optimizer.zero_grad()
                for images, labels in group:
                    with torch.autocast("cpu", dtype=DTYPES[given.precision]):
                        loss = nn.functional.cross_entropy(network(normalise(images)), labels)
                    scaler.scale(loss / len(group)).backward()
                if given.gradient_clip is not None:
                    scaler.unscale_(optimizer)
                    assert nn.utils.clip_grad_norm_(trained, given.gradient_clip) > given.gradient_clip
                if given.schedule.name == "step":  # the learning rate falls to a tenth each epoch
                    optimizer.param_groups[0]["lr"] = given.lr / 10**epoch
                scaler.step(optimizer)
                scaler.update()
    return network.state_dict(), scaler


def last_checkpoint(folder):
    return torch.load(max(folder.glob("last-*.ckpt")), weights_only=True)


@pytest.mark.parametrize("more", [{}, ALL_OF_IT], ids=["plain", "accumulated"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", DTYPES)
def test_a_run_is_what_torch_documents(tmp_path, precision, optimizer, more):
    """Of three batches an epoch two make a step, and then the third one; a scaled gradient is clipped unscaled."""
    epochs = 2 if more else 1
    spec = spec_of(precision, optimizer=optimizer, max_epochs=epochs, **more)
    longer = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"max_epochs": 3})})
    run(longer, tmp_path, until_epoch=epochs)
    expected, scaler = train_by_hand(spec, 2.0**16)
    found = last_checkpoint(tmp_path)
    for name, tensor in expected.items():
        torch.testing.assert_close(found["state_dict"][f"network.{name}"], tensor, rtol=1e-4, atol=1e-5)
    if precision == "16-mixed":
        assert found["MixedPrecision"]["scale"] == scaler.get_scale()


@pytest.mark.parametrize("precision", DTYPES)
def test_lightnings_batches_and_an_epoch_as_one_give_the_same(tmp_path, monkeypatch, precision):
    """Lightning's autocast then spans a step or an epoch."""
    found = []
    for least in (0.0, float("inf")):
        monkeypatch.setattr(epochs, "SHORT_S", least)
        run(spec_of(precision, max_epochs=3, **ALL_OF_IT), tmp_path / str(least), until_epoch=2)
        found.append(last_checkpoint(tmp_path / str(least)))
    each, whole = found
    counts = [checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] for checkpoint in found]
    assert counts == [3, 1]
    assert all(torch.equal(tensor, whole["state_dict"][name]) for name, tensor in each["state_dict"].items())
    assert each.get("MixedPrecision") == whole.get("MixedPrecision")


@pytest.mark.parametrize("more", [{}, {"gradient_clip": 0.5, "schedule": "cosine"}], ids=["plain", "clipped"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_that_overflow_are_skipped_and_a_run_that_continues_has_the_scale(tmp_path, monkeypatch, optimizer, more):
    scaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**40, backoff_factor=2.0**-8)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    spec = spec_of(optimizer=optimizer, max_epochs=3, **more)
    run(spec, tmp_path / "whole", until_epoch=2)
    whole = last_checkpoint(tmp_path / "whole")["state_dict"]
    run(spec, tmp_path / "parts", until_epoch=1)
    first = last_checkpoint(tmp_path / "parts")
    run(spec, tmp_path / "parts", until_epoch=2)
    continued = last_checkpoint(tmp_path / "parts")["state_dict"]
    assert first["MixedPrecision"]["scale"] == 2.0**16  # each of the three steps of the first epoch was skipped
    untouched = build_network(spec.model, 3, derive_seed(spec.seed, "head"), parse("stem")).state_dict()
    weights = [name for name in untouched if name.endswith("weight")]
    assert all(torch.equal(first["state_dict"][f"network.{name}"], untouched[name]) for name in weights)
    assert not torch.equal(whole["network.fc.weight"], untouched["fc.weight"])  # in the second epoch it trains
    assert all(torch.equal(tensor, continued[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_first_step_that_is_skipped_leaves_no_memory_unfilled(monkeypatch, optimizer):
    """Fused SGD allocates its momenta in the first step, and fills them in it: a scaler skips that one on overflow."""

    def train(filling):
        def empty_like(tensor, **options):
            return torch.full_like(tensor, filling, **options)

        monkeypatch.setattr(torch, "empty_like", empty_like)
        spec = spec_of(optimizer=optimizer, lr=0.1)
        network = build_network(spec.model, 3, 0, parse("none"))
        stepping = FreezingModule(network, spec, ("a", "b", "c"), print).configure_optimizers()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        for step in range(3):
            stepping.zero_grad()
            value = sum((parameter * (step + 1)).sum() for parameter in network.parameters())
            scaler.scale(value * (torch.inf if step == 0 else 1.0)).backward()
            scaler.step(stepping)
            scaler.update()
        assert scaler.get_scale() == 2.0**15
        return list(network.state_dict().values())

    one, two = train(7.0), train(torch.nan)
    assert all(torch.equal(first, second) for first, second in zip(one, two, strict=True))


def small_cpu_spec():
    """Images of 128 pixels, so that there are convolutions by Winograd's algorithm and by taps."""
    data = make_data(image_size=128, batch_size=2, synthetic=SyntheticConfig(train=4, validation=2, test=2))
    return make_spec("none", data=data, max_epochs=1)


@pytest.mark.parametrize(
    "spec",
    [
        lambda: spec_of("16-mixed", optimizer="sgd", max_epochs=1),
        lambda: spec_of("bf16-mixed", optimizer="adamw", max_epochs=1),
        lambda: spec_of("32-true", optimizer="adam", max_epochs=1),
        small_cpu_spec,
    ],
    ids=["16-mixed", "bf16-mixed", "32-true", "cpu"],
)
def test_memory_that_is_not_filled_is_read_nowhere(tmp_path, monkeypatch, spec):
    """In deterministic mode torch fills it with NaN where it is told to, and a loss would become one."""
    spec = spec()
    expected = run(spec, tmp_path / "as it is")

    @contextmanager
    def filling(threads, matmul_precision):
        with torch_settings(threads, matmul_precision):
            torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
            yield

    monkeypatch.setattr(run_module, "torch_settings", filling)
    found = run(spec, tmp_path / "filled")
    assert (found.val_loss, found.train_loss) == (expected.val_loss, expected.train_loss)
