"""Training steps through graphs, with a double of torch's capture on the CPU: they give what plain steps give."""

import itertools
import warnings

import pytest
import torch
from torch import nn

from orchestrator.config.models import SyntheticConfig, TrainerConfig
from orchestrator.records.place import Workplace
from orchestrator.records.runs import EpochMetrics, RunResult
from orchestrator.training.device import autocast
from orchestrator.training.kernels.graphs import GraphedParts
from orchestrator.training.network.backbones import build_network
from orchestrator.training.network.lora import add_factors, list_factors
from orchestrator.training.run import run as run_module
from orchestrator.training.run.lightning import quiet
from orchestrator.training.run.module import FreezingModule
from orchestrator.training.run.run import run_training
from tests.doubles.graphs import Captures
from tests.factories import PREFIXES, make_cost
from tests.training.tiny import RESNET18, make_data, make_spec, parse

pytestmark = pytest.mark.usefixtures("narrow")
PRECISIONS = ("32-true", "bf16-mixed")
OPTIMIZERS = ("adam", "adamw", "sgd")
ALL = "+".join(RESNET18)
TUNED = ("stem:norm+layer1:bias+layer3:lora-4", "stem+layer1:lora-4+layer2:lora-4+layer3:norm+layer4:bias")


@pytest.fixture
def captures(monkeypatch):
    captures = Captures()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", captures)
    return captures


@pytest.fixture
def gpu(monkeypatch, captures):
    """Let runs on a GPU happen on the CPU, with everything that they do for a GPU but to compute there."""
    opened = []
    monkeypatch.setattr(run_module, "open_device", lambda *given: opened.append(given) or torch.device("cpu"))
    monkeypatch.setattr(run_module, "device_name", lambda *_: "GPU of the test")
    return opened


def take_steps(frozen, precision, optimizer, make_call):
    """Train six steps, one of them on a smaller batch, and return all tensors of the network and of the optimizer."""
    spec = make_spec(frozen, accelerator="gpu", precision=precision, optimizer=optimizer, lr=0.01)
    network = build_network(spec.model, 3, 0, parse(frozen))
    module = FreezingModule(network, spec, ("a", "b", "c"), print)
    module.train()
    stepping = module.configure_optimizers()
    call = make_call(module, precision)
    draw = torch.Generator().manual_seed(1)
    for size in (8, 8, 5, 8, 8, 8):
        images, labels = torch.randn(size, 3, 32, 32, generator=draw), torch.randint(3, (size,), generator=draw)
        with autocast("cpu", precision):
            loss = nn.functional.cross_entropy(call(images), labels)
        stepping.zero_grad()
        loss.backward()
        stepping.step()
    state = [value for each in stepping.state.values() for value in each.values()]
    return [*network.state_dict().values(), *(value for value in state if isinstance(value, torch.Tensor))]


def plain(module, precision):
    def call(value):
        for part in module._left:
            value = part(value)
        return value

    return call


@pytest.mark.parametrize(("frozen", "precision"), list(itertools.product((*PREFIXES, *TUNED), PRECISIONS)))
def test_graphed_steps_are_plain_steps_to_the_last_bit(captures, frozen, precision):
    for optimizer in OPTIMIZERS:
        graphed = take_steps(frozen, precision, optimizer, lambda module, given: GraphedParts(module._left, given))
        expected = take_steps(frozen, precision, optimizer, plain)
        assert len(graphed) == len(expected)
        assert all(torch.equal(one, two) for one, two in zip(graphed, expected, strict=True))
        assert all(one.isfinite().all() for one in graphed)
    assert captures == ["thread_local"] * len(OPTIMIZERS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphed_steps_with_the_sum_of_weights_are_plain_steps(captures, precision):
    """Convolutions with groups, whose weight and its change are added within the capture."""

    def take(graphed):
        torch.manual_seed(0)
        chain = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten())
        chain.requires_grad_(requires_grad=False)
        add_factors(chain, [chain], 2)
        stepping = torch.optim.SGD(list_factors(chain), lr=0.1)
        call = GraphedParts([chain], precision) if graphed else chain
        for _ in range(4):
            with autocast("cpu", precision):
                loss = call(torch.randn(3, 4, 8, 8)).square().mean()
            stepping.zero_grad()
            loss.backward()
            stepping.step()
        return [factor.detach() for factor in list_factors(chain)]

    graphed, expected = take(graphed=True), take(graphed=False)
    assert all(torch.equal(one, two) for one, two in zip(graphed, expected, strict=True))
    assert captures == ["thread_local"]
    assert all(factor.any() for factor in graphed)


def train(spec, folder, **workplace) -> tuple[RunResult, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []
    place = Workplace(directory=str(folder), cost=make_cost(spec.frozen), **workplace)
    return run_training(spec, place, seen.append), seen


RECIPES = {"ema": 0.8, "label_smoothing": 0.1, "class_weights": "balanced", "lr_decay": 0.5, "optimizer": "rmsprop"}


def gpu_spec(frozen, given=(), **trainer):
    """20 images in batches of 8: the last one is smaller."""
    data = make_data(synthetic=SyntheticConfig(train=20, validation=12, test=9), **dict(given))
    return make_spec(frozen, data=data, accelerator="gpu", **trainer)


def curve(result):
    return [(each.train_loss, each.val_loss, each.val_acc) for each in result.history]


@pytest.mark.parametrize(
    ("frozen", "precision", "data", "recipes"),
    [
        ("none", "bf16-mixed", {}, {}),
        ("stem+layer1", "32-true", {}, {}),
        ("stem+layer1+layer2", "32-true", {"augment": "crop-flip", "mixup": 0.4, "cutmix": 1.0}, RECIPES),
    ],
)
def test_a_graphed_run_gives_what_a_plain_one_gives_also_when_it_is_continued(
    tmp_path, gpu, captures, monkeypatch, frozen, precision, data, recipes
):
    spec = gpu_spec(frozen, data, precision=precision, max_epochs=3, **recipes)
    whole, _ = train(spec, tmp_path / "whole", gpu=1)
    assert gpu == [("gpu", 1)]
    assert len(captures) == 1
    train(spec, tmp_path / "parts", until_epoch=2)
    continued, _ = train(spec, tmp_path / "parts")
    assert len(captures) == 3  # each attempt captures its own
    monkeypatch.setattr(FreezingModule, "_compute", lambda module, value: plain(module, None)(value))
    expected, _ = train(spec, tmp_path / "plain")
    assert curve(whole) == curve(continued) == curve(expected)
    assert len(captures) == 3
    assert (whole.device, whole.notes) == ("GPU of the test", ())


def test_a_run_whose_capture_fails_trains_without_and_says_so(tmp_path, gpu, monkeypatch):
    def refuse(chain, sample, capture_error_mode):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    result, seen = train(gpu_spec("stem", max_epochs=2), tmp_path)
    note = (
        "training steps run without CUDA graphs, more slowly: "
        "CUDA error: operation not permitted when stream is capturing"
    )
    assert [epoch.notes for epoch in seen] == [(note,), ()]
    assert result.notes == (note,)


def test_runs_on_a_cpu_capture_nothing(tmp_path, captures):
    train(make_spec(ALL, max_epochs=1), tmp_path)
    assert captures == []


def test_before_torch_2_14_the_mode_goes_to_the_captures_themselves(monkeypatch):
    modes = []

    class Graph:
        def __init__(self, graph, *, pool=None, capture_error_mode="global"):
            modes.append(capture_error_mode)

    def make(chain, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None):
        torch.cuda.graph(None, pool=pool)
        torch.cuda.graph(None, pool=pool)
        return chain

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    monkeypatch.setattr(torch.cuda, "graph", Graph)
    GraphedParts((nn.Linear(2, 2),), TrainerConfig().precision)(torch.zeros(1, 2))
    assert modes == ["thread_local", "thread_local"]
    assert torch.cuda.graph is Graph


def test_a_stream_that_does_not_match_is_no_error_where_warnings_are():
    """The gradients of a graph come from the stream that captured it. The text is torch's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn(
                "The AccumulateGrad node's stream does not match the stream of the node that produced the incoming "
                "gradient. This may incur unnecessary synchronization",
                UserWarning,
                stacklevel=1,
            )


@pytest.mark.parametrize(
    ("accelerator", "chosen", "within"),
    [
        ("gpu", "highest", ("highest", False)),  # torch's own default is TF32 for convolutions
        ("gpu", "high", ("high", True)),
        ("gpu", "medium", ("medium", True)),
        ("cpu", "highest", ("highest", True)),  # as it was
    ],
)
def test_what_is_called_32_is_32_unless_tf32_is_chosen(tmp_path, gpu, accelerator, chosen, within):
    def look():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    seen, before = [], look()
    spec = make_spec(ALL, accelerator=accelerator, matmul_precision=chosen, max_epochs=1)
    place = Workplace(directory=str(tmp_path), cost=make_cost(ALL))
    run_training(spec, place, lambda _: seen.append(look()))
    assert seen == [within]
    assert look() == before == ("highest", True)
